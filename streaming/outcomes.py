"""What each arrival became, for the feeds that answer their caller (REST)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.book import key_of
from ledger.domain.records import Captured, CapturedOrder, DeadLetter
from streaming.arrivals import Arrival, DeadLettered, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision


def outcomes_of(
    arrivals: Sequence[Arrival], facts: Sequence[Sequence[Fact]], decision: Decision
) -> Iterator[tuple[Arrival, Outcome]]:
    """Pair each arrival that wants to know with its outcome. The first copy in a batch is the one landed."""
    if not any(arrival.done is not None for arrival in arrivals):
        return
    fresh = {key_of(c) for c in decision.fills} | {key_of(c) for c in decision.order_reports}
    waiting = {p.row_id for p in decision.pending}
    for arrival, held in zip(arrivals, facts, strict=True):
        landed = duplicates = pending = 0
        letters: list[DeadLettered] = []
        for fact in held:
            if isinstance(fact, DeadLetter):
                letters.append(DeadLettered(fact.dead_letter_id, fact.defect))
            elif isinstance(fact, Captured | CapturedOrder):
                key = key_of(fact)
                if key not in fresh:
                    duplicates += 1
                    continue
                fresh.discard(key)
                landed += 1
                pending += fact.report.report_id in waiting
        if arrival.done is not None:
            yield arrival, Outcome(landed, duplicates, pending, tuple(letters))
