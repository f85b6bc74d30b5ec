"""Fees in bps of the notional: beside slippage, in any currency, with the rate where one is needed."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from ledger.domain.fees import fee_bps, needs_rate
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.records import BenchmarkKind, Execution, Quality, Side, SlippageMetric
from ledger.domain.slippage import SlippagePolicy, measure, question, remeasure, reprice
from ledger.domain.snapshots import SnapshotBook
from tests.unit.domain.executions import execution
from tests.unit.domain.facts import SECOND, T0, intent, snapshot

SPOT, LINEAR, INVERSE = InstrumentKind
KNOWN = Instruments(
    [
        Instrument("*", "BTCUSDT", SPOT, "BTC", "USDT", "USDT"),
        Instrument("*", "BNBUSDT", SPOT, "BNB", "USDT", "USDT"),
        Instrument("*", "BTCEUR", SPOT, "BTC", "EUR", "EUR"),
        Instrument("*", "EURUSD", SPOT, "EUR", "USD", "USD"),
        Instrument("CME", "ES", LINEAR, "ES", "USD", "USD", multiplier=Decimal(50)),
        Instrument("DERIBIT", "BTC-PERPETUAL", INVERSE, "BTC", "USD", "BTC"),
    ]
)
POLICY = SlippagePolicy(instruments=KNOWN)
FILLED = T0 + SECOND


def fee_of(execution: Execution, *snapshots: object) -> SlippageMetric | None:
    book = SnapshotBook()
    book.add(snapshots)  # type: ignore[arg-type]
    found = [m for m in measure(execution, intent(), book, POLICY) if m.kind is BenchmarkKind.FEE]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("fee", "currency", "bps"),
    [
        ("0.6", "USDT", "2"),
        ("-0.6", "USDT", "-2"),  # a rebate
        ("0.00001", "BTC", "2"),  # in base: at the execution's own price
        ("0.0001", "USDT", "0.000333333333"),
        ("0", "BNB", "0"),  # nothing is nothing in any currency
    ],
)
def test_a_fee_in_quote_or_base_needs_no_rate(fee: str, currency: str, bps: str) -> None:
    filled = execution(qty="0.05", px="60000", fee=fee, fee_currency=currency)
    assert fee_bps(filled, KNOWN) == Decimal(bps)
    assert not needs_rate(filled, KNOWN)
    assert fee_of(filled) is None


@pytest.mark.parametrize("side", Side)
def test_a_fee_costs_the_same_on_either_side(side: Side) -> None:
    assert fee_bps(execution(side=side, px="100", fee="0.01", fee_currency="USDT"), KNOWN) == 1


def test_a_fee_of_contracts_is_over_what_they_are_worth() -> None:
    es = execution(venue="CME", symbol="ES", qty="2", px="2087", fee="2.087", fee_currency="USD")
    assert fee_bps(es, KNOWN) == Decimal("0.1")


@pytest.mark.parametrize(
    ("fee", "currency", "bps"),
    [
        ("0.00000168", "BTC", "7.52136"),  # 1.68e-06 x 8954 / 20, in what it settles in
        ("0.015", "USD", "7.5"),  # in dollars: the contracts' dollars are its notional at any price
    ],
)
def test_a_fee_of_an_inverse_contract_is_over_its_coins(fee: str, currency: str, bps: str) -> None:
    filled = execution(
        venue="DERIBIT", symbol="BTC-PERPETUAL", qty="20", px="8954", fee=fee, fee_currency=currency
    )
    assert fee_bps(filled, KNOWN) == Decimal(bps)


def test_a_dealt_currency_that_is_the_base_is_not_taken_for_the_prices() -> None:
    filled = execution(symbol="EURUSD", qty="1000000", px="1.25", fee="100", fee_currency="EUR", currency="EUR")
    assert fee_bps(filled, KNOWN) == 1


def test_the_executions_own_currency_is_the_prices() -> None:
    filled = execution(px="100", fee="0.01", fee_currency="USDC", currency="USDC")
    assert fee_bps(filled, KNOWN) == 1


def test_without_reference_data_only_the_executions_own_currency_is_compared() -> None:
    own = execution(symbol="X", px="100", fee="0.01", fee_currency="EUR", currency="EUR")
    assert fee_bps(own, KNOWN) == 1
    other = msgspec.structs.replace(own, fee_currency="USD")
    assert fee_bps(other, KNOWN) is None
    metric = fee_of(other)
    assert metric is not None
    assert (metric.bps, metric.quality, metric.quality_reason) == (None, Quality.BEST_EFFORT, "no_instrument")


def test_a_fee_that_is_not_there_or_in_no_currency_has_no_figure() -> None:
    for filled in (execution(fee_currency="USDT"), execution(fee="1")):
        assert fee_bps(filled, KNOWN) is None
        assert fee_of(filled) is None


def test_a_fee_in_a_third_currency_is_measured_at_the_mid_of_the_fill_time() -> None:
    filled = execution(qty="0.05", px="60000", fee="0.001", fee_currency="BNB", at=FILLED)
    quotes = (
        snapshot("B1", "580", "620", FILLED - 1, "BNBUSDT"),
        snapshot("B2", "1", "2", FILLED + 1, "BNBUSDT"),
    )
    metric = fee_of(filled, *quotes)
    assert metric == SlippageMetric(
        filled.execution_id, filled.trade_date, BenchmarkKind.FEE, Decimal(2), Decimal(600), FILLED - 1, "B1",
        Quality.EXACT, None,
    )  # fmt: skip
    assert question(BenchmarkKind.FEE, filled, intent(), POLICY) == ("BNBUSDT", FILLED)


def test_a_pair_quoted_the_other_way_divides() -> None:
    inverse = execution(
        venue="DERIBIT", symbol="BTC-PERPETUAL", qty="50000", px="50000", fee="8", fee_currency="EUR", at=FILLED
    )
    metric = fee_of(inverse, snapshot("E", "39999", "40001", FILLED, "BTCEUR"))
    assert metric is not None
    assert (metric.benchmark, metric.bps) == (40_000, 2)  # 8 EUR at 40000 are 0.0002 BTC of 1 BTC


@pytest.mark.parametrize(
    ("fee_currency", "quotes", "reason", "bps"),
    [
        ("BNB", (), "no_snapshot", None),
        ("BNB", (("S", "600", "600", FILLED - 5 * SECOND - 1, "BNBUSDT"),), "stale_snapshot", 2),
        ("XRP", (), "no_rate", None),
    ],
)
def test_a_fee_without_a_good_rate_says_why(
    fee_currency: str, quotes: tuple[tuple[str, str, str, int, str], ...], reason: str, bps: int | None
) -> None:
    filled = execution(qty="0.05", px="60000", fee="0.001", fee_currency=fee_currency, at=FILLED)
    metric = fee_of(filled, *(snapshot(*quote) for quote in quotes))
    assert metric is not None
    assert (metric.bps, metric.quality, metric.quality_reason) == (bps, Quality.BEST_EFFORT, reason)
    assert reprice(metric, filled, POLICY) == metric


def test_a_correct_takes_the_fee_along_and_may_bring_it_in_another_currency_or_away() -> None:
    filled = execution(qty="0.05", px="60000", fee="0.001", fee_currency="BNB", at=FILLED)
    book = SnapshotBook()
    book.add([snapshot("B", "600", "600", T0, "BNBUSDT"), snapshot("S", "60000", "60000", T0)])
    known = measure(filled, intent(), book, POLICY)

    def corrected(**fields: object) -> tuple[SlippageMetric, ...]:
        changed = msgspec.structs.replace(filled, **fields)
        again = remeasure(known, changed, filled, intent(), book, POLICY, same_root=True)
        assert again == measure(changed, intent(), book, POLICY)
        return again

    doubled = {m.kind: m.bps for m in corrected(last_qty=Decimal("0.025"))}
    assert doubled == {BenchmarkKind.ARRIVAL_MID: 0, BenchmarkKind.FEE: 4, BenchmarkKind.FILL_MID: 0}
    assert BenchmarkKind.FEE not in {m.kind for m in corrected(fee_currency="USDT")}
    assert [m.quality_reason for m in corrected(fee_currency="XRP")] == [None, "no_rate", None]


def test_fees_do_not_touch_slippage() -> None:
    book = SnapshotBook()
    book.add([snapshot("S", "99", "101", T0), snapshot("B", "600", "600", T0, "BNBUSDT")])
    without = measure(execution(px="101"), intent(decision="100"), book, POLICY)
    with_fee = measure(execution(px="101", fee="5", fee_currency="BNB"), intent(decision="100"), book, POLICY)
    assert tuple(m for m in with_fee if m.kind is not BenchmarkKind.FEE) == without
