"""What JSON messages are taken apart with: objects and lists whose parts keep their own bytes. Pure.

Every object of a list keeps its own bytes, so that a bad one costs only itself and its dead letter is its own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import msgspec

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.times import utc_date
from streaming.venues.canonical_defects import MAX_DEFECTS, RESEND, UNREADABLE, shown, storable, unreadable
from streaming.venues.decoded import Decoded, Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

Fields: TypeAlias = dict[str, Any]
Members: TypeAlias = dict[str, msgspec.Raw]


class Place(TypedDict):
    """What every report of a message has in common, as ``make_fill`` and ``make_order_report`` take it."""

    venue: str
    account: str
    trade_date: date
    transact_ns: int


class Of(msgspec.Struct, frozen=True):
    """Whose message is read: the venue, and the account where the message does not say."""

    venue: str
    account: str

    def at(self, transact_ns: int, account: str | None = None) -> Place:
        """Give where and when a report belongs; its trade date is the UTC day, for venues that give none."""
        return Place(
            venue=self.venue,
            account=account or self.account,
            trade_date=utc_date(transact_ns),
            transact_ns=transact_ns,
        )


def _exact(digits: str) -> Decimal | str:
    try:
        return Decimal(digits)
    except ArithmeticError:  # an exponent that no Decimal has; refused where the field is read, if it is
        return digits


_members = msgspec.json.Decoder(Members)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(Fields, float_hook=_exact)
_any = msgspec.json.Decoder(msgspec.Raw)


def decoder(read: Callable[[Of, bytes, Decoded], None]) -> Decoder:
    """Make a module's ``decode`` of its reading of a whole message; what that refuses is one defect."""

    def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
        decoded = Decoded()
        try:
            read(Of(venue, account), raw, decoded)
        except DefectError as error:
            decoded.defects.append((storable(error).defect, raw))
        return decoded

    return decode


def is_list(raw: bytes) -> bool:
    """Whether the JSON begins as a list."""
    return raw.lstrip()[:1] == b"["


def members(raw: bytes, what: str = "message") -> Members:
    """Split an object into its members, each with its bytes. Raises ``DefectError``."""
    found: Members = _structure(_members, raw, what, "an object")
    return found


def items(raw: bytes, what: str = "message") -> list[msgspec.Raw]:
    """Split a list into its items, each with its bytes. Raises ``DefectError``."""
    found: list[msgspec.Raw] = _structure(_items, raw, what, "a list")
    return found


def fields_of(raw: bytes, what: str = "message") -> Fields:
    """Read an object whole, its numbers exactly. Raises ``DefectError``."""
    found: Fields = _structure(_object, raw, what, "an object")
    return found


def _structure(structure: msgspec.json.Decoder[Any], raw: bytes, what: str, wanted: str) -> Any:
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into the strings of what it keeps raw
        return structure.decode(raw)
    except UNREADABLE as error:
        raise refused(raw, what, wanted, error) from None


def refused(raw: bytes, what: str, wanted: str, error: Exception) -> DefectError:
    """Say why a decoder refused bytes: first whether they are JSON at all, then whether they are ``wanted``."""
    try:
        _any.decode(raw)
    except UNREADABLE as not_json:
        return unreadable(raw, what, not_json)
    if not isinstance(error, msgspec.ValidationError):
        return unreadable(raw, what, error)
    return defect_error("wrong_type", what, shown(raw), f"{wanted} is required ({error})", RESEND)


def count(decoded: Decoded, name: str, times: int = 1) -> None:
    """Count what is recognised and concerns no order; names are the modules' own, since they label a metric."""
    if times:
        decoded.others[name] = decoded.others.get(name, 0) + times


def each(
    decoded: Decoded, message: bytes, found: bytes, what: str, read: Callable[[bytes, Decoded], None]
) -> None:
    """Read every object of a list; a bad one is a defect with its own bytes. Raises if it is no list."""
    read_all(decoded, message, items(found, what), read)


def read_all(
    decoded: Decoded, message: bytes, views: Iterable[msgspec.Raw], read: Callable[[bytes, Decoded], None]
) -> None:
    """Read items; a bad one is a defect with its own bytes, and beyond ``MAX_DEFECTS`` the message is one more."""
    uncounted = 0
    for view in views:
        raw = bytes(view)
        try:
            read(raw, decoded)
        except DefectError as error:
            if len(decoded.defects) < MAX_DEFECTS:
                decoded.defects.append((storable(error).defect, raw))
            else:
                uncounted += 1
    if uncounted:
        rule = f"a message has at most {MAX_DEFECTS} bad reports; the rest is kept as the whole message"
        decoded.defects.append((defect_error("out_of_range", "reports", uncounted, rule, RESEND).defect, message))
