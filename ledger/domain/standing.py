"""Where an order stands at its venue: a function of the set of its reports, in whatever order they came.

FIX 4.4 volume 4 and appendix D (Order State Change Matrices). What decides is not the last message but
what the messages are about: a request is pending until an answer to *it* is known (same ClOrdID), the quantity is
that of the longest accepted replace chain, and only what closes and reopens an order (done for day, restated the
next day) is put in the order of TransactTime, then ExecID.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.records import Action, ExecType, OrderReport, OrdStatus
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from ledger.domain.records import OrderIntent

_CLOSING = {
    ExecType.DONE_FOR_DAY: OrdStatus.DONE_FOR_DAY,
    ExecType.CANCELED: OrdStatus.CANCELED,
    ExecType.EXPIRED: OrdStatus.EXPIRED,
    ExecType.CALCULATED: OrdStatus.CALCULATED,
}
_HOLDING = {ExecType.STOPPED: OrdStatus.STOPPED, ExecType.SUSPENDED: OrdStatus.SUSPENDED}
_PENDING = {
    ExecType.PENDING_CANCEL: OrdStatus.PENDING_CANCEL,
    ExecType.PENDING_REPLACE: OrdStatus.PENDING_REPLACE,
}
# names: an enumeration's member costs ten times as much to look up, and every fill asks
_FILLED, _PARTIALLY_FILLED = OrdStatus.FILLED, OrdStatus.PARTIALLY_FILLED
_PENDING_NEW = OrdStatus.PENDING_NEW
_FINISHED = frozenset({OrdStatus.DONE_FOR_DAY, OrdStatus.CALCULATED})
_CLOSED = frozenset({*_CLOSING.values(), OrdStatus.REJECTED})
_HELD = frozenset(_HOLDING.values())
_FINAL = frozenset({OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED})
_UNANSWERED = frozenset({*_PENDING, ExecType.PENDING_NEW, ExecType.REJECTED, ExecType.CANCEL_REJECT})
_REFUSING = frozenset({ExecType.CANCEL_REJECT, ExecType.REJECTED})
# an OrderCancelReject that says so has found the order at work
_WORKING = frozenset({OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED, OrdStatus.FILLED})
_QUANTITY = frozenset({ExecType.REPLACED, ExecType.RESTATED})
_CONFIRMING = frozenset({ExecType.NEW, ExecType.TRIGGERED, ExecType.ORDER_STATUS})
# an OrderCancelReject for an unknown order says Rejected of it: what it says is of no account
_SAYING = frozenset({ExecType.NEW, ExecType.RESTATED, ExecType.ORDER_STATUS})
_LIFE = {  # of two reports of one instant and like ids, the one that comes later in an order's life
    ExecType.PENDING_NEW: 0,
    ExecType.NEW: 1,
    ExecType.DONE_FOR_DAY: 3,
    ExecType.CALCULATED: 4,
    ExecType.EXPIRED: 5,
    ExecType.CANCELED: 5,
}
_MIDDLE = 2


class Standing(msgspec.Struct, frozen=True):
    """What an order's reports say beside its fills.

    ``order_qty`` is OrderQty(38) as last accepted or restated, None where no report says; ``largest_qty`` the most
    that any report gave it. ``closed`` is what ended it, at ``closed_ns``; ``leaves`` whether its remainder lives
    on all the same (a GTC order done for the day). ``held`` is stopped or suspended. ``base`` is what it is
    while nothing has traded. ``refused`` has the ClOrdIDs of the requests that were rejected.
    """

    order_qty: Decimal | None = None
    largest_qty: Decimal | None = None
    closed: OrdStatus | None = None
    closed_ns: int = 0
    leaves: bool = False
    pending: OrdStatus | None = None
    held: OrdStatus | None = None
    held_ns: int = 0
    base: OrdStatus = OrdStatus.PENDING_NEW
    refused: frozenset[str] = frozenset()


UNREPORTED = Standing()


def stand(
    reports: Collection[OrderReport], intents: Mapping[str, OrderIntent], traded: AbstractSet[str]
) -> Standing:
    """Work out the standing. ``traded``: the ClOrdIDs that fills name, which proves a replace accepted."""
    if not reports and not traded:
        return UNREPORTED
    ordered = sorted(reports, key=_sequence)
    order_qty, largest_qty = _quantities(ordered, intents, traded)
    life = _Life()
    for report in ordered:
        life.take(report, intents)
    return Standing(
        order_qty,
        largest_qty,
        life.closed,
        life.closed_ns,
        life.leaves,
        _pending(ordered, traded),
        life.held,
        life.held_ns,
        life.base,
        _refused(ordered, traded),
    )


def ord_status(
    standing: Standing, order_qty: Decimal, cum_qty: Decimal, last_fill_ns: int, *, traded: bool
) -> OrdStatus:
    """OrdStatus(39) by FIX's precedence: pending, done for day, calculated, filled, stopped, suspended, the rest.

    ``traded`` says whether any fill is known, counting or not: a venue that traded has accepted the order.
    """
    if standing.pending is not None:
        return standing.pending
    closed = None if standing.closed is None else closing(standing, last_fill_ns)
    if closed in _FINISHED:
        return closed
    if cum_qty and cum_qty >= order_qty:
        return _FILLED
    # a suspended order that trades is not suspended any more; a stopped one stays so (matrix L.1.a: its guarantee)
    if standing.held is not None and (standing.held is OrdStatus.STOPPED or last_fill_ns <= standing.held_ns):
        return standing.held
    if closed is not None and (closed is not OrdStatus.REJECTED or not cum_qty):
        return closed
    if cum_qty:
        return _PARTIALLY_FILLED
    return OrdStatus.NEW if traded and standing.base is OrdStatus.PENDING_NEW else standing.base


def closing(standing: Standing, last_fill_ns: int) -> OrdStatus | None:
    """What has ended the order; one that is done for a day and trades on a later one is open again."""
    if standing.closed is OrdStatus.DONE_FOR_DAY and last_fill_ns > standing.closed_ns:
        return None if utc_date(last_fill_ns) > utc_date(standing.closed_ns) else standing.closed
    return standing.closed


def _sequence(report: OrderReport) -> tuple[int, int, str, int, str]:
    exec_id = report.exec_id or ""
    rank = _LIFE.get(report.exec_type, _MIDDLE)
    return report.transact_ns, len(exec_id), exec_id, rank, report.report_id


class _Life:
    """What closes an order, holds it, and opens it again, in order."""

    def __init__(self) -> None:
        self.closed: OrdStatus | None = None
        self.closed_ns = 0
        self.leaves = False
        self.held: OrdStatus | None = None
        self.held_ns = 0
        self.base = OrdStatus.PENDING_NEW

    def take(self, report: OrderReport, intents: Mapping[str, OrderIntent]) -> None:
        kind, status = report.exec_type, _status(report)
        if kind is ExecType.REJECTED and (status is not OrdStatus.REJECTED or _is_request(report, intents)):
            return  # of a duplicate order or of a request: it carries the status of the order that lives on
        if status in _CLOSED:
            self._close(status, report)
        elif status in _HELD:
            self.held, self.held_ns = status, report.transact_ns
        elif kind in _QUANTITY:
            self.closed = None
            self._confirm(status)
        elif kind in _CONFIRMING:
            if kind is ExecType.NEW and self.closed is OrdStatus.DONE_FOR_DAY:
                self.closed = None
            self._confirm(status)
        elif kind is ExecType.CANCEL_REJECT and report.ord_status in _WORKING and self.base is _PENDING_NEW:
            self.base = OrdStatus.NEW

    def _close(self, status: OrdStatus | None, report: OrderReport) -> None:
        self.closed, self.closed_ns = status, report.transact_ns
        # FIX 4.4 on LeavesQty(151): zero of a closed order, but in matrix H.1.a a GTC order keeps its remainder
        self.leaves = status not in _FINAL and bool(report.leaves_qty)
        self.held = None

    def _confirm(self, said: OrdStatus | None) -> None:
        self.held = None
        bidding = said is OrdStatus.ACCEPTED_FOR_BIDDING
        self.base = OrdStatus.ACCEPTED_FOR_BIDDING if bidding else OrdStatus.NEW


def _status(report: OrderReport) -> OrdStatus | None:
    """The status that a report puts its order in: by its ExecType, else as it says."""
    kind = report.exec_type
    if kind is ExecType.REJECTED:
        return report.ord_status or OrdStatus.REJECTED
    if kind in _SAYING:
        return report.ord_status
    return _CLOSING.get(kind) or _HOLDING.get(kind)


def _is_request(report: OrderReport, intents: Mapping[str, OrderIntent]) -> bool:
    """Whether a report is about a cancel or replace request and not about the order itself."""
    if report.orig_cl_ord_id is not None and report.orig_cl_ord_id != report.cl_ord_id:
        return True
    intent = intents.get(report.cl_ord_id or "")
    return intent is not None and intent.action is not Action.NEW


def _pending(ordered: Iterable[OrderReport], traded: AbstractSet[str]) -> OrdStatus | None:
    """Give the request that waits for its answer; a cancel before a replace, as the precedence has it."""
    known = list(ordered)
    found = set()
    for number, request in enumerate(known):
        if request.exec_type in _PENDING and not _is_answered(request, known, number, traded):
            found.add(_PENDING[request.exec_type])
    if OrdStatus.PENDING_CANCEL in found:
        return OrdStatus.PENDING_CANCEL
    return OrdStatus.PENDING_REPLACE if found else None


def _refused(ordered: Iterable[OrderReport], traded: AbstractSet[str]) -> frozenset[str]:
    """List the requests that were rejected and not accepted after all."""
    rejected: set[str] = set()
    accepted = set(traded)
    for report in ordered:
        if report.cl_ord_id is not None:
            if report.exec_type in _REFUSING:
                rejected.add(report.cl_ord_id)
            elif report.exec_type is ExecType.REPLACED:
                accepted.add(report.cl_ord_id)
    return frozenset(rejected - accepted)


def _is_answered(
    request: OrderReport, known: Collection[OrderReport], number: int, traded: AbstractSet[str]
) -> bool:
    replacing = request.exec_type is ExecType.PENDING_REPLACE
    if replacing and request.cl_ord_id in traded and request.cl_ord_id != request.orig_cl_ord_id:
        return True
    for place, answer in enumerate(known):
        if answer.exec_type in {ExecType.CANCELED, ExecType.EXPIRED}:
            if place > number or _names(answer, request):
                return True
        elif answer.exec_type in {ExecType.REPLACED, ExecType.CANCEL_REJECT, ExecType.REJECTED}:
            unnamed = answer.cl_ord_id is None or request.cl_ord_id is None
            if _names(answer, request) or (unnamed and place > number):
                return True
    return False


def _names(answer: OrderReport, request: OrderReport) -> bool:
    return request.cl_ord_id is not None and answer.cl_ord_id == request.cl_ord_id


def _quantities(
    ordered: Iterable[OrderReport], intents: Mapping[str, OrderIntent], traded: AbstractSet[str]
) -> tuple[Decimal | None, Decimal | None]:
    """OrderQty as last accepted, and the most it ever was: by the depth in the replace chain, then by time."""
    reports = list(ordered)
    origins = {i.msg_id: i.orig_msg_id for i in intents.values() if i.orig_msg_id is not None}
    for report in reports:
        if report.cl_ord_id is not None and report.orig_cl_ord_id not in {None, report.cl_ord_id}:
            origins[report.cl_ord_id] = report.orig_cl_ord_id or ""
    accepted = set(traded)
    accepted.update(r.cl_ord_id for r in reports if r.cl_ord_id is not None and r.exec_type not in _UNANSWERED)
    found: list[tuple[int, int, Decimal]] = [
        (_depth(i.msg_id, origins), -1, i.order_qty)
        for i in intents.values()
        if i.action is Action.REPLACE and i.msg_id in accepted
    ]
    for number, report in enumerate(reports):
        if report.order_qty is None or report.exec_type in _UNANSWERED:
            continue
        if report.exec_type in _QUANTITY or not intents:
            found.append((_depth(report.cl_ord_id or "", origins), number, report.order_qty))
    if not found:
        return None, None
    return max(found, key=lambda f: f[:2])[2], max(qty for _, _, qty in found)


def _depth(msg_id: str, origins: Mapping[str, str]) -> int:
    depth, seen = 0, {msg_id}
    while (origin := origins.get(msg_id)) is not None and origin not in seen:
        seen.add(origin)
        msg_id, depth = origin, depth + 1
    return depth
