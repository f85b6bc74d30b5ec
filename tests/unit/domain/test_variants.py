"""One report in more than one wording: filled in, or a break, with both kept."""

from __future__ import annotations

from itertools import permutations

from ledger.domain.records import Action, BreakKind, Captured, ReportKind, Side
from ledger.domain.variants import disagreement, merged
from tests.unit.domain.facts import SECOND, T0, bust, intent, report
from tests.unit.domain.worlds import Ledger


def test_a_fee_that_one_wording_leaves_out_is_filled_in_and_said() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1")])
    decision = ledger.land([report("E1", fee="0.1", feed="ALPHA.rest")])
    (execution,) = ledger.executions.values()
    assert str(execution.fee) == "0.1"
    assert [e.event_type for e in decision.events] == ["enriched"]
    assert not ledger.breaks


def test_the_finest_time_counts() -> None:
    times = [T0 + 1_000_000, T0 + 1_000_123, T0]
    assert merged([report(at=at).report for at in times]).transact_ns == T0 + 1_000_123


def test_the_claims_are_those_of_one_wording() -> None:
    first = merged([report(cum="1", avg="100").report, report(fee="1").report])
    assert (str(first.cum_qty), str(first.avg_px)) == ("1", "100")


def test_two_prices_of_one_fill_are_a_break_and_both_are_kept() -> None:
    ledger = Ledger()
    wordings: list[Captured] = [report("E1"), report("E1", px="97")]
    landed = [c for fact in (intent(), *wordings) for c in ledger.land([fact]).fills]
    assert landed == wordings
    (found,) = ledger.breaks.values()
    assert found.kind is BreakKind.CONFLICTING_DUPLICATE
    assert {found.ours, found.theirs} == {"last_px 100", "last_px 97"}
    assert len(ledger.executions) == 1


def test_figures_of_a_bust_move_nothing_and_differ_without_a_break() -> None:
    wordings = [bust("B1", "E1", qty="0", px="0").report, bust("B1", "E1", qty="1").report]
    assert disagreement(wordings) is None
    assert disagreement([wordings[0], bust("B1", "E1", side=Side.SELL).report]) is not None


def test_a_wording_under_another_message_leaves_no_trace_of_the_first() -> None:
    """Which replace a fill accepts does not depend on which wording came first."""
    facts = [
        intent(),
        intent(msg_id="R1", action=Action.REPLACE, orig="M1", qty="7", at=T0 + SECOND),
        report("E1"),
        report("E1", cl_ord_id="R1"),
    ]
    seen = set()
    for ordered in permutations(facts):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        order = ledger.orders["C1"]
        seen.add((order.traded, order.order_qty))
    assert len(seen) == 1


def test_a_part_of_another_whole_in_a_second_wording_is_a_part_of_one_only() -> None:
    for ordered in permutations([intent(), report("P1", part_of="E1"), report("P1", part_of="E2")]):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        assert len(ledger.orders["C1"].parts) == 1
        assert [b.kind for b in ledger.breaks.values()] == [BreakKind.CONFLICTING_DUPLICATE]


def test_a_wording_goes_on_waiting_under_its_own_reference() -> None:
    ledger = Ledger()
    by_message, by_venue = report("E1"), report("E1", cl_ord_id=None, venue_order_id="V1", fee="1")
    ledger.land([by_message, by_venue])
    ledger.land([intent()])
    assert ledger.pending == {(by_venue.report.report_id, by_venue.report.content)}
    ledger.land([report("E2", venue_order_id="V1")])
    assert not ledger.pending
    assert str(ledger.executions[by_venue.report.report_id].fee) == "1"


def test_the_kind_tells_reports_of_one_exec_id_apart() -> None:
    kinds = {report("E1", kind=kind, ref="E0").report.report_id for kind in ReportKind}
    assert len(kinds) == 3
