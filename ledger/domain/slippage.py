"""Slippage in bps against a stored benchmark: Side x (price - benchmark) / benchmark x 10,000.

Positive is a cost on either side (CFA Institute's convention; tcapy's is the opposite). The benchmark of a
time is the last snapshot at or before it; of two at one time, the one with the greater id.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import msgspec

from ledger.domain.numbers import EXACT, TEN_THOUSAND, exact_ratio
from ledger.domain.records import (
    BenchmarkKind,
    Execution,
    OrderIntent,
    Quality,
    Side,
    SlippageMetric,
    Snapshot,
)

if TYPE_CHECKING:
    from datetime import date

_HALF = Decimal("0.5")


class SlippagePolicy(msgspec.Struct, frozen=True):
    """How old a snapshot may be (ns) and still be the price at a time."""

    stale_after_ns: int = 5_000_000_000


class SnapshotLookup(Protocol):
    """Finds the last snapshot of a symbol at or before a time."""

    def at_or_before(self, symbol: str, at_ns: int) -> Snapshot | None:
        """Give the snapshot, or None when there is none."""
        ...


def mid(snapshot: Snapshot) -> Decimal:
    """Give the exact middle of bid and ask."""
    return EXACT.multiply(EXACT.add(snapshot.bid, snapshot.ask), _HALF)


def slippage_bps(side: Side, price: Decimal, benchmark: Decimal) -> Decimal:
    """Cost in bps, rounded once, half to even, to 12 places. ``benchmark`` must be positive."""
    difference = EXACT.subtract(price, benchmark) if side is Side.BUY else EXACT.subtract(benchmark, price)
    return exact_ratio(EXACT.multiply(difference, TEN_THOUSAND), benchmark)


def measure(
    execution: Execution,
    root: OrderIntent,
    snapshots: SnapshotLookup,
    policy: SlippagePolicy,
    arrival_snapshot: Snapshot | None = None,
) -> tuple[SlippageMetric, ...]:
    """Measure an execution against arrival mid, fill-time mid and, where there is one, the decision price.

    ``arrival_snapshot`` spares the look-up where the caller already knows it.
    """
    arrival = against_snapshot(
        execution,
        BenchmarkKind.ARRIVAL_MID,
        root.routed_ns,
        arrival_snapshot or snapshots.at_or_before(execution.symbol, root.routed_ns),
        policy,
    )
    at_fill = against_snapshot(
        execution,
        BenchmarkKind.FILL_MID,
        execution.transact_ns,
        snapshots.at_or_before(execution.symbol, execution.transact_ns),
        policy,
    )
    if root.decision_price is None:
        return (arrival, at_fill)
    return (arrival, against_decision(execution, root, root.decision_price), at_fill)


def against_decision(execution: Execution, root: OrderIntent, decision_price: Decimal) -> SlippageMetric:
    """Measure against the price at which the decision to trade was taken (Perold 1988's paper price)."""
    return SlippageMetric(
        execution.execution_id,
        execution.trade_date,
        BenchmarkKind.DECISION_PRICE,
        slippage_bps(execution.side, execution.last_px, decision_price),
        decision_price,
        root.routed_ns,
        None,
        Quality.EXACT,
        None,
    )


def against_snapshot(
    execution: Execution,
    kind: BenchmarkKind,
    wanted_ns: int,
    snapshot: Snapshot | None,
    policy: SlippagePolicy,
) -> SlippageMetric:
    """Measure against the mid of ``snapshot``, the last one at or before ``wanted_ns``."""
    if snapshot is None:
        return _unmeasured(execution.execution_id, execution.trade_date, kind)
    stale = wanted_ns - snapshot.at_ns > policy.stale_after_ns
    benchmark = mid(snapshot)
    return SlippageMetric(
        execution.execution_id,
        execution.trade_date,
        kind,
        slippage_bps(execution.side, execution.last_px, benchmark),
        benchmark,
        snapshot.at_ns,
        snapshot.snapshot_id,
        Quality.BEST_EFFORT if stale else Quality.EXACT,
        "stale_snapshot" if stale else None,
    )


def _unmeasured(execution_id: str, trade_date: date, kind: BenchmarkKind) -> SlippageMetric:
    return SlippageMetric(
        execution_id, trade_date, kind, None, None, None, None, Quality.BEST_EFFORT, "no_snapshot"
    )


def reprice(metric: SlippageMetric, execution: Execution) -> SlippageMetric:
    """Measure the corrected price against the same benchmark."""
    if metric.benchmark is None:
        return metric
    bps = slippage_bps(execution.side, execution.last_px, metric.benchmark)
    return msgspec.structs.replace(metric, bps=bps)


def supersedes(snapshot: Snapshot, metric: SlippageMetric, wanted_ns: int) -> bool:
    """Whether a snapshot that came late is a later one at or before the time the metric wants."""
    if snapshot.at_ns > wanted_ns:
        return False
    if metric.benchmark_ns is None or metric.snapshot_id is None:
        return True
    return (snapshot.at_ns, snapshot.snapshot_id) > (metric.benchmark_ns, metric.snapshot_id)
