"""Intents for a replay: JSON of ``order.intent.route.v1``, or the orders and requests that a FIX file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from ledger.domain.errors import DefectError
from ledger.domain.numbers import ZERO
from ledger.domain.records import Action, FillReport, OrderIntent
from operations.desk.errors import UsageError
from operations.desk.messages import rows_of
from operations.desk.venues import plain
from streaming.decoding import decode_intent, decode_snapshot
from streaming.venues.canonical_defects import UNREADABLE
from streaming.venues.fix_fields import split
from streaming.venues.fix_values import missing, read_id, read_number, read_side, read_text, read_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ledger.domain.records import Report, Snapshot
    from streaming.venues.fix_fields import Fields

_ACTIONS = {"D": Action.NEW, "G": Action.REPLACE, "F": Action.CANCEL}
_WITHOUT_LIMIT = frozenset({"1", "3"})  # OrdType(40) market and stop
UNNAMED = "(any)"  # the venue or account of an intent that names none, until the reports' is known

Named = tuple[str, DefectError]
_Row = TypeVar("_Row")


def read_intents(name: str) -> tuple[list[OrderIntent], list[Named]]:
    """Read a file of intents: JSON lines, a list, or one object. Raises ``InputError``.

    Give the intents, and what is wrong with the others by its place. ``venue`` and ``account`` may be left out:
    they are those of the reports.
    """
    return _read(name, _intent)


def read_snapshots(name: str) -> tuple[list[Snapshot], list[Named]]:
    """Read a file of ``market.data.snapshot.v1`` in the same way. Raises ``InputError``."""
    return _read(name, decode_snapshot)


def _read(name: str, decode: Callable[[bytes], _Row]) -> tuple[list[_Row], list[Named]]:
    rows: list[_Row] = []
    bad: list[Named] = []
    for message in rows_of(name):
        try:
            rows.append(decode(message.raw))
        except DefectError as error:
            bad.append((message.place, error))
    return rows, bad


def _intent(raw: bytes) -> OrderIntent:
    try:
        given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return decode_intent(raw)  # says what is wrong
    absent = [field for field in ("venue", "account") if bytes(given.get(field, b"null")) in {b"null", b'""'}]
    if not absent:
        return decode_intent(raw)
    unnamed = msgspec.Raw(msgspec.json.encode(UNNAMED))
    intent = decode_intent(msgspec.json.encode({**given, **dict.fromkeys(absent, unnamed)}))
    return msgspec.structs.replace(intent, **dict.fromkeys(absent, ""))


def venue_of(intents: Iterable[OrderIntent], typed: str, name: str | None) -> str:
    """Give whose the reports are: ``name``, else the intents' only venue, else theirs that is named as ``typed``.

    Raises ``UsageError`` where the intents leave it open.
    """
    if name is not None:
        return name
    venues = sorted({intent.venue for intent in intents if intent.venue})
    if len(venues) == 1:
        return venues[0]
    same = [venue for venue in venues if plain(venue) == plain(typed)]
    if venues and len(same) != 1:
        raise UsageError(
            f"the intents name {len(venues)} venues ({', '.join(venues)}): say with --name whose the messages are"
        )
    return same[0] if same else typed


def is_request(fields: Fields) -> bool:
    """Whether a FIX message routes: NewOrderSingle (D), replace request (G), cancel request (F)."""
    return fields.get("35") in _ACTIONS


def request_intent(venue: str, raw: bytes, known: Mapping[str, OrderIntent]) -> OrderIntent:
    """Make the intent of a FIX order or request; what it leaves out is its original's. Raises ``DefectError``.

    The correlation id is the ClOrdID the order began with.
    """
    fields = split(raw)
    action = _ACTIONS[fields["35"]]
    msg_id = read_id(fields, "11")
    if msg_id is None:
        raise missing("11", fields, "an order or a request is known by its ClOrdID")
    orig_msg_id = read_id(fields, "41") if action is not Action.NEW else None
    if action is not Action.NEW and orig_msg_id is None:
        raise missing("41", fields, "a request names the order it acts on")
    orig = known.get(orig_msg_id or "")
    order_qty = read_number(fields, "38")
    if order_qty is None:
        if orig is None and action is not Action.CANCEL:
            raise missing("38", fields, "an order has a quantity")
        order_qty = orig.order_qty if orig is not None else ZERO
    symbol = read_text(fields, "55") or (orig.symbol if orig is not None else None)
    if symbol is None:
        raise missing("55", fields, "an order is of an instrument")
    limit = None if fields.get("40") in _WITHOUT_LIMIT else read_number(fields, "44")
    return OrderIntent(
        orig.correlation_id if orig is not None else orig_msg_id or msg_id,
        msg_id,
        action,
        orig_msg_id,
        venue,
        read_text(fields, "1") or (orig.account if orig is not None else ""),
        symbol,
        read_side(fields) if fields.get("54") or orig is None else orig.side,
        order_qty,
        limit,
        None,
        read_text(fields, "15"),
        read_time(fields, or_sent=True),
        None,
    )


def with_account(intent: OrderIntent, accounts: Mapping[str, str]) -> OrderIntent:
    """Give an intent without account that of the reports of its order."""
    if intent.account:
        return intent
    names = (intent.msg_id, intent.orig_msg_id, intent.venue_order_id, intent.correlation_id)
    account = next((accounts[name] for name in names if name is not None and name in accounts), "")
    return msgspec.structs.replace(intent, account=account)


def accounts_of(reports: Iterable[Report]) -> dict[str, str]:
    """Give the account by every id that a report names its order by; the first one that says."""
    found: dict[str, str] = {}
    for report in reports:
        orig = None if isinstance(report, FillReport) else report.orig_cl_ord_id
        for name in (report.cl_ord_id, orig, report.venue_order_id):
            if name is not None and report.account:
                found.setdefault(name, report.account)
    return found
