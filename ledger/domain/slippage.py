"""Slippage in bps against a stored benchmark: Side x (price - benchmark) / benchmark x 10,000.

Signs: Side is +1 for a buy and -1 for a sell, so positive is a cost on either side (CFA Institute, "Trade Strategy
and Execution": arrival cost = Side x (Ep - Rp) / Rp x 10^4). tcapy's MetricSlippage has the opposite sign
(negative is a cost) and is a fraction, not bps.

Units: bps of the benchmark's notional, rounded once, half to even, to 12 places.

Benchmarks: the mid when the order arrived at the venue, the price at which it was decided (the paper price of
Perold, "The Implementation Shortfall", 1988), the mid when it filled (half the effective spread, in bps). The
benchmark of a time is the last snapshot at or before it; of two at one time, the one with the greater id.

Inverse contracts settle in base: N contracts bought at p instead of b bring N/p coins instead of N/b. The cost
N(1/b - 1/p) over the benchmark's notional N/b is (p - b) / p: there the price divides, not the benchmark. Contract
sizes cancel in either case. Fees are beside slippage, never in it (``ledger.domain.fees``).

Quality: ``exact``, or ``best_effort`` with the reason, the gravest where there are several: ``no_snapshot`` (no
figure), ``stale_snapshot`` (older than the policy allows), ``no_sizes``, ``too_fine`` (the mid instead of the
microprice); of a fee ``no_instrument`` and ``no_rate`` (no figure), too.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from ledger.domain.fees import fee_bps_at, needs_rate, rate_pair
from ledger.domain.instruments import InstrumentKind, Instruments
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

_HALF = Decimal("0.5")
# names: a member of an enumeration takes ten times as long to look up, and every fill asks
_BUY, _MID = Side.BUY, "mid"
_ARRIVAL, _AT_FILL, _FEE = BenchmarkKind.ARRIVAL_MID, BenchmarkKind.FILL_MID, BenchmarkKind.FEE
_EXACT, _BEST_EFFORT = Quality.EXACT, Quality.BEST_EFFORT
_INVERSE = InstrumentKind.INVERSE


class SlippagePolicy(msgspec.Struct, frozen=True):
    """How old a snapshot may be (ns) and still be the price at a time, which price of it, and reference data."""

    stale_after_ns: int = 5_000_000_000
    price: Literal["mid", "microprice"] = "mid"
    instruments: Instruments = Instruments()


class SnapshotLookup(Protocol):
    """Finds the last snapshot of a symbol at or before a time."""

    def at_or_before(self, symbol: str, at_ns: int) -> Snapshot | None:
        """Give the snapshot, or None when there is none."""
        ...


def mid(snapshot: Snapshot) -> Decimal:
    """Give the exact middle of bid and ask."""
    return EXACT.multiply(EXACT.add(snapshot.bid, snapshot.ask), _HALF)


def microprice(snapshot: Snapshot) -> Decimal | None:
    """Give the mid weighted by the sizes on the other side, rounded once, half to even, to 12 places.

    (bid x ask size + ask x bid size) / (sum of both sizes): the weighted mid of Stoikov, "The micro-price" (2018):
    a large bid pulls it towards the ask. None without sizes, or where both are zero.
    """
    bid_size, ask_size = snapshot.bid_size, snapshot.ask_size
    if bid_size is None or ask_size is None or not (bid_size or ask_size):
        return None
    weighted = EXACT.add(EXACT.multiply(snapshot.bid, ask_size), EXACT.multiply(snapshot.ask, bid_size))
    return exact_ratio(weighted, EXACT.add(bid_size, ask_size))


def slippage_bps(side: Side, price: Decimal, benchmark: Decimal, *, inverse: bool = False) -> Decimal:
    """Cost in bps, rounded once, half to even, to 12 places. ``price`` and ``benchmark`` must be positive."""
    difference = EXACT.subtract(price, benchmark) if side is _BUY else EXACT.subtract(benchmark, price)
    return exact_ratio(EXACT.multiply(difference, TEN_THOUSAND), price if inverse else benchmark)


def measure(
    execution: Execution,
    root: OrderIntent,
    snapshots: SnapshotLookup,
    policy: SlippagePolicy,
    arrival_snapshot: Snapshot | None = None,
) -> tuple[SlippageMetric, ...]:
    """Measure an execution against arrival mid, decision price (where there is one) and fill-time mid.

    An execution with a fee in a third currency has the fee's figure, too. In the order of the kinds' names.
    ``arrival_snapshot`` spares the look-up where the caller already knows it.
    """
    known = arrival_snapshot or snapshots.at_or_before(execution.symbol, root.routed_ns)
    arrival = against_snapshot(execution, _ARRIVAL, root.routed_ns, known, policy)
    last = snapshots.at_or_before(execution.symbol, execution.transact_ns)
    same = arrival if last is known else None
    at_fill = against_snapshot(execution, _AT_FILL, execution.transact_ns, last, policy, same)
    found = [arrival]
    if root.decision_price is not None:
        found.append(against_decision(execution, root, root.decision_price, policy))
    fee = measure_fee(execution, snapshots, policy)
    if fee is not None:
        found.append(fee)
    found.append(at_fill)
    return tuple(found)


def measure_fee(execution: Execution, snapshots: SnapshotLookup, policy: SlippagePolicy) -> SlippageMetric | None:
    """Measure a fee in a third currency at the rate of the fill time; None where the fee needs no rate."""
    if not needs_rate(execution, policy.instruments):
        return None
    if policy.instruments.find(execution.venue, execution.symbol) is None:
        return _unmeasured(execution, BenchmarkKind.FEE, "no_instrument")
    pair = rate_pair(execution, policy.instruments)
    if pair is None:
        return _unmeasured(execution, BenchmarkKind.FEE, "no_rate")
    at_ns = execution.transact_ns
    return against_snapshot(
        execution, BenchmarkKind.FEE, at_ns, snapshots.at_or_before(pair.symbol, at_ns), policy
    )


def question(
    kind: BenchmarkKind, execution: Execution, root: OrderIntent, policy: SlippagePolicy
) -> tuple[str, int] | None:
    """Give the (symbol, time) whose last snapshot is the benchmark of a kind; None where none can be."""
    if kind is BenchmarkKind.ARRIVAL_MID:
        return execution.symbol, root.routed_ns
    if kind is BenchmarkKind.FILL_MID:
        return execution.symbol, execution.transact_ns
    if kind is BenchmarkKind.FEE:
        pair = rate_pair(execution, policy.instruments)
        return None if pair is None else (pair.symbol, execution.transact_ns)
    return None


def against_decision(
    execution: Execution, root: OrderIntent, decision_price: Decimal, policy: SlippagePolicy
) -> SlippageMetric:
    """Measure against the price at which the decision to trade was taken (Perold 1988's paper price)."""
    return SlippageMetric(
        execution.execution_id,
        execution.trade_date,
        BenchmarkKind.DECISION_PRICE,
        slippage_bps(execution.side, execution.last_px, decision_price, inverse=_is_inverse(execution, policy)),
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
    same: SlippageMetric | None = None,
) -> SlippageMetric:
    """Measure against ``snapshot``, the last one at or before ``wanted_ns`` of the symbol that the kind asks for.

    The benchmark is its mid, or microprice if the policy says so; of a fee it is always the mid, and
    the figure is the fee in bps of the notional at that rate. ``same`` is the execution's figure against the
    same price of the same snapshot, where it is known already.
    """
    if snapshot is None:
        return _unmeasured(execution, kind, "no_snapshot")
    benchmark, reason = (mid(snapshot), None) if kind is _FEE else _price(snapshot, policy)
    if wanted_ns - snapshot.at_ns > policy.stale_after_ns:
        reason = "stale_snapshot"
    return SlippageMetric(
        execution.execution_id,
        execution.trade_date,
        kind,
        _bps(kind, execution, benchmark, policy) if same is None else same.bps,
        benchmark,
        snapshot.at_ns,
        snapshot.snapshot_id,
        _EXACT if reason is None else _BEST_EFFORT,
        reason,
    )


def reprice(metric: SlippageMetric, execution: Execution, policy: SlippagePolicy) -> SlippageMetric:
    """Measure the corrected price, quantity and fee against the same benchmark."""
    if metric.benchmark is None:
        return metric
    return msgspec.structs.replace(metric, bps=_bps(metric.kind, execution, metric.benchmark, policy))


def remeasure(
    known: tuple[SlippageMetric, ...],
    execution: Execution,
    old: Execution | None,
    root: OrderIntent,
    snapshots: SnapshotLookup,
    policy: SlippagePolicy,
    *,
    same_root: bool,
) -> tuple[SlippageMetric, ...]:
    """Measure a corrected execution again: benchmarks that were found stay while their question is the same.

    ``old`` is the execution that ``known`` was measured for. What changes a question: another root of the order;
    another wording of the fill with a finer time, which may be beyond the age that a snapshot may have; a fee in
    another currency, or away.
    """
    same_time = old is not None and (old.symbol, old.transact_ns) == (execution.symbol, execution.transact_ns)
    stays: set[BenchmarkKind] = set()
    if same_root:
        stays |= {BenchmarkKind.ARRIVAL_MID, BenchmarkKind.DECISION_PRICE}
    if same_time:
        stays.add(BenchmarkKind.FILL_MID)
    if (
        same_time
        and old is not None
        and old.fee_currency == execution.fee_currency
        and needs_rate(execution, policy.instruments)
    ):
        stays.add(BenchmarkKind.FEE)
    kept = {metric.kind: reprice(metric, execution, policy) for metric in known if metric.kind in stays}
    if not (same_root and same_time):
        return tuple(kept.get(metric.kind, metric) for metric in measure(execution, root, snapshots, policy))
    if BenchmarkKind.FEE not in kept:
        fee = measure_fee(execution, snapshots, policy)
        if fee is not None:
            kept[BenchmarkKind.FEE] = fee
    return tuple(kept[kind] for kind in sorted(kept))


def supersedes(snapshot: Snapshot, metric: SlippageMetric, wanted_ns: int) -> bool:
    """Whether a snapshot that came late is a later one at or before the time the metric wants."""
    if snapshot.at_ns > wanted_ns:
        return False
    if metric.benchmark_ns is None or metric.snapshot_id is None:
        return True
    return (snapshot.at_ns, snapshot.snapshot_id) > (metric.benchmark_ns, metric.snapshot_id)


def _price(snapshot: Snapshot, policy: SlippagePolicy) -> tuple[Decimal, str | None]:
    """Give the price of a snapshot, and why it is not the one that was asked for."""
    if policy.price == _MID:
        return mid(snapshot), None
    found = microprice(snapshot)
    if found is None:
        return mid(snapshot), "no_sizes"
    if not snapshot.bid <= found <= snapshot.ask:  # 12 places are too few for such small prices
        return mid(snapshot), "too_fine"
    return found, None


def _is_inverse(execution: Execution, policy: SlippagePolicy) -> bool:
    instrument = policy.instruments.find(execution.venue, execution.symbol)
    return instrument is not None and instrument.kind is _INVERSE


def _bps(kind: BenchmarkKind, execution: Execution, benchmark: Decimal, policy: SlippagePolicy) -> Decimal | None:
    if kind is not _FEE:
        inverse = _is_inverse(execution, policy)
        return slippage_bps(execution.side, execution.last_px, benchmark, inverse=inverse)
    instrument = policy.instruments.find(execution.venue, execution.symbol)
    pair = rate_pair(execution, policy.instruments)
    if instrument is None or pair is None or execution.fee is None:
        return None
    return fee_bps_at(execution, instrument, pair, benchmark)


def _unmeasured(execution: Execution, kind: BenchmarkKind, reason: str) -> SlippageMetric:
    return SlippageMetric(
        execution.execution_id,
        execution.trade_date,
        kind,
        None,
        None,
        None,
        None,
        Quality.BEST_EFFORT,
        reason,
    )
