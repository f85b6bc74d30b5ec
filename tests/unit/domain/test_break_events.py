"""Each opening and each end of a break is an event of its own, and the same one when it is decided again."""

from __future__ import annotations

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.records import ReportKind
from tests.unit.domain.facts import intent, report


def test_a_break_that_opens_again_with_the_same_values_is_told_again() -> None:
    book = Book()
    ids: list[tuple[str, str]] = []
    batches: list[list[Fact]] = [
        [intent(qty="1"), report("E1")],
        [report("E2")],
        [report("B1", kind=ReportKind.BUST, ref="E2")],
        [report("E3")],
        [report("B2", kind=ReportKind.BUST, ref="E3")],
    ]
    for facts in batches:
        decision, again = decide(book, facts, Policy()), decide(book, facts, Policy())
        assert decision.events == again.events
        ids += [(e.event_type, e.event_id) for e in decision.events if e.event_type.startswith("break")]
        book.apply(decision)
    assert [kind for kind, _ in ids] == ["break_opened", "break_ended", "break_opened", "break_ended"]
    assert len({event_id for _, event_id in ids}) == 4
