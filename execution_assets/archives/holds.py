"""Legal holds are on days, not on the objects that happen to be there: what is archived of them later is held.

Each order to hold or to lift is a signed note, locked in the store, in their order; of a day and venue the last
one that covers it counts. Whoever orders writes the note first and then goes through the objects that are there;
whoever archives writes the objects first and then looks at the notes: one of the two sees the other.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.manifest import HOLDS
from execution_assets.archives.settings import DEFAULT_YEARS
from trust.errors import AlreadyStoredError
from trust.notes import open_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.archives.access import Receipt
    from execution_assets.archives.library import Library

_TITLE = "execution-agent/archive-hold/v1"


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold the days [first, last] of a class, or lift that. ``venues``: only these; empty is all of them."""

    record_class: str
    first: date
    last: date
    venues: tuple[str, ...]
    on: bool
    person: str
    reason: str
    at: datetime
    event_id: str

    def covers(self, day: date, venue: str) -> bool:
        """Whether it is about that day and venue."""
        return self.first <= day <= self.last and (not self.venues or venue in self.venues)


def order_of(
    receipt: Receipt, record_class: str, first: date, last: date, venues: Sequence[str], *, on: bool
) -> Order:
    """Make an order of a receipt."""
    said = (receipt.person, receipt.reason, receipt.at, receipt.event_id)
    return Order(record_class, first, last, tuple(venues), on, *said)


def give(library: Library, order: Order) -> str:
    """Write an order down, behind all that are there; give its key. Raises ``TrustError``."""
    note = sign_note(f"{_TITLE}\n{msgspec.json.encode(order).decode()}\n", [library.signer]).encode()
    until = order.at + timedelta(days=366 * DEFAULT_YEARS)
    number = len(_stored(library, order.record_class))
    while True:
        number += 1
        try:
            return library.store.put(f"{_prefix(order.record_class)}{number:06d}.note", note, until).key
        except AlreadyStoredError:
            continue


def orders(library: Library, record_class: str) -> list[Order]:
    """Give the orders of a class, the oldest first.

    Raises ``NoteError`` and ``ArchiveError`` where one cannot be trusted: it may be the one that holds.
    """
    return [_read(library, key, version) for key, version in _stored(library, record_class).items()]


def is_held(given: Sequence[Order], day: date, venue: str) -> bool:
    """Whether a day and venue is held, after all orders."""
    return next((order.on for order in reversed(given) if order.covers(day, venue)), False)


def _read(library: Library, key: str, version: str) -> Order:
    note = library.store.get(key, version).decode("utf-8", "replace")
    title, _, content = open_note(note, library.verifiers).partition("\n")
    if title != _TITLE:
        raise ArchiveError(f"{key}: {_TITLE} is required in its first line, was {title!r}")
    try:
        return msgspec.json.decode(content, type=Order)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{key}: it cannot be read: {error}") from error


def _stored(library: Library, record_class: str) -> dict[str, str]:
    """Give the version of each key that was there first: what somebody put over it does not count."""
    newest_first = library.store.versions(_prefix(record_class))
    return dict(sorted({key: version for key, version, _ in newest_first}.items()))


def _prefix(record_class: str) -> str:
    return f"{HOLDS}/{record_class}/"
