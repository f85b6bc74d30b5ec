"""When the snapshots that slippages are measured against are out: a pure state machine, every time is handed in.

The row of a slippage says by itself how good its benchmark is (``stale_snapshot``, ``no_snapshot``). This says
that the feed is out, once, while orders are open that need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.failover import Cause, Health, HealthKind
from ledger.domain.halts import seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

MARKET_DATA = "market-data"


class SnapshotFeed:
    """The snapshots as a whole, and those of each symbol. ``out_ns`` without one is an outage; 0 is off."""

    def __init__(self, out_ns: int, standing: Iterable[str] = ()) -> None:
        self._out_ns = out_ns
        self._came: dict[str, int] = {}
        self._needed: dict[str, int] = {}
        self._down_since: int | None = None
        self._up_since = 0
        self.out = set(standing)
        """What is out, as told: ``market-data`` for all of it, or ``market-data.SYMBOL``."""

    def take(self, symbol: str, now_ns: int) -> None:
        """Note that a snapshot of a symbol has landed."""
        self._came[symbol] = now_ns

    def step(self, now_ns: int, *, is_connected: bool, needed: Iterable[str]) -> list[Health]:
        """Decide what is out and what is back; ``needed`` are the symbols with open orders."""
        if not self._out_ns:
            return []
        told = self._whole(now_ns, is_connected=is_connected)
        self._needed = {symbol: self._needed.get(symbol, now_ns) for symbol in needed}
        for feed in [feed for feed in self.out if feed != MARKET_DATA]:
            came_ns = self._came.get(feed.removeprefix(MARKET_DATA + "."))
            if came_ns is not None:
                told.append(self._back(feed, now_ns, came_ns, "a snapshot has come"))
        if self._down_since is None:
            told += self._missing(now_ns)
        return told

    def _whole(self, now_ns: int, *, is_connected: bool) -> list[Health]:
        if is_connected:
            if self._down_since is not None:  # what waited at the broker comes first
                self._down_since, self._up_since = None, now_ns
            if MARKET_DATA in self.out:
                return [self._back(MARKET_DATA, now_ns, now_ns, "connected again")]
            return []
        if self._down_since is None:
            self._down_since = now_ns
        if MARKET_DATA in self.out or now_ns - self._down_since < self._out_ns:
            return []
        return [self._gone(MARKET_DATA, now_ns, self._down_since, "the broker is not connected")]

    def _missing(self, now_ns: int) -> list[Health]:
        """Say which symbols have had none for too long, since the last one or since one was needed."""
        told: list[Health] = []
        for symbol, needed_ns in self._needed.items():
            feed = f"{MARKET_DATA}.{symbol}"
            since_ns = self._came.get(symbol, needed_ns)
            if feed not in self.out and now_ns - max(since_ns, self._up_since) >= self._out_ns:
                self._came.pop(symbol, None)
                told.append(self._gone(feed, now_ns, since_ns, f"no snapshot of {symbol}"))
        return told

    def _gone(self, feed: str, now_ns: int, since_ns: int, what: str) -> Health:
        self.out.add(feed)
        reason = f"{what} for {seconds(now_ns - since_ns)} s"
        return Health(HealthKind.SNAPSHOTS_OUT, MARKET_DATA, feed, now_ns, since_ns, reason, Cause.SNAPSHOTS)

    def _back(self, feed: str, now_ns: int, since_ns: int, reason: str) -> Health:
        self.out.discard(feed)
        return Health(HealthKind.SNAPSHOTS_BACK, MARKET_DATA, feed, now_ns, since_ns, reason)
