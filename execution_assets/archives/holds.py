"""Legal holds are on days, not on the objects that happen to be there: what is archived of them later is held.

Each order to hold or to lift is a signed note, locked in the store, in their order; of a day and venue the last
one that covers it counts. Whoever orders writes the note first and then goes through the objects that are there;
whoever archives writes the objects first and then looks at the notes: one of the two sees the other.

What lies there and is no order of ours is doubtful: somebody may have meant a hold. All that is archived meanwhile
is held, and nothing is lifted. It stops no archive: whoever may put objects but has no key could do so for years.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.manifest import HOLDS
from execution_assets.archives.settings import DEFAULT_YEARS, VERIFIERS_VARIABLE
from trust.errors import AlreadyStoredError, NoteError, UnreadableError
from trust.notes import open_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.archives.access import Receipt
    from execution_assets.archives.library import Library
    from trust.notes import Signer

_TITLE = "execution-agent/archive-hold/v1"
_NAME = re.compile(r"([0-9]{6})\.note")
_MOST_BYTES = 1_000_000
_REMEDY = (
    ". It may be meant as a hold: while it is there, what is archived is held, and nothing is lifted. If it is "
    f"ours, name the key that signed it in {VERIFIERS_VARIABLE}; else find out who may write there, and delete it "
    "once no lock keeps it"
)


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
    """Write an order down, behind all that are there; give its key.

    Raises ``TrustError``, and ``ArchiveError`` where it lifts and there are doubtful ones.
    """
    there = orders(library, order.record_class)
    if not order.on:
        there.check_liftable()
    note = write_order(order, library.signer)
    until = order.at + timedelta(days=366 * DEFAULT_YEARS)
    # behind the last one that counts: what others put there may go again, and leave a gap
    number = max(there.given, default=0)
    while True:
        number += 1
        try:
            return library.store.put(f"{_prefix(order.record_class)}{number:06d}.note", note, until).key
        except AlreadyStoredError:
            continue


def write_order(order: Order, signer: Signer) -> bytes:
    """Give the signed note."""
    return sign_note(f"{_TITLE}\n{msgspec.json.encode(order).decode()}\n", [signer]).encode()


class Orders(msgspec.Struct, frozen=True):
    """What lies below the holds of a class: orders by their number, and why any other object is none, by key."""

    given: dict[int, Order]
    doubtful: dict[str, str]

    def is_ordered(self, day: date, venue: str) -> bool:
        """Whether a day and venue is held, after all orders."""
        last = max((number for number, order in self.given.items() if order.covers(day, venue)), default=None)
        return last is not None and self.given[last].on

    def is_held(self, day: date, venue: str) -> bool:
        """Whether it is held, or may be."""
        return bool(self.doubtful) or self.is_ordered(day, venue)

    def doubts(self) -> list[str]:
        """Give a line for each object that is no order, and what to do about it."""
        return [f"{key}: {why}{_REMEDY}" for key, why in self.doubtful.items()]

    def check_liftable(self) -> None:
        """Raise ``ArchiveError`` where one that cannot be trusted may be the one that holds."""
        if self.doubtful:
            raise ArchiveError("; ".join(self.doubts()))


def orders(library: Library, record_class: str) -> Orders:
    """Read what lies below the holds of a class. Raises ``StoreError`` where the store is away."""
    found = Orders({}, {})
    events: set[str] = set()
    for key, (version, size) in _stored(library, record_class).items():
        named = _NAME.fullmatch(key.removeprefix(_prefix(record_class)))
        if named is None or size > _MOST_BYTES:
            found.doubtful[key] = f"a name of six digits and .note, and at most {_MOST_BYTES:,} bytes are required"
            continue
        try:
            order = _read(library, key, version)
        except (NoteError, ArchiveError, UnreadableError) as error:
            found.doubtful[key] = str(error)
            continue
        if order.record_class != record_class or order.event_id in events:
            found.doubtful[key] = "it is a copy of an order that lies elsewhere"
            continue
        events.add(order.event_id)
        found.given[int(named[1])] = order
    return found


def _read(library: Library, key: str, version: str) -> Order:
    note = library.given(key, version).decode("utf-8", "replace")
    title, _, content = open_note(note, library.verifiers).partition("\n")
    if title != _TITLE:
        raise ArchiveError(f"{_TITLE} is required in its first line, was {title!r}")
    try:
        return msgspec.json.decode(content, type=Order)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"it cannot be read: {error}") from error


def _stored(library: Library, record_class: str) -> dict[str, tuple[str, int]]:
    """Give version and size of each key that was there first: what somebody put over it does not count."""
    newest_first = library.store.versions(_prefix(record_class))
    return dict(sorted({key: (version, size) for key, version, size in newest_first}.items()))


def _prefix(record_class: str) -> str:
    return f"{HOLDS}/{record_class}/"
