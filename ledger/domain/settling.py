"""What an order's facts amount to: executions, quantities, breaks. Whatever the order of arrival, the same.

``settle_fill`` is the common case in constant time, one new fill that nothing refers to; ``settle_whole`` works
everything out again. Both end in the same state.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal  # noqa: TC003
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.breaks import (
    conflict_break,
    limit_break,
    overfill_break,
    report_breaks,
    split_break,
    voided_break,
)
from ledger.domain.chain import execute
from ledger.domain.claims import MANY_TO_ONE, ONE_TO_MANY, claim_after, claim_breaks, latest_claim
from ledger.domain.numbers import EXACT, ZERO
from ledger.domain.records import (
    ACTIVE,
    BUST,
    BUSTED,
    CORRECT,
    FILL,
    Break,
    Execution,
    ExecutionStatus,
    FillReport,
    OrderIntent,
)
from ledger.domain.variants import disagreement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from ledger.domain.instruments import Instruments
    from ledger.domain.order import OrderState
    from ledger.domain.tolerances import Tolerances

Whole = tuple[str, date]  # ExecID and trade date of a report that was split


def settle_fill(order: OrderState, fill: FillReport, tolerances: Tolerances, instruments: Instruments) -> None:
    """One new fill that nothing refers to, of an order without voids or split reports."""
    root = order.root
    assert root is not None, "a fill settles on an order with an intent"
    execution = execute((fill,), order.correlation_id, fill.cl_ord_id or root.msg_id, instruments)
    order.executions[fill.report_id] = execution
    _add(order, execution)
    order.claim = claim_after(order.claim, fill)
    order.last_fill_ns = max(order.last_fill_ns, fill.transact_ns)
    for found in report_breaks(fill, root):
        _note(order, found)
    if order.limit is not None:
        _check_limit(order, execution, tolerances)
    if order.cum_qty > order.routed_qty:
        _check_overfill(order, tolerances)
    claim = order.claim
    if order.suspects or claim.cum_qty != order.cum_qty or claim.avg_px is not None:
        _suspect(order, claim_breaks(order, order.cum_qty, order.notional, tolerances))


def settle_whole(order: OrderState, tolerances: Tolerances, instruments: Instruments) -> None:
    """Work the order out again from all its facts."""
    root = order.root
    assert root is not None, "an order has an intent"
    order.executions = {}
    order.breaks = {}
    order.cum_qty = order.notional = ZERO
    order.last_fill_ns = -1
    resolved: set[str] = set()
    counting: set[str] = set()
    busted_wholes, their_busts = _busted_wholes(order) if order.parts else (set(), set())
    resolved |= their_busts
    for report in order.reports.values():
        if report.kind is not FILL:
            continue
        chain = order.chain(report)
        resolved.update(r.report_id for r in chain)
        order.last_fill_ns = max(order.last_fill_ns, report.transact_ns)
        execution = execute(chain, order.correlation_id, report.cl_ord_id or root.msg_id, instruments)
        execution = _matched(order, execution, busted_wholes)
        order.executions[report.report_id] = execution
        if execution.status is ACTIVE:
            counting.update(r.report_id for r in chain)
            _add(order, execution)
            _check_limit(order, execution, tolerances)
    order.unresolved = frozenset(order.reports.keys() - resolved - _beside_the_point(order))
    _check_reports(order, root, counting | order.unresolved)
    _check_splits(order, tolerances)
    if order.voided:
        _check_voids(order)
    _check_overfill(order, tolerances)
    order.claim = latest_claim(order)
    _suspect(order, claim_breaks(order, *_as_reported(order), tolerances))


def _add(order: OrderState, execution: Execution) -> None:
    order.cum_qty = EXACT.add(order.cum_qty, execution.last_qty)
    order.notional = EXACT.add(order.notional, EXACT.multiply(execution.last_qty, execution.last_px))


def _matched(order: OrderState, execution: Execution, busted_wholes: AbstractSet[Whole]) -> Execution:
    """Name the rule where a report came whole and split: the parts count, and the whole does not."""
    report = order.reports[execution.execution_id]
    status, rule = execution.status, None
    if report.part_of is not None:
        rule = ONE_TO_MANY
        if (report.part_of, report.trade_date) in busted_wholes:
            status = BUSTED
    elif _parts_of(order, report.exec_id, report.trade_date):
        rule = MANY_TO_ONE
        status = ExecutionStatus.SUPERSEDED  # also when it is busted: the bust takes back the parts
    if order.is_voided(report):
        status = ExecutionStatus.VOIDED
    if rule is None and status is execution.status:
        return execution
    return msgspec.structs.replace(execution, status=status, match_rule=rule)


def _busted_wholes(order: OrderState) -> tuple[set[Whole], set[str]]:
    """List the split reports that were busted whole, which takes back every part, and the busts that name them."""
    wholes: set[Whole] = set()
    busts: set[str] = set()
    for report in order.reports.values():
        exec_id = report.exec_ref_id
        if report.kind is BUST and exec_id is not None and exec_id in order.parts:
            ids = (*order.parts[exec_id], *order.named.get(exec_id, ()))
            days = {order.reports[i].trade_date for i in ids}
            day = max((d for d in days if d <= report.trade_date), default=min(days))
            if _parts_of(order, exec_id, day):
                wholes.add((exec_id, day))
                busts.add(report.report_id)
    for exec_id in order.parts:  # by the ExecID of a correct of it
        fills = (order.reports[i] for i in order.named.get(exec_id, ()))
        wholes.update((exec_id, f.trade_date) for f in fills if f.kind is FILL and order.chain(f)[-1].kind is BUST)
    return wholes, busts


def _parts_of(order: OrderState, exec_id: str, day: date) -> list[str]:
    """List the parts of a report: an ExecID may be another's on another day."""
    return [i for i in order.parts.get(exec_id, ()) if order.reports[i].trade_date == day]


def _as_reported(order: OrderState) -> tuple[Decimal, Decimal]:
    """Quantity and notional as the venue counts them: what we voided is still traded to it."""
    qty, notional = order.cum_qty, order.notional
    for execution in order.executions.values():
        if execution.status is ExecutionStatus.VOIDED:
            qty = EXACT.add(qty, execution.last_qty)
            notional = EXACT.add(notional, EXACT.multiply(execution.last_qty, execution.last_px))
    return qty, notional


def _check_reports(order: OrderState, root: OrderIntent, counting: AbstractSet[str]) -> None:
    """Compare with the order what counts; a bust is the venue's own remedy and ends the break."""
    for report_id in counting:
        for found in report_breaks(order.reports[report_id], root):
            _note(order, found)
        if report_id in order.variants:
            differing = disagreement(order.counted_variants(report_id))
            if differing is not None:
                _note(order, conflict_break(order.correlation_id, order.reports[report_id], differing))


def _check_splits(order: OrderState, tolerances: Tolerances) -> None:
    """Compare each whole with the sum of its parts, where both are known; what was busted is a part still."""
    for exec_id in order.parts:
        for whole_id in order.named.get(exec_id, ()):
            whole = order.executions.get(whole_id)
            if whole is None or whole.status is not ExecutionStatus.SUPERSEDED:
                continue
            parts = (order.executions.get(i) for i in _parts_of(order, exec_id, whole.trade_date))
            qty, notional = _sums(p for p in parts if p is not None and p.status is not ExecutionStatus.VOIDED)
            whole_qty, whole_notional = _sums([whole])
            apart = abs(EXACT.subtract(notional, whole_notional))  # the price of a whole is a rounded average
            if qty != whole_qty or not tolerances.allows_bps(apart, whole_notional, tolerances.avg_px_bps):
                _note(order, split_break(order.correlation_id, whole, qty, notional))


def _check_voids(order: OrderState) -> None:
    """Look for corrects of what was voided, by what was not known then."""
    for execution in order.executions.values():
        if execution.status is ExecutionStatus.VOIDED:
            for report in order.chain(order.reports[execution.execution_id])[1:]:
                if report.kind is CORRECT and not order.is_voided(report):
                    _note(order, voided_break(order.correlation_id, report))


def _sums(executions: Iterable[Execution]) -> tuple[Decimal, Decimal]:
    qty = notional = ZERO
    for execution in executions:
        qty = EXACT.add(qty, execution.last_qty)
        notional = EXACT.add(notional, EXACT.multiply(execution.last_qty, execution.last_px))
    return qty, notional


def _check_overfill(order: OrderState, tolerances: Tolerances) -> None:
    allowed = order.allowed_qty
    if order.cum_qty > allowed and order.cum_qty > EXACT.add(allowed, tolerances.overfill_qty):
        _note(order, overfill_break(order.correlation_id, allowed, order.cum_qty))


def _check_limit(order: OrderState, execution: Execution, tolerances: Tolerances) -> None:
    limit, price = order.limit, execution.last_px
    if limit is None:
        return
    buys = execution.side.sign > 0
    if price > limit if buys else price < limit:
        worse = EXACT.subtract(price, limit) if buys else EXACT.subtract(limit, price)
        if not tolerances.allows_bps(worse, limit, tolerances.limit_price_bps):
            _note(order, limit_break(execution, limit))


def _note(order: OrderState, found: Break) -> None:
    """Keep a break, unless two persons have released it as it stands."""
    for resolution in order.resolutions.get(found.break_id, ()):
        if (resolution.ours, resolution.theirs) == (found.ours, found.theirs):
            return
    order.breaks[found.break_id] = found


def _suspect(order: OrderState, found: Iterable[Break]) -> None:
    """Keep what a report on its way may still end apart, until its grace time is over."""
    if order.suspects:
        for break_id in order.suspects:
            order.breaks.pop(break_id, None)
        order.suspects = {}
    for suspect in found:
        order.suspects[suspect.break_id] = suspect
        if order.is_overdue:
            _note(order, suspect)


def _beside_the_point(order: OrderState) -> set[str]:
    """Second busts of one fill: known, and without effect (a cancel cannot be canceled)."""
    return {r.report_id for r in order.reports.values() if r.kind is BUST and _leads_to_a_fill(order, r)}


def _leads_to_a_fill(order: OrderState, report: FillReport) -> bool:
    seen: set[str] = set()
    target = order.target(report)
    while target is not None and target.report_id not in seen:
        if target.kind is FILL:
            return True
        seen.add(target.report_id)
        target = order.target(target)
    return False
