"""Any arrival order, any duplication, any split into batches: the same rows, byte for byte.

A failing example is printed with its blob: run it again with `@reproduce_failure(...)`, then keep it, either as an
`@example(facts=[...], rng=Random(0))` above the test (the builders print as Python) or, better, as a test by name
in the module of the rule that was wrong.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.records import Action, ReportKind, Side
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot
from tests.unit.domain.worlds import Ledger, split, worlds

if TYPE_CHECKING:
    import random

EXAMPLES = int(os.environ.get("CONVERGENCE_EXAMPLES", "300"))  # `make nightly` asks for 10,000


@settings(max_examples=EXAMPLES, deadline=None, print_blob=True)
@given(facts=worlds(), rng=st.randoms(use_true_random=False))
def test_permuted_duplicated_and_split_facts_end_in_the_same_rows(facts: list[Fact], rng: random.Random) -> None:
    reference = Ledger()
    reference.land(facts)
    for _ in range(3):
        again = facts + [rng.choice(facts) for _ in range(rng.randrange(len(facts)))]
        rng.shuffle(again)
        ledger = Ledger()
        for batch in split(again, rng):
            ledger.land(batch)
        assert ledger.state() == reference.state()


def test_a_fill_before_its_intent_waits_and_is_tied_when_the_intent_comes() -> None:
    ledger = Ledger()
    fill = report("E1")
    ledger.land([fill])
    assert {row_id for row_id, _ in ledger.pending} == {fill.report.report_id}
    assert not ledger.executions
    ledger.land([intent()])
    assert not ledger.pending
    assert ledger.events == [("fill", fill.report.report_id)]


def test_a_bust_before_its_fill_is_published_after_it() -> None:
    ledger = Ledger()
    fill, bust = report("E1"), report("B1", kind=ReportKind.BUST, ref="E1")
    ledger.land([intent()])
    ledger.land([bust])
    assert {row_id for row_id, _ in ledger.pending} == {bust.report.report_id}
    ledger.land([fill])
    assert [kind for kind, _ in ledger.events] == ["fill", "bust"]
    assert not ledger.pending


def test_an_overfilled_order_holds_its_events_until_a_replace_makes_room() -> None:
    ledger = Ledger()
    ledger.land([intent(qty="1"), report("E1"), report("E2")])
    assert len(ledger.breaks) == 1
    published = len(ledger.events)
    ledger.land([intent(msg_id="M2", action=Action.REPLACE, orig="M1", qty="5", at=T0 + 1)])
    assert not ledger.breaks
    assert len(ledger.events) == 2
    assert published < 2


def test_a_duplicate_is_counted_and_changes_nothing() -> None:
    book = Book()
    book.apply(decide(book, [intent(), report("E1")], Policy()))
    decision = decide(book, [report("E1")], Policy())
    assert decision.duplicates == {"ALPHA.fix": 1}
    assert not decision.fills
    assert not decision.events


def test_a_late_snapshot_restates_the_slippage_it_is_the_better_benchmark_of() -> None:
    ledger = Ledger()
    ledger.land([snapshot("S1", "99", "101", T0 - SECOND), intent(), report("E1", px="101")])
    ledger.land([snapshot("S2", "100", "102", T0 + SECOND // 2)])
    fill_mid = next(m for (_, kind), m in ledger.metrics.items() if kind == "fill_mid")
    arrival = next(m for (_, kind), m in ledger.metrics.items() if kind == "arrival_mid")
    assert (fill_mid.snapshot_id, str(fill_mid.bps)) == ("S2", "0E-12")
    assert (arrival.snapshot_id, str(arrival.bps)) == ("S1", "100.000000000000")


def test_deciding_leaves_the_book_as_it_was() -> None:
    book = Book()
    book.apply(decide(book, [intent(), report("E1")], Policy()))
    order = book.orders["C1"]
    facts: list[Fact] = [report("E2"), report("B", kind=ReportKind.BUST, ref="E1")]
    first = decide(book, facts, Policy())
    assert decide(book, facts, Policy()).events == first.events
    assert list(order.reports) == [report("E1").report.report_id]
    assert book.orders["C1"] is order


def test_a_bust_takes_back_the_fill_of_its_own_day_when_the_exec_id_was_used_before() -> None:
    ledger = Ledger()
    day = 86_400 * SECOND
    first, second = report("1"), report("1", at=T0 + day)
    ledger.land([intent(), first, second, report("B", kind=ReportKind.BUST, ref="1", at=T0 + day + SECOND)])
    busted = {e.execution_id for e in ledger.executions.values() if e.status == "busted"}
    assert busted == {second.report.report_id}


def test_a_bust_of_the_fill_that_broke_ends_the_hold() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1", side=Side.SELL)])
    assert len(ledger.breaks) == 1
    ledger.land([report("E2")])
    assert not ledger.events
    ledger.land([report("B", kind=ReportKind.BUST, ref="E1", side=Side.SELL)])
    assert not ledger.breaks
    assert sorted(kind for kind, _ in ledger.events) == ["bust", "fill", "fill"]


def test_a_second_bust_of_one_fill_is_no_second_event_even_when_it_is_the_earlier() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1"), report("B2", kind=ReportKind.BUST, ref="E1", at=T0 + 5 * SECOND)])
    ledger.land([report("B1", kind=ReportKind.BUST, ref="E1", at=T0 + 4 * SECOND)])
    assert [kind for kind, _ in ledger.events] == ["fill", "bust"]


def test_a_decision_price_that_the_root_does_not_have_leaves_no_slippage_behind() -> None:
    ledger = Ledger()
    replace = intent(msg_id="R1", action=Action.REPLACE, orig="M1", decision="100", at=T0 + SECOND)
    ledger.land([replace])
    ledger.land([report("E1", cl_ord_id="R1")])
    assert {kind for _, kind in ledger.metrics} == {"arrival_mid", "decision_price", "fill_mid"}
    ledger.land([intent()])
    assert {kind for _, kind in ledger.metrics} == {"arrival_mid", "fill_mid"}


def test_a_late_snapshot_looks_no_further_than_the_next_known_one() -> None:
    book = Book()
    fills = [report(f"E{n}", at=T0 + n * SECOND) for n in range(10)]
    book.apply(decide(book, [intent(qty="100"), snapshot("S5", "99", "101", T0 + 5 * SECOND), *fills], Policy()))
    decision = decide(book, [snapshot("S2", "98", "101", T0 + 2 * SECOND)], Policy())
    restated = {m.execution_id for m in decision.metrics_changed}
    assert restated == {fill.report.report_id for fill in fills[2:5]}


def test_an_order_without_fills_counts_towards_what_the_book_remembers() -> None:
    book = Book(report_limit=10)
    for n in range(50):
        book.apply(decide(book, [intent(f"C{n}", f"M{n}")], Policy()))
    assert len(book.orders) == 10


def test_a_venue_order_id_that_two_orders_share_is_the_first_ones_until_that_is_forgotten() -> None:
    book = Book()
    for n in (1, 2):
        book.apply(decide(book, [intent(f"C{n}", f"M{n}", venue_order_id="V")], Policy()))
    assert book.by_reference["ALPHA", "v", "V"] == "C1"
    book.forget("C2")
    assert book.by_reference["ALPHA", "v", "V"] == "C1"
    book.forget("C1")
    assert ("ALPHA", "v", "V") not in book.by_reference
