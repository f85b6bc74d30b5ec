"""Fees and reference data through the rules: executions, metrics, marks, late rates, corrects, any order."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.digest import digest_of
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.records import BenchmarkKind, Captured, Execution, ReportKind, SlippageMetric, Snapshot
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.snapshots import SnapshotBook
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot

KNOWN = Instruments(
    [
        Instrument("ALPHA", "BTCUSDT", InstrumentKind.INVERSE, "BTC", "USDT", "BTC", Decimal(100)),
        Instrument("*", "BNBBTC", InstrumentKind.SPOT, "BNB", "BTC", "BTC"),
    ]
)
POLICY = Policy(SlippagePolicy(instruments=KNOWN))
FILLED = T0 + SECOND


def charged(
    exec_id: str, fee: str, currency: str, *, at: int = FILLED, px: str = "50000", **more: object
) -> Captured:
    captured = report(exec_id, px=px, at=at, fee=fee, **more)  # type: ignore[arg-type]
    with_currency = msgspec.structs.replace(captured.report, fee_currency=currency)
    return msgspec.structs.replace(captured, report=with_currency)


def new_book() -> Book:
    return Book(SnapshotBook(), instruments=KNOWN)


def landed(
    *batches: list[Fact], book: Book | None = None
) -> tuple[dict[str, Execution], dict[str, SlippageMetric]]:
    known = book or new_book()
    for facts in batches:
        known.apply(decide(known, facts, POLICY))
    order = known.orders["C1"]
    fees = {m.execution_id: m for found in order.metrics.values() for m in found if m.kind is BenchmarkKind.FEE}
    return order.executions, fees


def test_an_execution_carries_its_fee_in_bps_of_what_its_contracts_are_worth() -> None:
    executions, fees = landed([intent(), charged("E1", "0.0000004", "BTC")])
    assert [e.fee_bps for e in executions.values()] == [2]  # 100 / 50000 = 0.002 BTC
    assert fees == {}


def test_a_correct_changes_the_fee_in_bps() -> None:
    correct = charged("E2", "0.000004", "BTC", kind=ReportKind.CORRECT, ref="E1", qty="2")
    executions, _ = landed([intent(), charged("E1", "0.0000004", "BTC")], [correct])
    assert [e.fee_bps for e in executions.values()] == [10]


def test_an_inverse_contract_is_measured_as_one_and_repriced_as_one() -> None:
    quotes = [snapshot("S", "40000", "40000")]
    correct = charged("E2", "0", "BTC", kind=ReportKind.CORRECT, ref="E1", px="32000")
    book = new_book()
    landed([*quotes, intent(), charged("E1", "0", "BTC")], book=book)
    assert {m.bps for found in book.orders["C1"].metrics.values() for m in found} == {2_000}
    landed([correct], book=book)
    assert {m.bps for found in book.orders["C1"].metrics.values() for m in found} == {-2_500}


def test_a_rate_that_comes_late_restates_the_fee_and_nothing_else() -> None:
    book = new_book()
    early, late = (
        snapshot("S1", "0.01", "0.01", FILLED - 2, "BNBBTC"),
        snapshot("S2", "0.02", "0.02", FILLED - 1, "BNBBTC"),
    )
    _, fees = landed([early, intent(), charged("E1", "0.0001", "BNB")], book=book)
    assert [(m.bps, m.snapshot_id) for m in fees.values()] == [(5, "S1")]
    decision = decide(book, [late, snapshot("S3", "9", "9", FILLED + 1, "BNBBTC")], POLICY)
    assert [(m.kind, m.bps, m.snapshot_id) for m in decision.metrics_changed] == [(BenchmarkKind.FEE, 10, "S2")]
    assert [e.event_type for e in decision.events] == ["slippage_restated"]


def test_a_correct_that_brings_the_fee_in_another_currency_asks_for_the_rate_at_the_fills_time() -> None:
    book = Book(SnapshotBook(covered_from=T0 + 60 * SECOND), instruments=KNOWN)
    first = [intent(), charged("E1", "0.0000004", "BTC")]
    correct = charged("E2", "0.0001", "BNB", at=T0 + 90 * SECOND, kind=ReportKind.CORRECT, ref="E1")
    landed(first, book=book)
    assert ("BNBBTC", FILLED) in book.uncovered([correct])
    book.snapshots.anchor("BNBBTC", FILLED, snapshot("S1", "0.01", "0.01", T0, "BNBBTC"))
    executions, fees = landed([correct], book=book)
    assert [e.fee_bps for e in executions.values()] == [None]
    assert [(m.bps, m.snapshot_id) for m in fees.values()] == [(5, "S1")]


def test_a_report_that_waits_for_its_intent_asks_for_its_rate_with_it() -> None:
    book = Book(SnapshotBook(covered_from=T0 + 60 * SECOND), instruments=KNOWN)
    book.apply(decide(book, [charged("E1", "0.0001", "BNB")], POLICY))
    assert ("BNBBTC", FILLED) in book.uncovered([intent()])


def test_orders_that_are_loaded_again_are_restated_by_rates_that_come_late() -> None:
    book = new_book()
    landed([intent(), charged("E1", "0.0001", "BNB")], book=book)
    order = book.orders["C1"]
    fresh = new_book()
    fresh.load_order(order)
    decision = decide(fresh, [snapshot("S1", "0.01", "0.01", T0, "BNBBTC")], POLICY)
    assert [(m.kind, m.bps) for m in decision.metrics_changed] == [(BenchmarkKind.FEE, 5)]


FACTS: list[Fact] = [
    intent(decision="50000", qty="10"),
    charged("E1", "0.0001", "BNB"),
    charged("E2", "0.0000004", "BTC", at=FILLED + 5),
    charged("E3", "-0.0001", "BNB", at=FILLED + 9),
    charged("E4", "0.0002", "BNB", at=FILLED + 20, kind=ReportKind.CORRECT, ref="E2", px="51000"),
    charged("E5", "0.02", "USDT", at=FILLED + 21, kind=ReportKind.CORRECT, ref="E3", qty="2"),
    charged("E6", "0.0003", "XRP", at=FILLED + 22),
    charged("E7", "0.1", "BNB", at=FILLED + 30, kind=ReportKind.BUST, ref="E1"),
    *(snapshot(f"S{n}", str(49_000 + n), "51000", T0 + n) for n in range(3)),
    *(snapshot(f"R{n}", "0.01", str(Decimal("0.01") * (n + 1)), FILLED - 3 + 4 * n, "BNBBTC") for n in range(5)),
]


@pytest.mark.parametrize("seed", range(60))
def test_fees_and_rates_end_alike_in_any_order_and_any_batches(seed: int) -> None:
    rng = random.Random(seed)
    facts = rng.sample([*FACTS, *rng.sample(FACTS, 4)], len(FACTS) + 4)
    cuts = sorted(rng.sample(range(1, len(facts)), rng.randrange(6)))
    batches = [facts[a:b] for a, b in zip([0, *cuts], [*cuts, len(facts)], strict=True)]
    books = [new_book(), new_book()]
    landed(FACTS, book=books[0])
    landed(*batches, book=books[1])
    orders = [book.orders["C1"] for book in books]
    metrics = [[m for found in order.metrics.values() for m in found] for order in orders]
    digests = [digest_of(order.executions.values(), found) for order, found in zip(orders, metrics, strict=True)]
    assert digests[0] == digests[1]
    fees = [{m.execution_id: m for m in found if m.kind is BenchmarkKind.FEE} for found in metrics]
    assert fees[0] == fees[1]
    assert {m.quality_reason for m in fees[0].values()} == {None, "no_rate"}


def test_the_facts_above_have_rates_at_every_fill() -> None:
    rates = [fact for fact in FACTS if isinstance(fact, Snapshot) and fact.symbol == "BNBBTC"]
    assert min(rate.at_ns for rate in rates) < FILLED < max(rate.at_ns for rate in rates)
