"""What a batch comes to: its decision, with what is written and answered beside it.

A large batch is decided while the one before it is being written, where the book has all that it needs: nothing is
asked of the ledger then. The book is ahead of the ledger by the batch in flight, and is dropped where that fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.db.desk import Answers
from ledger.domain.decide import decide
from ledger.domain.decision import Decision
from ledger.domain.records import Captured, CapturedOrder, OrderIntent, Position, Snapshot
from streaming.answers import answer_desk, discount_replays
from streaming.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.db.reading import Reader
    from ledger.domain.book import Book
    from ledger.domain.decide import Fact, Policy

_PLAIN = frozenset({Captured, CapturedOrder, OrderIntent, Snapshot})


class Decided(msgspec.Struct, frozen=True):
    """A batch with what is to be landed of it."""

    batch: Batch
    decision: Decision
    positions: list[Position]
    answers: Answers | None


async def decide_batch(
    batch: Batch, book: Book, reader: Reader, policy: Policy, *, suspicious: bool = False
) -> Decided:
    """Decide a batch; what the book lacks is loaded into it first. ``suspicious`` as in ``Reader.complete``."""
    wanted, duplicates = await reader.complete(book, _facts(batch), suspicious=suspicious)
    decided = _decided(batch, wanted, book, policy)
    for feed, number in duplicates.items():
        decided.decision.duplicates[feed] = decided.decision.duplicates.get(feed, 0) + number
    await reader.drop_known(decided.decision)
    discount_replays(batch.arrivals, batch.facts, decided.decision)
    return decided


def decide_ahead(batch: Batch, book: Book, reader: Reader, policy: Policy) -> Decided | None:
    """Decide a batch that needs nothing of the ledger; None where it does, or is more than reports."""
    facts = _facts(batch)
    if not all(type(fact) in _PLAIN for fact in facts) or not reader.has_all(book, facts):
        return None
    decided = _decided(batch, facts, book, policy)
    if decided.decision.dead_letters:  # they may have landed before
        return None
    discount_replays(batch.arrivals, batch.facts, decided.decision)
    return decided


def _facts(batch: Batch) -> list[Fact]:
    return [fact for facts in batch.facts for fact in facts]


def _decided(batch: Batch, facts: Sequence[Fact], book: Book, policy: Policy) -> Decided:
    decision = decide(book, facts, policy)
    answers = answer_desk(batch.arrivals, batch.facts, book, decision)
    positions = [a.position for a in batch.arrivals if a.position is not None]
    return Decided(batch, decision, positions, answers)
