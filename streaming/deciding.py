"""What a batch comes to: its decision, with what is written and answered beside it.

A large batch can be decided while the one before it is being written: the book has taken that one up already, and
is dropped where its landing fails. What the book lacks is loaded before the write begins, from a ledger that is a
batch behind the book. Orders that the batch in flight touches are in the book, whole, and so are its snapshots;
what begins or ends to wait for its intent is not: then the next batch is decided in its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ledger.db.desk import Answers
from ledger.domain.decide import SAID, Fact, decide, deciding
from ledger.domain.decision import Decision
from ledger.domain.records import Position
from streaming.answers import answer_desk
from streaming.batches import Batch

if TYPE_CHECKING:
    from ledger.db.reading import Reader
    from ledger.domain.book import Book
    from ledger.domain.decide import Policy


class Completed(msgspec.Struct, frozen=True):
    """A batch whose orders are in the book: the facts to decide, and how many by feed are known by now."""

    batch: Batch
    facts: Sequence[Fact]
    duplicates: dict[str, int]


class Decided(msgspec.Struct, frozen=True):
    """A batch with what is to be landed of it."""

    batch: Batch
    decision: Decision
    positions: list[Position]
    answers: Answers | None


def leaves_all_in(book: Book, decision: Decision) -> bool:
    """Whether a book that has taken up a decision needs none of its rows to decide what was said after it."""
    return not (decision.pending_by_reference or decision.pending_overdue or decision.unknown) and all(
        book.snapshots.covers(snapshot.symbol, snapshot.at_ns) for snapshot in decision.snapshots
    )


def is_said(batch: Batch) -> bool:
    """Whether a batch holds what others said, and nothing that people decided or the clock did."""
    return all(type(fact) in SAID for facts in batch.facts for fact in facts)


async def complete(batch: Batch, book: Book, reader: Reader, *, suspicious: bool = False) -> Completed:
    """Load into the book what it lacks to decide a batch. ``suspicious`` as in ``Reader.complete``."""
    wanted, duplicates = await reader.complete(book, batch.said(), suspicious=suspicious)
    return Completed(batch, wanted, duplicates)


async def decide_now(completed: Completed, book: Book, policy: Policy) -> Decided:
    """Decide; aside where thousands of fills may be worked out again: the lease is renewed meanwhile."""
    if book.has_large:
        return _decided(completed, book, await asyncio.to_thread(decide, book, completed.facts, policy))
    return _decided(completed, book, decide(book, completed.facts, policy))


async def decide_ahead(completed: Completed, book: Book, policy: Policy) -> Decided:
    """Decide, giving way to others all along: the batch before is being written."""
    steps = deciding(book, completed.facts, policy)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return _decided(completed, book, end.value)
        await asyncio.sleep(0)


def _decided(completed: Completed, book: Book, decision: Decision) -> Decided:
    batch = completed.batch
    answers = answer_desk(batch.arrivals, batch.facts, book, decision)
    for feed, number in completed.duplicates.items():
        decision.duplicates[feed] = decision.duplicates.get(feed, 0) + number
    positions = [a.position for a in batch.arrivals if a.position is not None]
    return Decided(batch, decision, positions, answers)
