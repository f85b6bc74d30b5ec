"""What is landed in one transaction: arrivals, with the facts that were read from them."""

from __future__ import annotations

import msgspec

from ledger.domain.decide import Fact
from streaming.arrivals import Arrival


class Batch(msgspec.Struct):
    """Arrivals with the facts each holds."""

    arrivals: list[Arrival]
    facts: list[list[Fact]]
    generation: int = 0

    def said(self) -> list[Fact]:
        """Give the facts of all arrivals, in their order."""
        return [fact for facts in self.facts for fact in facts]


def comes_again(arrival: Arrival) -> bool:
    """Whether it is a stream's: a REST caller waits for ours, and sends again only when we do not answer."""
    return arrival.done is None


def answerable(batch: Batch) -> Batch:
    """Give what of a batch a caller waits for."""
    kept = [n for n, arrival in enumerate(batch.arrivals) if not comes_again(arrival)]
    return Batch([batch.arrivals[n] for n in kept], [batch.facts[n] for n in kept])


def halves(batch: Batch) -> list[Batch]:
    """Split a batch; the first half comes last, where the next batch is taken from."""
    middle = len(batch.arrivals) // 2
    return [Batch(batch.arrivals[part], batch.facts[part]) for part in (slice(middle, None), slice(None, middle))]
