"""``make oracle``: slippages and fees of random fills against fractions, to the last of their 12 places.

What is expected is worked out here in ``fractions``, from the formulas in docs/architecture.md ("Slippage and
fees"), and shares no arithmetic with the ledger. Prices, quantities, fees and sizes are of all magnitudes (18
digits on either side of the point), spot, linear and inverse, against mids and microprices, with fees in base,
quote and third currencies. Every fourth decision price is made so that its figure lies exactly between two
12-place numbers. Environment: ``ORACLE_FILLS`` (1,000,000), ``ORACLE_SEED`` (1).
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from fractions import Fraction
from multiprocessing import get_context
from typing import TYPE_CHECKING

import msgspec

from bench.random_fills import PAIRS, STALE_NS, SYMBOL, Case, cases
from ledger.domain.fees import fee_bps
from ledger.domain.instruments import InstrumentKind
from ledger.domain.records import BenchmarkKind, Side, Snapshot
from ledger.domain.slippage import measure

if TYPE_CHECKING:
    from decimal import Decimal

CHUNK = 2_500
SHOWN = 5
PLACES = 10**12
TEN_THOUSAND = 10_000

Figure = tuple[Fraction | None, Fraction | None, str | None]  # bps, benchmark, reason


class Tally(msgspec.Struct):
    """What was compared."""

    fills: int = 0
    figures: Counter[str] = msgspec.field(default_factory=Counter)
    between: int = 0  # figures that lie exactly between two 12-place numbers
    differences: int = 0
    sample: list[str] = msgspec.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take up a chunk's."""
        self.fills += other.fills
        self.figures.update(other.figures)
        self.between += other.between
        self.differences += other.differences
        self.sample = (self.sample + other.sample)[:SHOWN]


def stored(exact: Fraction) -> Fraction:
    """Round half to even to 12 places."""
    return Fraction(round(exact * PLACES), PLACES)


def expected(case: Case) -> dict[str, Figure]:
    """Work all figures of a fill out by their definitions."""
    found: dict[str, Figure] = {}
    e, root = case.execution, case.root
    found["arrival_mid"] = _expected_slippage(case, root.routed_ns)
    if root.decision_price is not None:
        benchmark = Fraction(root.decision_price)
        found["decision_price"] = (_cost(case, benchmark), benchmark, None)
    found["fill_mid"] = _expected_slippage(case, e.transact_ns)
    direct, rated = _expected_fee(case)
    found["fee_bps"] = (direct, None, None)
    if rated is not None:
        found["fee"] = rated
    return found


def _cost(case: Case, benchmark: Fraction) -> Fraction:
    price = Fraction(case.execution.last_px)
    sign = 1 if case.execution.side is Side.BUY else -1
    if case.instrument is not None and case.instrument.kind is InstrumentKind.INVERSE:
        # coins for one unit of quote: 1/benchmark on paper, 1/price dealt
        return sign * (1 / benchmark - 1 / price) / (1 / benchmark) * TEN_THOUSAND
    return sign * (price / benchmark - 1) * TEN_THOUSAND


def _expected_slippage(case: Case, at_ns: int) -> Figure:
    snapshot = case.snapshots.get((SYMBOL, at_ns))
    if snapshot is None:
        return None, None, "no_snapshot"
    bid, ask = Fraction(snapshot.bid), Fraction(snapshot.ask)
    benchmark, reason = (bid + ask) / 2, None
    if case.policy.price == "microprice":
        share = _share_of_bid(snapshot)
        weighted = None if share is None else stored(share * ask + (1 - share) * bid)
        if weighted is None:
            reason = "no_sizes"
        elif weighted < bid or weighted > ask:
            reason = "too_fine"
        else:
            benchmark = weighted
    if at_ns - snapshot.at_ns > STALE_NS:
        reason = "stale_snapshot"
    return _cost(case, benchmark), benchmark, reason


def _share_of_bid(snapshot: Snapshot) -> Fraction | None:
    if snapshot.bid_size is None or snapshot.ask_size is None:
        return None
    both = Fraction(snapshot.bid_size) + Fraction(snapshot.ask_size)
    return Fraction(snapshot.bid_size) / both if both else None


def _expected_fee(case: Case) -> tuple[Fraction | None, Figure | None]:
    """Give the fee in bps where no rate is needed, and the figure with a rate where one is."""
    e, instrument = case.execution, case.instrument
    if e.fee is None:
        return None, None
    if not e.fee:
        return Fraction(0), None
    if e.fee_currency is None:
        return None, None
    fee, price, qty = Fraction(e.fee), Fraction(e.last_px), Fraction(e.last_qty)
    if instrument is None:
        if e.fee_currency == e.currency:
            return fee / (qty * price) * TEN_THOUSAND, None
        return None, (None, None, "no_instrument")
    size = qty * Fraction(instrument.contract_size) * Fraction(instrument.multiplier)
    inverse = instrument.kind is InstrumentKind.INVERSE
    notional = {"BASE": size / price, "QUOTE": size} if inverse else {"BASE": size, "QUOTE": size * price}
    if e.fee_currency in notional:
        return fee / notional[e.fee_currency] * TEN_THOUSAND, None
    if e.fee_currency not in PAIRS:
        return None, (None, None, "no_rate")
    paid_in = "BASE" if inverse else "QUOTE"
    snapshot = case.snapshots.get((f"{PAIRS[e.fee_currency]}-{paid_in}", e.transact_ns))
    if snapshot is None:
        return None, (None, None, "no_snapshot")
    rate = (Fraction(snapshot.bid) + Fraction(snapshot.ask)) / 2
    worth = fee * rate if e.fee_currency == "THIRD" else fee / rate
    reason = "stale_snapshot" if e.transact_ns - snapshot.at_ns > STALE_NS else None
    return None, (worth / notional[paid_in] * TEN_THOUSAND, rate, reason)


def ours(case: Case) -> dict[str, tuple[Decimal | None, Decimal | None, str | None]]:
    """Ask the ledger."""
    found: dict[str, tuple[Decimal | None, Decimal | None, str | None]] = {
        str(metric.kind): (metric.bps, metric.benchmark, metric.quality_reason)
        for metric in measure(case.execution, case.root, case, case.policy)
    }
    found["fee_bps"] = (fee_bps(case.execution, case.policy.instruments), None, None)
    return found


def compare(seed: str, count: int) -> Tally:
    """Compare some random fills."""
    tally = Tally()
    for case in cases(random.Random(seed), count):
        tally.fills += 1
        figures, wanted = ours(case), expected(case)
        for kind in figures.keys() | wanted.keys():
            bps, benchmark, reason = wanted.get(kind, (None, None, "no such figure"))
            rounded = None if bps is None else stored(bps)
            found = figures.get(kind)
            tally.figures[f"{kind} {reason or 'exact'}" if found else kind] += 1
            tally.between += bps is not None and (bps * PLACES).denominator == 2  # noqa: PLR2004
            if found is None or _differs(found[0], rounded) or _differs(found[1], benchmark) or found[2] != reason:
                tally.differences += 1
                shown = f"{seed} {kind}: ledger {found}, expected {(rounded, benchmark, reason)}: {case.execution}"
                tally.sample = [*tally.sample, shown][:SHOWN]
    return tally


def _differs(found: Decimal | None, wanted: Fraction | None) -> bool:
    return found != wanted if found is None or wanted is None else Fraction(found) != wanted


def _compare(task: tuple[str, int]) -> Tally:
    return compare(*task)


def main() -> int:
    """Compare on all cores; exit 1 when anything differs."""
    fills, seed = int(os.environ.get("ORACLE_FILLS", "1_000_000")), os.environ.get("ORACLE_SEED", "1")
    tasks = [(f"{seed}/{first}", min(CHUNK, fills - first)) for first in range(0, fills, CHUNK)]
    tally, began, told = Tally(), time.monotonic(), 0
    with get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        for part in pool.imap_unordered(_compare, tasks):
            tally.add(part)
            if tally.fills * 10 // fills > told:
                told = tally.fills * 10 // fills
                print(f"  {tally.fills:,} of {fills:,} fills, {tally.differences} differences", flush=True)
    seconds = time.monotonic() - began
    for kind in [*sorted(BenchmarkKind), "fee_bps"]:
        shown = ", ".join(
            f"{name.partition(' ')[2]} {n:,}" for name, n in tally.figures.most_common() if name.split()[0] == kind
        )
        print(f"  {kind}: {shown}")
    print(
        f"{tally.fills:,} fills, {tally.figures.total():,} figures ({tally.between:,} exactly between two "
        f"12-place numbers), {tally.differences} differences, {fills / seconds:,.0f} fills/s"
    )
    for line in tally.sample:
        print(f"  {line}")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())
