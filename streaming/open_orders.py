"""The orders that are open, by venue, as landed: whether a feed should have something to say."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState

_LIMIT = 20_000  # of a venue; the oldest are forgotten first: they rest
_CHANGED_LIMIT = 10_000


class OpenOrder(msgspec.Struct, frozen=True):
    """An order with something left to fill."""

    symbol: str
    routed_ns: int


class OpenOrders:
    """Kept by what lands; taking notes costs nothing until somebody looks."""

    def __init__(self) -> None:
        self._changed: dict[str, OrderState] = {}
        self._open: dict[str, dict[str, OpenOrder]] = defaultdict(dict)
        self._symbols: Counter[str] = Counter()  # of the orders in ``_open``
        self._closed: set[str] | None = None

    def begin(self) -> None:
        """Start over. What the ledger says comes later: meanwhile it is noted what has closed."""
        self._changed.clear()
        self._open.clear()
        self._symbols.clear()
        self._closed = set()

    def load(self, found: Iterable[tuple[str, str, str, int]]) -> None:
        """Add what the ledger says: venue, correlation id, symbol, when routed; the newest first."""
        self.settle()
        loaded: dict[str, dict[str, OpenOrder]] = defaultdict(dict)
        for venue, correlation_id, symbol, routed_ns in reversed(list(found)):
            if self._closed is None or correlation_id not in self._closed:
                loaded[venue][correlation_id] = OpenOrder(symbol, routed_ns)
        for venue, waiting in loaded.items():
            self._open[venue] = {**waiting, **self._open[venue]}
        self._symbols = Counter(order.symbol for waiting in self._open.values() for order in waiting.values())
        self._closed = None

    def offer(self, decision: Decision) -> None:
        """Take note of a landed decision."""
        self._changed.update(decision.orders)
        if len(self._changed) > _CHANGED_LIMIT:
            self.settle()

    def settle(self) -> None:
        """Work out what the orders that have changed come to."""
        changed, self._changed = self._changed, {}
        for correlation_id, order in changed.items():
            root = order.root
            if root is None:
                continue
            waiting = self._open[root.venue]
            if not order.leaves_qty:
                self._drop(waiting, correlation_id)
                if self._closed is not None:
                    self._closed.add(correlation_id)
            elif correlation_id not in waiting:
                waiting[correlation_id] = OpenOrder(root.symbol, root.routed_ns)
                self._symbols[root.symbol] += 1
        for waiting in self._open.values():
            # in one go: what is looked up first in a dict again and again is behind all that is gone
            for correlation_id in list(islice(waiting, max(0, len(waiting) - _LIMIT))):
                self._drop(waiting, correlation_id)

    def _drop(self, waiting: dict[str, OpenOrder], correlation_id: str) -> None:
        order = waiting.pop(correlation_id, None)
        if order is not None:
            self._symbols[order.symbol] -= 1
            if not self._symbols[order.symbol]:
                del self._symbols[order.symbol]

    def first_after(self, venue: str, after_ns: int) -> int | None:
        """Say when the first of a venue's open orders was routed that was routed after a time."""
        found: int | None = None
        for order in reversed(self._open[venue].values()):
            if order.routed_ns <= after_ns:
                break  # they are about in the order of their routing
            found = order.routed_ns if found is None else min(found, order.routed_ns)
        return found

    def oldest(self, venue: str) -> int | None:
        """Say when the venue's open order was routed that is open for longest."""
        found = next(iter(self._open[venue].values()), None)
        return None if found is None else found.routed_ns

    def symbols(self) -> set[str]:
        """Give the symbols of all open orders."""
        return set(self._symbols)
