"""Four eyes: what two persons' votes make, and what a rejection takes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.records import BreakKind, ExecutionStatus, ReportKind, Verdict
from ledger.domain.verdicts import RefusedError, Vote, agreed, voids_of
from tests.unit.domain.facts import SECOND, T0, intent, report

if TYPE_CHECKING:
    from ledger.domain.order import OrderState
    from ledger.domain.records import Break

RELEASE, REJECT = Verdict.RELEASE, Verdict.REJECT


def vote(
    number: int,
    person: str,
    verdict: Verdict = RELEASE,
    *,
    theirs: str = "2",
    break_id: str = "B1",
    why: str = "why",
) -> Vote:
    return Vote(number, break_id, "C1", verdict, person, why, "1", theirs, T0 + number)


# --- agreement: two different persons, one break, one verdict, the same values -------------------------------


@pytest.mark.parametrize(
    ("votes", "persons"),
    [
        ([], None),
        ([vote(1, "a")], None),
        ([vote(1, "a"), vote(2, "a")], None),
        ([vote(1, "a"), vote(2, "b")], ("a", "b")),
        ([vote(2, "b"), vote(1, "a")], ("a", "b")),
        ([vote(1, "a"), vote(2, "b", REJECT)], None),
        ([vote(1, "a", REJECT), vote(2, "b", REJECT)], ("a", "b")),
        ([vote(1, "a"), vote(2, "b", theirs="3")], None),
        ([vote(1, "a"), vote(2, "b", break_id="B2")], None),
        ([vote(1, "a"), vote(2, "b", REJECT), vote(3, "c", REJECT)], ("b", "c")),
        ([vote(1, "a"), vote(2, "b", REJECT), vote(3, "a", REJECT)], ("b", "a")),
        ([vote(1, "a"), vote(2, "a", REJECT), vote(3, "b")], None),
        ([vote(1, "a"), vote(2, "b", theirs="3"), vote(3, "a", theirs="3")], ("b", "a")),
        ([vote(1, "a"), vote(2, "b"), vote(3, "c")], ("a", "b")),
    ],
)
def test_two_persons_who_agree_make_a_resolution(votes: list[Vote], persons: tuple[str, str] | None) -> None:
    found = agreed(votes)
    assert (found and (found.requested_by, found.approved_by)) == persons


def test_the_resolution_says_what_both_said() -> None:
    found = agreed([vote(1, "a", REJECT, why="not ours"), vote(2, "b", REJECT, why="phoned")])
    assert found is not None
    assert (found.break_id, found.correlation_id, found.verdict) == ("B1", "C1", REJECT)
    assert (found.ours, found.theirs, found.at_ns) == ("1", "2", T0 + 2)
    assert found.reason == "not ours; phoned"
    assert found.voids == ()


VOTES = st.lists(
    st.builds(
        vote,
        st.integers(1, 12),
        st.sampled_from("abc"),
        st.sampled_from(Verdict),
        theirs=st.sampled_from("23"),
        break_id=st.sampled_from(["B1", "B2"]),
    ),
    max_size=8,
    unique_by=lambda v: v.vote_id,
)


@given(VOTES, st.randoms())
def test_it_does_not_depend_on_the_order_of_reading(votes: list[Vote], random: object) -> None:
    shuffled = list(votes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert agreed(shuffled) == agreed(votes)


@given(VOTES)
def test_never_one_person_and_never_two_opinions(votes: list[Vote]) -> None:
    found = agreed(votes)
    if found is None:
        return
    said = [v for v in votes if (v.break_id, v.verdict, v.theirs) == (found.break_id, found.verdict, found.theirs)]
    assert found.requested_by != found.approved_by
    assert {found.requested_by, found.approved_by} <= {v.person for v in said}


@given(VOTES)
def test_what_was_agreed_stays_so_whatever_is_voted_later(votes: list[Vote]) -> None:
    found = agreed(votes)
    if found is not None:
        assert agreed([*votes, vote(99, "d", REJECT), vote(100, "e", REJECT)]) == found


@given(VOTES)
def test_votes_of_one_person_alone_never_agree(votes: list[Vote]) -> None:
    assert agreed(msgspec.structs.replace(v, person="a") for v in votes) is None


# --- rejection: what does not count any more -----------------------------------------------------------------


def order_of(*facts: Fact) -> OrderState:
    return decide(Book(), facts, Policy()).orders["C1"]


def break_of(order: OrderState, kind: BreakKind) -> Break:
    (found,) = (found for found in order.breaks.values() if found.kind is kind)
    return found


def voided(order: OrderState, kind: BreakKind) -> list[str]:
    return [order.reports[report_id].exec_id for report_id, _ in voids_of(order, break_of(order, kind))]


def test_of_an_overfill_the_newest_fills_go_until_the_quantity_holds() -> None:
    fills = [report(f"E{n}", qty=qty, at=T0 + n * SECOND) for n, qty in ((1, "3"), (2, "1"), (3, "2"))]
    order = order_of(intent(qty="4"), *fills)
    assert voided(order, BreakKind.OVERFILL) == ["E3"]
    order = order_of(intent(qty="3"), *fills)
    assert voided(order, BreakKind.OVERFILL) == ["E3", "E2"]


def test_of_a_report_that_differs_its_execution_goes() -> None:
    order = order_of(intent(limit="99"), report("E1", px="98"), report("E2", px="100"))
    assert voided(order, BreakKind.PRICE_BEYOND_LIMIT) == ["E2"]
    order = order_of(intent(), report("E1", symbol="ETHUSDT"), report("E2"))
    assert voided(order, BreakKind.SYMBOL_DIFFERS) == ["E1"]


def test_of_two_wordings_the_one_that_counts_goes() -> None:
    first, second = report("E1", px="100"), report("E1", px="101")
    order = order_of(intent(), first, second)
    ((report_id, content),) = voids_of(order, break_of(order, BreakKind.CONFLICTING_DUPLICATE))
    assert report_id == first.report.report_id
    assert content == order.counted_variants(report_id)[0].content


@pytest.mark.parametrize("claims", [{"cum": "5"}, {"cum": "1", "avg": "90"}])
def test_totals_have_nothing_to_void(claims: dict[str, str]) -> None:
    order = order_of(intent(), report(**claims))  # type: ignore[arg-type]
    (found,) = order.breaks.values()
    with pytest.raises(RefusedError, match="is about totals: no execution to void"):
        voids_of(order, found)


def test_a_bust_that_waits_has_no_execution_to_void() -> None:
    order = order_of(intent(), report("E9", kind=ReportKind.BUST, ref="E1", symbol="ETHUSDT"))
    with pytest.raises(RefusedError, match="waits for what it refers to"):
        voids_of(order, break_of(order, BreakKind.SYMBOL_DIFFERS))


def test_a_voided_execution_does_not_count_and_its_break_is_over() -> None:
    book = Book()
    book.apply(decide(book, [intent(qty="1"), report("E1"), report("E2")], Policy()))
    found = break_of(book.orders["C1"], BreakKind.OVERFILL)
    votes = [
        msgspec.structs.replace(vote(n, person, REJECT), break_id=found.break_id)
        for n, person in enumerate("ab", start=1)
    ]
    resolution = agreed(votes)
    assert resolution is not None
    decision = decide(book, [resolution], Policy())
    order = decision.orders["C1"]
    assert not order.breaks
    assert order.cum_qty == 1
    assert [e.status for e in order.executions.values()].count(ExecutionStatus.VOIDED) == 1
    assert not decision.refused
