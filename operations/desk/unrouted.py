"""Orders that no intent is known of: their state by what their reports say alone.

A report that waits for its intent is no execution. What the venue holds the order to be can be shown all the same:
the rules run on a book of its own, where the order's first report that says OrderQty(38), or CumQty and LeavesQty,
stands for its intent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.domain.numbers import EXACT
from ledger.domain.records import Action, Captured, FillReport, OrderIntent, Side
from operations.desk.engine import Engine, naming
from operations.desk.shown import number, state_shown

if TYPE_CHECKING:
    from decimal import Decimal

    from ledger.domain.records import CapturedOrder, OrderReport, Report


class Unrouted:
    """The orders without intents of one replay."""

    def __init__(self) -> None:
        self._engine = Engine()
        self._held: list[Captured | CapturedOrder] = []

    def take(self, captured: Captured | CapturedOrder) -> dict[str, Any]:
        """Take up a report and give its order's state; while no report says a quantity, what this one claims."""
        engine, report = self._engine, captured.report
        order = engine.owner(naming(report))
        if order is None:
            order_qty = _order_qty(report)
            if order_qty is None or order_qty <= 0:
                self._held.append(captured)
                return _claimed(report)
            engine.take([_stand_in(report, order_qty)])
            mine = [h for h in self._held if engine.owner(naming(h.report)) is not None]
            self._held = [h for h in self._held if engine.owner(naming(h.report)) is None]
            engine.take([*mine, captured])
        else:
            engine.take([captured])
        order = engine.owner(naming(report))
        return _claimed(report) if order is None else state_shown(order)


def _order_qty(report: Report) -> Decimal | None:
    if not isinstance(report, FillReport) and report.order_qty is not None:
        return report.order_qty
    if report.cum_qty is None or report.leaves_qty is None:
        return None
    return EXACT.add(report.cum_qty, report.leaves_qty)


def _stand_in(report: Report, order_qty: Decimal) -> OrderIntent:
    root = _root(report) or report.venue_order_id or ""
    return OrderIntent(
        root,
        root,
        Action.NEW,
        None,
        report.venue,
        report.account,
        report.symbol,
        report.side or Side.BUY,
        order_qty,
        None,
        None,
        None,
        report.transact_ns,
        report.venue_order_id,
    )


def _root(report: FillReport | OrderReport) -> str | None:
    if isinstance(report, FillReport):
        return report.cl_ord_id
    return report.orig_cl_ord_id or report.cl_ord_id


def _claimed(report: Report) -> dict[str, Any]:
    status = None if isinstance(report, FillReport) else report.ord_status
    return {
        "ord_status": None if status is None else status.value,
        "cum_qty": number(report.cum_qty),
        "leaves_qty": number(report.leaves_qty),
        "avg_px": number(report.avg_px),
        "order_qty": None if isinstance(report, FillReport) else number(report.order_qty),
    }
