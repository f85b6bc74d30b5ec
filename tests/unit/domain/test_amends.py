"""What changes after a fill was told: wordings, corrects of corrects and of voids, and rejected replaces."""

from __future__ import annotations

import itertools

from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.records import Action, ExecType, OrdStatus, Verdict
from tests.unit.domain.facts import SECOND, T0, correct, intent, order_report, report, resolution

POLICY = Policy()


def landed(*batches: list[object]) -> tuple[Book, list[tuple[str, str]]]:
    book, told = Book(), []
    for facts in batches:
        decision = decide(book, facts, POLICY)  # type: ignore[arg-type]
        told += [(e.event_type, e.body.decode()) for e in decision.events]
        book.apply(decision)
    return book, told


def test_a_fill_that_was_told_is_corrected_when_another_wording_counts() -> None:
    one, other = report("E1", px="100"), report("E1", px="105")
    first, second = sorted((one, other), key=lambda c: c.report.content, reverse=True)
    book, told = landed([intent()], [first], [second])
    corrects = [body for kind, body in told if kind == "correct"]
    assert len(corrects) == 1
    assert f'"last_px":"{second.report.last_px}"' in corrects[0]
    (execution,) = book.orders["C1"].executions.values()
    assert execution.last_px == second.report.last_px


def test_a_fill_that_was_told_by_the_wording_that_counts_is_not_corrected() -> None:
    one, other = report("E1", px="100"), report("E1", px="105")
    first, second = sorted((one, other), key=lambda c: c.report.content)
    _, told = landed([intent()], [first], [second])
    assert [kind for kind, _ in told if kind in {"fill", "correct"}] == ["fill"]


def test_the_newest_correct_counts_however_far_from_the_fill_it_stands() -> None:
    facts = [
        intent(),
        report("E1", px="100"),
        correct("K1", "E1", px="101", at=T0 + 2 * SECOND),
        correct("K2", "K1", px="102", at=T0 + 3 * SECOND),
        correct("K3", "E1", px="103", at=T0 + 9 * SECOND),
    ]
    for order in (facts, [facts[0], *reversed(facts[1:])]):
        book, _ = landed(*([fact] for fact in order))
        (execution,) = book.orders["C1"].executions.values()
        assert (execution.last_exec_id, str(execution.last_px)) == ("K3", "103")


def test_a_rejected_replace_allows_neither_quantity_nor_price() -> None:
    replace = intent(msg_id="R1", action=Action.REPLACE, orig="M1", qty="50", limit="110", at=T0 + SECOND)
    rejected = order_report(ExecType.CANCEL_REJECT, cl_ord_id="R1", orig="M1", status=OrdStatus.NEW)
    book, _ = landed([intent(qty="10", limit="100")], [replace], [rejected], [report("E1", qty="40", px="109")])
    assert {found.kind for found in book.orders["C1"].breaks.values()} == {"overfill", "price_beyond_limit"}
    book, _ = landed([intent(qty="10", limit="100")], [replace], [report("E1", qty="40", px="109")])
    assert not book.orders["C1"].breaks


def test_a_correct_of_what_two_persons_voided_is_a_break_and_stays_void() -> None:
    book, _ = landed([intent(limit="99")], [report("E1", px="100")])
    (found,) = book.orders["C1"].breaks.values()
    verdict = resolution(found, Verdict.REJECT)
    book.apply(decide(book, [verdict], POLICY))
    assert not book.orders["C1"].breaks
    book.apply(decide(book, [correct("K1", "E1", px="98", at=T0 + 9 * SECOND)], POLICY))
    order = book.orders["C1"]
    assert [b.kind for b in order.breaks.values()] == ["voided_corrected"]
    assert (order.cum_qty, [e.status for e in order.executions.values()]) == (0, ["voided"])


def test_a_verdict_is_told_also_where_something_else_is_left_of_the_break() -> None:
    wordings = [report("E1", px=px) for px in ("100", "101", "102")]
    book, _ = landed([intent()], list(wordings))
    (found,) = book.orders["C1"].breaks.values()
    verdict = resolution(found, Verdict.REJECT)
    decision = decide(book, [verdict], POLICY)
    assert [e.event_type for e in decision.events if e.event_type.startswith("break_")] == [
        "break_rejected",
        "break_changed",
    ]


def test_a_fill_under_a_foreign_cl_ord_id_is_the_orders_by_the_venues_order_id() -> None:
    facts = [
        intent(qty="9"),
        report("E1", venue_order_id="O1"),
        report("E2", cl_ord_id="BROKER-77", venue_order_id="O1", at=T0 + 2 * SECOND),
        report("E3", cl_ord_id="BROKER-77", venue_order_id=None, at=T0 + 3 * SECOND),
    ]
    for order in itertools.permutations(facts):
        book, _ = landed(*([fact] for fact in order))
        assert book.orders["C1"].cum_qty == 3
        assert not book.pending
