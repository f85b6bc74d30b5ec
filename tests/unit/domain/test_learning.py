"""What reports teach of an order's names: the same in whatever order they come."""

from __future__ import annotations

from itertools import permutations

from ledger.domain.records import ExecType
from tests.unit.domain.facts import SECOND, T0, intent, order_report, report
from tests.unit.domain.worlds import Ledger

BY_VENUE = report("E1", cl_ord_id=None, venue_order_id="V1")
BY_BOTH = report("E2", venue_order_id="V1", at=T0 + 2 * SECOND)


def test_a_fill_by_order_id_is_tied_by_what_another_fill_says_in_every_order_of_arrival() -> None:
    for ordered in permutations([intent(), BY_VENUE, BY_BOTH]):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        assert not ledger.pending
        assert {e.exec_id for e in ledger.executions.values()} == {"E1", "E2"}
        assert ("ALPHA", "v", "V1", "C1") in ledger.learned


def test_an_order_report_teaches_as_well() -> None:
    for ordered in permutations([intent(), BY_VENUE, order_report(ExecType.NEW, venue_order_id="V1")]):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        assert not ledger.pending
        assert len(ledger.executions) == 1


def test_names_lead_to_names() -> None:
    """A ClOrdID of the venue's own, tied by an OrderID, tied by a fill of the message that was routed."""
    own = order_report(ExecType.REPLACED, cl_ord_id="X9", venue_order_id="V1")
    for ordered in permutations([intent(), BY_BOTH, own, report("E3", cl_ord_id="X9")]):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        assert not ledger.pending
        assert {e.exec_id for e in ledger.executions.values()} == {"E2", "E3"}
        assert len(ledger.orders["C1"].order_reports) == 1


def test_a_look_back_by_order_id_and_the_stream_by_cl_ord_id_are_one_execution() -> None:
    look_back = report("E2", cl_ord_id=None, venue_order_id="V1", at=T0 + 2 * SECOND, fee="0.1")
    for ordered in permutations([intent(), look_back, BY_BOTH]):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        (execution,) = ledger.executions.values()
        assert (execution.msg_id, str(execution.fee)) == ("M1", "0.1")
        assert not ledger.pending


def test_what_begins_and_ends_to_wait_in_one_batch_leaves_no_row() -> None:
    ledger = Ledger()
    ledger.land([intent()])
    decision = ledger.land([BY_VENUE, BY_BOTH])
    assert not decision.pending
    assert not decision.wordings_gone
    assert len(ledger.executions) == 2
