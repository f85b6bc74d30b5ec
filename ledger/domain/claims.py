"""What the venue claims an order's totals to be, against ours: CumQty(14) and AvgPx(6).

A claim is as of its own report, so only the newest one is compared, with everything known: by TransactTime, at one
instant the largest CumQty. A total of zero says nothing (AvgPx=0 on a full fill and CumQty=0 on a trade correct
are real messages). A larger claim than ours means that a fill is missing, or not here yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.breaks import make_break
from ledger.domain.decision import Decision, TotalMatch
from ledger.domain.numbers import EXACT, exact_ratio, text
from ledger.domain.order import NO_CLAIM, Claim
from ledger.domain.records import ACTIVE, FILL, BreakKind, FillReport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from ledger.domain.order import OrderState
    from ledger.domain.records import Break, OrderReport
    from ledger.domain.tolerances import Tolerances


ONE_TO_ONE, ONE_TO_MANY, MANY_TO_ONE = "one_to_one", "one_to_many", "many_to_one"  # how reports match executions


def claim_after(claim: Claim, fill: FillReport) -> Claim:
    """Take up the claim of one more fill."""
    at_ns = fill.transact_ns
    if at_ns < claim.at_ns:
        return claim
    fresh = _claim_of(fill)
    return fresh if at_ns > claim.at_ns else _together(claim, fresh)


def latest_claim(order: OrderState) -> Claim:
    """Work the newest claim out from all reports."""
    latest = NO_CLAIM
    for report in order.reports.values():
        if report.transact_ns >= latest.at_ns:
            fresh = _claim_of(report)
            latest = fresh if report.transact_ns > latest.at_ns else _together(latest, fresh)
    for total in order.order_reports.values():
        if total.transact_ns >= latest.at_ns and total.cum_qty:
            fresh = _claim_of_order(total)
            latest = fresh if total.transact_ns > latest.at_ns else _together(latest, fresh)
    return latest


def _claim_of(report: FillReport) -> Claim:
    cum_qty = report.cum_qty or None
    return Claim(
        report.transact_ns,
        cum_qty,
        report.avg_px or None,
        cum_qty is not None,
        report.report_id,
        amends=report.kind is not FILL,
    )


def _claim_of_order(report: OrderReport) -> Claim:
    return Claim(
        report.transact_ns,
        report.cum_qty,
        report.avg_px or None,
        sound=True,
        source=report.report_id,
        is_total=True,
    )


def _together(one: Claim, other: Claim) -> Claim:
    """Give the claim of an instant: the larger one, where all say something and none takes anything back."""
    amends = one.amends or other.amends
    if amends or one.cum_qty is None or other.cum_qty is None or not (one.sound and other.sound):
        return Claim(one.at_ns, sound=False, amends=amends)
    return max(one, other, key=lambda claim: (claim.cum_qty, not claim.is_total, claim.source))


def claim_breaks(
    order: OrderState, cum_qty: Decimal, notional: Decimal, tolerances: Tolerances
) -> Iterator[Break]:
    """Compare the newest claim with ours (``cum_qty``, ``notional``: as the venue counts them)."""
    claim = order.claim
    claimed = claim.cum_qty
    if claimed is None or not claim.sound or order.unresolved:
        return
    if claimed != cum_qty and abs(EXACT.subtract(claimed, cum_qty)) > tolerances.cum_qty:
        yield make_break(order.correlation_id, BreakKind.CUM_QTY_DIFFERS, None, text(cum_qty), text(claimed))
    elif claim.avg_px is not None and cum_qty:
        apart = abs(EXACT.subtract(EXACT.multiply(claim.avg_px, cum_qty), notional))
        if apart and not tolerances.allows_bps(apart, notional, tolerances.avg_px_bps):
            ours = exact_ratio(notional, cum_qty)
            yield make_break(order.correlation_id, BreakKind.AVG_PX_DIFFERS, None, text(ours), text(claim.avg_px))


def match_total(order: OrderState, before: OrderState | None, decision: Decision) -> None:
    """Match the venue's total with the executions it is the sum of, where the two agree, and name the rule."""
    claim = order.claim
    if not claim.is_total or not claim.sound or order.suspects or order.unresolved or not order.cum_qty:
        return
    if before is not None and before.claim == claim and not before.suspects:
        return
    parts = tuple(sorted(i for i, e in order.executions.items() if e.status is ACTIVE))
    rule = ONE_TO_ONE if len(parts) == 1 else MANY_TO_ONE
    decision.totals.append(
        TotalMatch(claim.source, order.correlation_id, rule, order.cum_qty, order.avg_px, parts)
    )
