from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.records import BenchmarkKind, Quality, Side, Snapshot
from ledger.domain.slippage import (
    SlippagePolicy,
    against_decision,
    against_snapshot,
    measure,
    microprice,
    mid,
    question,
    remeasure,
    reprice,
    slippage_bps,
)
from ledger.domain.snapshots import SnapshotBook
from tests.unit.domain.executions import execution
from tests.unit.domain.facts import SECOND, T0, intent, snapshot

INVERSE = Instrument("KRAKEN_FUTURES", "PI_XBTUSD", InstrumentKind.INVERSE, "BTC", "USD", "BTC")
LINEAR = Instrument("CME", "ES", InstrumentKind.LINEAR, "ES", "USD", "USD", multiplier=Decimal(50))
POLICY = SlippagePolicy(instruments=Instruments([INVERSE, LINEAR]))
MICRO = SlippagePolicy(price="microprice")


def book(*known: Snapshot) -> SnapshotBook:
    found = SnapshotBook()
    found.add(known)
    return found


def sized(bid: str, ask: str, bid_size: str | None, ask_size: str | None, *, at: int = T0) -> Snapshot:
    sizes = [None if size is None else Decimal(size) for size in (bid_size, ask_size)]
    return msgspec.structs.replace(snapshot("S", bid, ask, at), bid_size=sizes[0], ask_size=sizes[1])


@pytest.mark.parametrize(
    ("side", "price", "sign"),
    [(Side.BUY, "101", 1), (Side.BUY, "99", -1), (Side.SELL, "99", 1), (Side.SELL, "101", -1)],
)
def test_a_positive_figure_is_a_cost_on_either_side(side: Side, price: str, sign: int) -> None:
    assert slippage_bps(side, Decimal(price), Decimal(100)) == sign * 100


def test_the_mid_is_exact() -> None:
    assert mid(snapshot("S", "0.000000000000000001", "0.000000000000000002")) == Decimal("1.5E-18")


@pytest.mark.parametrize("side", Side)
def test_an_inverse_contract_costs_the_coins_that_it_costs(side: Side) -> None:
    rng = random.Random(5)
    for _ in range(1_000):
        price, benchmark, contracts = (Decimal(rng.randrange(1, 10**8)).scaleb(-2) for _ in range(3))
        coins, on_paper = Fraction(contracts) / Fraction(price), Fraction(contracts) / Fraction(benchmark)
        cost = (on_paper - coins) * side.sign  # what a later closing gives less, in coins
        exact = Fraction(round(cost / on_paper * 10_000 * 10**12), 10**12)
        assert Fraction(slippage_bps(side, price, benchmark, inverse=True)) == exact


def test_an_inverse_contract_is_measured_so_against_every_benchmark_and_again_when_corrected() -> None:
    filled = execution(px="125", venue="KRAKEN_FUTURES", symbol="PI_XBTUSD")
    root = intent(decision="100", symbol="PI_XBTUSD")
    quotes = book(snapshot("S", "99", "101", symbol="PI_XBTUSD"))
    metrics = measure(filled, root, quotes, POLICY)
    assert [(m.kind, m.bps) for m in metrics] == [
        (BenchmarkKind.ARRIVAL_MID, 2_000),
        (BenchmarkKind.DECISION_PRICE, 2_000),
        (BenchmarkKind.FILL_MID, 2_000),
    ]
    corrected = msgspec.structs.replace(filled, last_px=Decimal(80))
    assert {reprice(m, corrected, POLICY).bps for m in metrics} == {Decimal(-2_500)}
    assert measure(filled, root, quotes, SlippagePolicy())[0].bps == 2_500  # without reference data: spot


def test_contract_sizes_cancel() -> None:
    plain = against_decision(execution(px="2088", venue="V", symbol="ES"), intent(), Decimal(2087), POLICY)
    sized_50 = against_decision(execution(px="2088", venue="CME", symbol="ES"), intent(), Decimal(2087), POLICY)
    assert plain.bps == sized_50.bps == Decimal("4.791566842357")


@pytest.mark.parametrize(
    ("bid_size", "ask_size", "price"),
    [("1", "1", "100.5"), ("3", "1", "100.75"), ("1", "3", "100.25"), ("0", "2", "100"), ("2", "0", "101"),
     ("2", "1", "100.666666666667")],
)  # fmt: skip
def test_a_large_bid_pulls_the_microprice_towards_the_ask(bid_size: str, ask_size: str, price: str) -> None:
    assert microprice(sized("100", "101", bid_size, ask_size)) == Decimal(price)


def test_the_microprice_is_the_stored_benchmark_and_what_slippage_is_measured_against() -> None:
    (metric, _) = measure(execution(px="101"), intent(), book(sized("100", "101", "2", "1")), MICRO)
    assert metric.benchmark == Decimal("100.666666666667")
    assert metric.bps == slippage_bps(Side.BUY, Decimal(101), Decimal("100.666666666667"))
    assert (metric.quality, metric.quality_reason) == (Quality.EXACT, None)


@pytest.mark.parametrize(("bid_size", "ask_size"), [(None, None), ("1", None), (None, "1"), ("0", "0")])
def test_without_sizes_the_mid_stands_in_for_the_microprice(bid_size: str | None, ask_size: str | None) -> None:
    (metric, _) = measure(execution(), intent(), book(sized("100", "101", bid_size, ask_size)), MICRO)
    assert metric.benchmark == Decimal("100.5")
    assert (metric.quality, metric.quality_reason) == (Quality.BEST_EFFORT, "no_sizes")


def test_prices_too_fine_for_a_microprice_of_12_places_are_measured_against_their_mid() -> None:
    tiny = sized("0.000000000000000001", "0.000000000000000003", "2", "1")
    (metric, _) = measure(execution(px="0.000000000000000004"), intent(), book(tiny), MICRO)
    assert (metric.benchmark, metric.bps) == (Decimal("2E-18"), 10_000)
    assert (metric.quality, metric.quality_reason) == (Quality.BEST_EFFORT, "too_fine")


@pytest.mark.parametrize(
    ("age", "sizes", "quality", "reason"),
    [
        (5 * SECOND, "1", Quality.EXACT, None),
        (5 * SECOND + 1, "1", Quality.BEST_EFFORT, "stale_snapshot"),
        (5 * SECOND + 1, None, Quality.BEST_EFFORT, "stale_snapshot"),
        (5 * SECOND, None, Quality.BEST_EFFORT, "no_sizes"),
    ],
)
def test_the_gravest_reason_is_told(age: int, sizes: str | None, quality: Quality, reason: str | None) -> None:
    quotes = book(sized("100", "101", sizes, sizes, at=T0 - age))
    metric = measure(execution(), intent(), quotes, MICRO)[0]
    assert (metric.kind, metric.quality, metric.quality_reason) == (BenchmarkKind.ARRIVAL_MID, quality, reason)


def test_without_a_snapshot_there_is_no_figure_and_the_reason() -> None:
    metrics = measure(execution(at=T0), intent(at=T0), book(snapshot("S", "1", "2", T0 + 1)), POLICY)
    assert {(m.bps, m.benchmark, m.quality, m.quality_reason) for m in metrics} == {
        (None, None, Quality.BEST_EFFORT, "no_snapshot")
    }


def test_each_benchmark_asks_for_a_symbol_and_a_time() -> None:
    filled, root = execution(at=T0 + 5), intent(at=T0)
    asked = {kind: question(kind, filled, root, POLICY) for kind in BenchmarkKind}
    assert asked == {
        BenchmarkKind.ARRIVAL_MID: ("BTCUSDT", T0),
        BenchmarkKind.FILL_MID: ("BTCUSDT", T0 + 5),
        BenchmarkKind.DECISION_PRICE: None,
        BenchmarkKind.FEE: None,
    }


def test_a_corrected_execution_keeps_its_benchmarks_unless_its_order_began_otherwise() -> None:
    quotes = book(snapshot("S1", "99", "101", T0), snapshot("S2", "109", "111", T0 + SECOND))
    known = measure(execution(), intent(), quotes, POLICY)
    empty = SnapshotBook()
    corrected = execution(px="110")
    again = remeasure(known, corrected, execution(), intent(), empty, POLICY, same_root=True)
    assert again == tuple(reprice(m, corrected, POLICY) for m in known)
    elsewhere = intent(decision="100")
    moved = remeasure(known, corrected, execution(), elsewhere, empty, POLICY, same_root=False)
    assert [(m.kind, m.snapshot_id) for m in moved] == [
        (BenchmarkKind.ARRIVAL_MID, None),
        (BenchmarkKind.DECISION_PRICE, None),
        (BenchmarkKind.FILL_MID, "S2"),
    ]


def test_a_mid_is_the_benchmark_even_where_the_fill_is_far_from_it() -> None:
    metric = against_snapshot(execution(px="50"), BenchmarkKind.FILL_MID, T0, snapshot("S", "99", "101"), POLICY)
    assert metric.bps == -5_000


def test_a_finer_time_of_the_fill_may_make_its_snapshot_stale() -> None:
    quotes = book(snapshot("S", "99", "101", T0))
    coarse, fine = execution(at=T0 + 5 * SECOND), execution(at=T0 + 5 * SECOND + 123)
    known = measure(coarse, intent(), quotes, POLICY)
    again = remeasure(known, fine, coarse, intent(), quotes, POLICY, same_root=True)
    assert again == measure(fine, intent(), quotes, POLICY)
    assert [m.quality_reason for m in again] == [None, "stale_snapshot"]
