"""Where an order stands, rule by rule, in whatever order its reports come (FIX 4.4 vol. 4, appendix D)."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from ledger.domain.records import Action, CapturedOrder, ExecType, OrdStatus
from tests.unit.domain.facts import SECOND, T0, bust, intent, order_report, report
from tests.unit.domain.worlds import DAY, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.domain.decide import Fact
    from ledger.domain.order import OrderState

REPLACE = intent(msg_id="M2", action=Action.REPLACE, orig="M1", qty="20", at=T0 + SECOND)
CANCEL = intent(msg_id="M3", action=Action.CANCEL, orig="M1", at=T0 + SECOND)


def said(kind: ExecType, at: int = 1, **changes: object) -> CapturedOrder:
    return order_report(kind, at=T0 + at * SECOND, **changes)  # type: ignore[arg-type]


def fill(exec_id: str, qty: str, at: int = 1, **changes: object) -> Fact:
    return report(exec_id, qty=qty, at=T0 + at * SECOND, **changes)  # type: ignore[arg-type]


def arrivals(*facts: Fact) -> Iterator[OrderState]:
    """The order after every order of arrival, one fact a batch."""
    for ordered in permutations((intent(), *facts)):
        ledger = Ledger()
        for fact in ordered:
            ledger.land([fact])
        yield ledger.orders["C1"]


X = ExecType
RULES: dict[str, tuple[list[Fact], OrdStatus, str]] = {  # facts, OrdStatus, LeavesQty
    "routed and not acknowledged": ([], OrdStatus.PENDING_NEW, "10"),
    "pending new": ([said(X.PENDING_NEW)], OrdStatus.PENDING_NEW, "10"),
    "accepted": ([said(X.PENDING_NEW), said(X.NEW, 2)], OrdStatus.NEW, "10"),
    "accepted for bidding": (
        [said(X.NEW, status=OrdStatus.ACCEPTED_FOR_BIDDING)], OrdStatus.ACCEPTED_FOR_BIDDING, "10",
    ),
    "rejected": ([said(X.REJECTED)], OrdStatus.REJECTED, "0"),
    "rejected as a duplicate of an order that lives": (
        [said(X.NEW), said(X.REJECTED, 2, status=OrdStatus.NEW)], OrdStatus.NEW, "10",
    ),
    "partially filled": ([fill("E1", "4")], OrdStatus.PARTIALLY_FILLED, "6"),
    "filled": ([fill("E1", "4"), fill("E2", "6", 2)], OrdStatus.FILLED, "0"),
    "a bust after the full fill": ([fill("E1", "10"), bust("B1", "E1")], OrdStatus.NEW, "10"),
    "canceled": ([fill("E1", "4"), said(X.CANCELED, 2)], OrdStatus.CANCELED, "0"),
    "an execution after the cancel": ([said(X.CANCELED), fill("E1", "4", 2)], OrdStatus.CANCELED, "0"),
    "a fill of all of it on a canceled order": ([said(X.CANCELED), fill("E1", "10", 2)], OrdStatus.FILLED, "0"),
    "expired": ([said(X.EXPIRED)], OrdStatus.EXPIRED, "0"),
    "done for the day": ([fill("E1", "4"), said(X.DONE_FOR_DAY, 2)], OrdStatus.DONE_FOR_DAY, "0"),
    "done for the day, its remainder living on": (
        [fill("E1", "4"), said(X.DONE_FOR_DAY, 2, leaves="6")], OrdStatus.DONE_FOR_DAY, "6",
    ),
    "done for the day and filled": ([fill("E1", "10"), said(X.DONE_FOR_DAY, 2)], OrdStatus.DONE_FOR_DAY, "0"),
    "calculated": ([fill("E1", "4"), said(X.CALCULATED, 2)], OrdStatus.CALCULATED, "0"),
    "stopped": ([said(X.NEW), said(X.STOPPED, 2)], OrdStatus.STOPPED, "10"),
    "suspended": ([said(X.NEW), said(X.SUSPENDED, 2)], OrdStatus.SUSPENDED, "10"),
    "suspended and released": ([said(X.SUSPENDED), said(X.RESTATED, 2)], OrdStatus.NEW, "10"),
    "restated to less": ([said(X.RESTATED, qty="7"), fill("E1", "4", 2)], OrdStatus.PARTIALLY_FILLED, "3"),
    "pending cancel": ([fill("E1", "4"), said(X.PENDING_CANCEL, 2)], OrdStatus.PENDING_CANCEL, "6"),
    "pending cancel before filled": ([fill("E1", "10"), said(X.PENDING_CANCEL, 2)], OrdStatus.PENDING_CANCEL, "0"),
    "the cancel is rejected": (
        [CANCEL, said(X.PENDING_CANCEL, 2, cl_ord_id="M3", orig="M1"),
         said(X.CANCEL_REJECT, 3, cl_ord_id="M3", orig="M1")], OrdStatus.PENDING_NEW, "10",
    ),
    "pending replace": ([REPLACE, said(X.PENDING_REPLACE, 2, cl_ord_id="M2", orig="M1")],
                        OrdStatus.PENDING_REPLACE, "10"),
    "replaced": ([REPLACE, said(X.REPLACED, 3, cl_ord_id="M2", orig="M1", qty="20")], OrdStatus.NEW, "20"),
    "a fill under the new ClOrdID accepts the replace": (
        [REPLACE, said(X.PENDING_REPLACE, 2, cl_ord_id="M2", orig="M1"), fill("E1", "4", 3, cl_ord_id="M2")],
        OrdStatus.PARTIALLY_FILLED, "16",
    ),
    "canceled answers a replace": (
        [said(X.PENDING_REPLACE, 1, cl_ord_id="M2", orig="M1"), said(X.CANCELED, 2)], OrdStatus.CANCELED, "0",
    ),
    "new and canceled at one instant": ([said(X.NEW), said(X.CANCELED)], OrdStatus.CANCELED, "0"),
    "two states at one instant, told apart by ExecID": (
        [said(X.SUSPENDED, exec_id="9"), said(X.RESTATED, exec_id="10")], OrdStatus.NEW, "10",
    ),
    "done for the day, restated the next": (
        [said(X.DONE_FOR_DAY), order_report(X.RESTATED, at=T0 + DAY)], OrdStatus.NEW, "10",
    ),
    "done for the day, trading the next": (
        [said(X.DONE_FOR_DAY), report("E1", qty="4", at=T0 + DAY)], OrdStatus.PARTIALLY_FILLED, "6",
    ),
    "its status alone": ([said(X.ORDER_STATUS, status=OrdStatus.CANCELED)], OrdStatus.CANCELED, "0"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_an_order_stands_where_its_reports_say_in_whatever_order_they_come(name: str) -> None:
    facts, status, leaves = RULES[name]
    for order in arrivals(*facts):
        assert (order.ord_status, str(order.leaves_qty)) == (status, leaves)
