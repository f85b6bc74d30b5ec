"""The Prometheus series of late fills and of the hedges asked for meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ledger.domain.delay_rows import DelayRows
    from ledger.domain.delays import OpenDelay


class DelayMetrics:
    """What has landed of delays: counted as it lands, and what is open as the ledger has it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._open = Gauge("execution_delays_open", "Orders that are late.", ["venue"], registry=registry)
        self._oldest = Gauge(
            "execution_delay_oldest_seconds",
            "For how long the first of them has been.",
            ["venue"],
            registry=registry,
        )
        self._hedged = Gauge(
            "execution_hedges_open", "Provisional hedges not yet trued up.", ["venue"], registry=registry
        )
        self._began = Counter("execution_delays", "Orders that were found late.", ["venue"], registry=registry)
        self._ended = Counter(
            "execution_delays_ended", "Delays that are over, by what ended them.", ["outcome"], registry=registry
        )
        self._hedges = Counter(
            "execution_hedges",
            "Provisional hedges asked for, and what became of them.",
            ["status"],
            registry=registry,
        )

    def count(self, rows: DelayRows) -> None:
        """Count what a landed batch changes."""
        for began in rows.delays:
            self._began.labels(began.venue).inc()
        for ended in rows.delays_ended:
            self._ended.labels(ended.outcome.value).inc()
        for hedge in rows.hedges:
            self._hedges.labels(hedge.status.value).inc()
        for settled in rows.hedges_ended:
            self._hedges.labels(settled.status.value).inc()

    def show(self, venue: str, open_delays: list[OpenDelay], now_ns: int) -> None:
        """Show what is open at a venue."""
        first_ns = min((delay.began_ns for delay in open_delays), default=now_ns)
        self._open.labels(venue).set(len(open_delays))
        self._oldest.labels(venue).set(max(0, now_ns - first_ns) / 1e9)
        self._hedged.labels(venue).set(sum(delay.hedge_id is not None for delay in open_delays))
