"""Orders in flight in the order of their looks, and what past orders say of how long one takes."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import islice

import msgspec

from ledger.domain.delays import DelayPolicy, Expected, OrderType, Terms, expected_of
from ledger.domain.latency import nearest_rank

LOOKS = 200  # orders of a line looked at a time, of each part: more wait for the next time
LEARNED = 1_000  # past orders of a venue and type that count


class Learned:
    """How long first fills took (ns), of the newest orders of each venue and type."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, OrderType], deque[int]] = defaultdict(lambda: deque(maxlen=LEARNED))
        self._p99: dict[tuple[str, OrderType], int] = {}

    def add(self, venue: str, kind: OrderType, delay_ns: int) -> None:
        """Take up an order's first fill."""
        self._held[venue, kind].append(delay_ns)
        self._p99.pop((venue, kind), None)

    def expected(self, venue: str, kind: OrderType, policy: DelayPolicy) -> Expected:
        """Give what is expected of an order."""
        held = self._held.get((venue, kind))
        if not held:
            return expected_of(policy, kind, None, 0)
        p99 = self._p99.get((venue, kind))
        if p99 is None:
            p99 = self._p99[venue, kind] = nearest_rank(sorted(held), 99)
        return expected_of(policy, kind, p99, len(held))


class Waiting(msgspec.Struct):
    """An order in flight: since when it waits, and when it is looked at again after it was."""

    terms: Terms
    since_ns: int
    again_ns: int = 0


class Line(msgspec.Struct):
    """The orders in flight of one venue and type, by correlation id, each part in the order of its looks."""

    fresh: dict[str, Waiting] = msgspec.field(default_factory=dict)
    again: dict[str, Waiting] = msgspec.field(default_factory=dict)

    def due(self, before_ns: int, now_ns: int) -> dict[str, Waiting]:
        """Give a bounded number of those that wait since before ``before_ns``, or are to be looked at again."""
        found: dict[str, Waiting] = {}
        for name, waiting in islice(self.fresh.items(), LOOKS):
            if waiting.since_ns >= before_ns:
                break
            found[name] = waiting
        for name, waiting in islice(self.again.items(), LOOKS):
            if waiting.again_ns > now_ns:
                break
            found[name] = waiting
        return found

    def put_back(self, name: str, waiting: Waiting, again_ns: int) -> None:
        """Look at an order again later."""
        self.remove(name)
        waiting.again_ns = again_ns
        self.again[name] = waiting

    def remove(self, name: str) -> None:
        """Forget an order."""
        self.fresh.pop(name, None)
        self.again.pop(name, None)
