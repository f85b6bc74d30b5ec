"""What waits, what is held and what is told: breaks, verdicts, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.decide import Policy
from ledger.domain.identity import out_of_order_id
from ledger.domain.records import (
    Action,
    BreakKind,
    Captured,
    ExecutionStatus,
    Overdue,
    PendingReason,
    Side,
    Verdict,
    Waiting,
)
from ledger.domain.tolerances import Grace
from tests.unit.domain.facts import SECOND, T0, bust, intent, report, resolution, snapshot
from tests.unit.domain.worlds import Ledger

if TYPE_CHECKING:
    from ledger.domain.decision import Decision
    from ledger.domain.records import Break

NOW = T0 + 99 * SECOND


def overdue(ledger: Ledger, captured: Captured) -> Decision:
    """End the grace time of all that waits."""
    waiting = (Waiting(p.row_id, p.reason, p.correlation_id, captured) for p in ledger.waiting)
    return ledger.land([Overdue(NOW, tuple(waiting))])


def only_break(ledger: Ledger) -> Break:
    (found,) = ledger.breaks.values()
    return found


def test_an_unknown_order_is_a_break_after_the_grace_time_and_ends_by_its_intent() -> None:
    ledger, fill = Ledger(), report("E1")
    ledger.land([fill])
    assert not ledger.breaks
    overdue(ledger, fill)
    assert only_break(ledger).kind is BreakKind.UNKNOWN_ORDER
    assert not overdue(ledger, fill).breaks, "once"
    decision = ledger.land([intent()])
    assert not ledger.breaks
    assert [e.how for e in decision.breaks_ended] == ["facts"]
    assert ledger.events == [("fill", fill.report.report_id)]


def test_a_bust_of_nothing_is_a_dead_letter_after_its_grace_time_and_ends_by_its_fill() -> None:
    ledger, lone = Ledger(), bust("B1", "E1")
    ledger.land([intent(), lone])
    (letter,) = overdue(ledger, lone).dead_letters
    assert (letter.defect.reason, letter.dead_letter_id, letter.raw) == (
        "out_of_order", out_of_order_id(lone.report.report_id), lone.raw,
    )  # fmt: skip
    assert len(ledger.pending) == 1, "it waits still"
    assert not overdue(ledger, lone).dead_letters, "once"
    decision = ledger.land([report("E1")])
    assert [letter_id for letter_id, _ in decision.letters_ended] == [letter.dead_letter_id]
    assert not ledger.pending
    assert [kind for kind, _ in ledger.events] == ["fill", "bust"]


def test_a_gap_waits_for_its_grace_time_and_is_a_break_then() -> None:
    ledger = Ledger(Policy(grace=Grace(gap_ns=SECOND)))
    late = report("E2", cum="2", at=T0 + 2 * SECOND)
    ledger.land([intent(), late])
    assert [p.reason for p in ledger.waiting] == [PendingReason.GAP]
    assert not ledger.breaks
    assert [kind for kind, _ in ledger.events] == ["fill"], "nothing is held meanwhile"
    overdue(ledger, late)
    assert only_break(ledger).kind is BreakKind.CUM_QTY_DIFFERS
    ledger.land([report("E1")])
    assert not ledger.breaks
    assert not ledger.pending
    assert len(ledger.events) == 2


def test_a_gap_that_closes_in_time_is_never_a_break() -> None:
    ledger = Ledger(Policy(grace=Grace(gap_ns=SECOND)))
    late = report("E2", cum="2", at=T0 + 2 * SECOND)
    ledger.land([intent(), late])
    ledger.land([report("E1")])
    assert not ledger.pending
    assert not overdue(ledger, late).breaks


def test_a_release_holds_while_the_values_stay_and_no_longer() -> None:
    ledger = Ledger()
    ledger.land([intent(qty="1"), report("E1"), report("E2", at=T0 + 2 * SECOND)])
    ledger.land([resolution(only_break(ledger))])
    assert not ledger.breaks
    ledger.land([report("E1", fee="1")])
    assert not ledger.breaks, "the figures are those that were released"
    ledger.land([report("E3", at=T0 + 3 * SECOND)])
    assert (only_break(ledger).ours, only_break(ledger).theirs) == ("1", "3")


def test_held_events_are_told_in_the_order_of_the_fills_when_two_persons_release() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1", side=Side.SELL)])
    held = [*(report(f"E{n}", at=T0 + n * SECOND) for n in (4, 2, 3)), bust("B3", "E3", at=T0 + 9 * SECOND)]
    for fact in held:
        ledger.land([fact])
    assert not ledger.events
    ledger.land([resolution(only_break(ledger))])
    ids = {f.report.report_id: f.report.exec_id for f in [report("E1"), *held]}
    assert [ids[event_id] for _, event_id in ledger.events] == ["E1", "E2", "E3", "B3", "E4"]


def test_a_verdict_on_other_values_is_refused() -> None:
    ledger = Ledger()
    ledger.land([intent(qty="1"), report("E1"), report("E2")])
    seen = only_break(ledger)
    ledger.land([report("E3")])
    ((_, why),) = ledger.land([resolution(seen)]).refused
    assert "changed since" in why


def test_a_rejection_voids_the_fill_and_its_later_bust_changes_nothing() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1", side=Side.SELL), report("E2")])
    ledger.land([resolution(only_break(ledger), Verdict.REJECT)])
    state = {e.exec_id: e.status for e in ledger.executions.values()}
    assert state == {"E1": ExecutionStatus.VOIDED, "E2": ExecutionStatus.ACTIVE}
    told = list(ledger.events)
    ledger.land([bust("B1", "E1", side=Side.SELL)])
    assert {e.exec_id: e.status for e in ledger.executions.values()} == state
    assert ledger.events == told
    assert not ledger.breaks


def test_a_voided_fill_stays_voided_in_another_wording() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1", side=Side.SELL)])
    ledger.land([resolution(only_break(ledger), Verdict.REJECT)])
    ledger.land([report("E1", side=Side.SELL, fee="0.1", feed="ALPHA.rest")])
    (execution,) = ledger.executions.values()
    assert execution.status is ExecutionStatus.VOIDED
    assert not ledger.orders["C1"].cum_qty


def test_an_overfill_that_was_told_and_is_rejected_is_taken_back_once() -> None:
    ledger = Ledger()
    ledger.land([intent(qty="3"), report("E1", at=T0 + 9 * SECOND)])
    ledger.land([report("E2", qty="3")])
    ledger.land([resolution(only_break(ledger), Verdict.REJECT)])
    assert [kind for kind, _ in ledger.events] == ["fill", "fill", "bust"]
    assert str(ledger.orders["C1"].cum_qty) == "3"


def test_a_rejected_wording_leaves_the_other_one() -> None:
    ledger = Ledger()
    ledger.land([intent(), report("E1"), report("E1", px="97")])
    counting = next(iter(ledger.executions.values())).last_px
    ledger.land([resolution(only_break(ledger), Verdict.REJECT)])
    (execution,) = ledger.executions.values()
    assert {counting, execution.last_px} == {report("E1").report.last_px, report("E1", px="97").report.last_px}
    assert execution.status is ExecutionStatus.ACTIVE


def test_a_slippage_is_said_to_be_restated_by_one_snapshot_once() -> None:
    """An earlier root found in the batch of a late snapshot measures anew: that is no restatement."""
    ledger = Ledger()
    ledger.land([intent(msg_id="R1", action=Action.REPLACE, orig="M1", at=T0 + 5 * SECOND)])
    ledger.land([report("E1", cl_ord_id="R1", at=T0 + 9 * SECOND)])
    ledger.land([snapshot("S1", "99", "101", T0)])
    ledger.land([snapshot("S2", "99", "102", T0 + 4 * SECOND), intent(at=T0 + SECOND)])
    assert {m.snapshot_id for (_, kind), m in ledger.metrics.items() if kind == "arrival_mid"} == {"S1"}
