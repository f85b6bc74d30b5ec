"""Where reports and order disagree: a function of what is known, so later facts may end a disagreement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.identity import identify
from ledger.domain.numbers import EXACT, ZERO, text
from ledger.domain.records import Action, Break, BreakKind, Execution, FillReport, OrderIntent, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal


def report_breaks(report: FillReport, root: OrderIntent) -> Sequence[Break]:
    """Compare one report with the order it was tied to."""
    if (
        root.symbol == report.symbol
        and root.side is report.side
        and (root.account == report.account or not report.account)
        and (root.currency == report.currency or root.currency is None or report.currency is None)
        and (report.correlation_id is None or report.correlation_id == root.correlation_id)
    ):
        return ()
    return tuple(_report_breaks(report, root))


def _report_breaks(report: FillReport, root: OrderIntent) -> Iterator[Break]:
    pairs = (
        (BreakKind.SYMBOL_DIFFERS, root.symbol, report.symbol),
        (BreakKind.SIDE_DIFFERS, root.side, report.side),
        (BreakKind.ACCOUNT_DIFFERS, root.account, report.account or root.account),
    )
    for kind, ours, theirs in pairs:
        if ours != theirs:
            yield make_break(root.correlation_id, kind, report.report_id, ours, theirs)
    if root.currency is not None and report.currency is not None and root.currency != report.currency:
        yield make_break(
            root.correlation_id, BreakKind.CURRENCY_DIFFERS, report.report_id, root.currency, report.currency
        )
    if report.correlation_id is not None and report.correlation_id != root.correlation_id:
        yield make_break(
            root.correlation_id,
            BreakKind.CORRELATION_CONFLICT,
            report.report_id,
            root.correlation_id,
            report.correlation_id,
        )


def conflict_break(correlation_id: str, kept: FillReport, differing: tuple[str, str, str]) -> Break:
    """One identity, two contents: both are kept, the first wording counts until a person decides."""
    field, ours, theirs = differing
    return make_break(
        correlation_id, BreakKind.CONFLICTING_DUPLICATE, kept.report_id, f"{field} {ours}", f"{field} {theirs}"
    )


def split_break(correlation_id: str, whole: Execution, qty: Decimal, notional: Decimal) -> Break:
    """The parts of a split report do not make up the whole (``qty`` and ``notional``: of the parts)."""
    whole_notional = EXACT.multiply(whole.last_qty, whole.last_px)
    return make_break(
        correlation_id,
        BreakKind.SPLIT_DIFFERS,
        whole.execution_id,
        f"parts {text(qty)} for {text(notional)}",
        f"whole {text(whole.last_qty)} for {text(whole_notional)}",
    )


def largest_qty(intents: Iterable[OrderIntent]) -> Decimal:
    """The most the order was ever allowed to fill: a fill may race with a replace that lowers OrderQty."""
    return max((i.order_qty for i in intents if i.action is not Action.CANCEL), default=ZERO)


def loosest_limit(side: Side, intents: Iterable[OrderIntent]) -> Decimal | None:
    """The loosest limit the order ever had; None when it ever had none."""
    limits = [i.limit_price for i in intents if i.action is not Action.CANCEL]
    known = [limit for limit in limits if limit is not None]
    if not known or len(known) < len(limits):
        return None
    return max(known) if side is Side.BUY else min(known)


def limit_break(execution: Execution, limit: Decimal) -> Break:
    """A price worse than the limit."""
    return make_break(
        execution.correlation_id,
        BreakKind.PRICE_BEYOND_LIMIT,
        execution.execution_id,
        text(limit),
        text(execution.last_px),
    )


def overfill_break(correlation_id: str, order_qty: Decimal, cum_qty: Decimal) -> Break:
    """More was filled than ordered."""
    return make_break(correlation_id, BreakKind.OVERFILL, None, text(order_qty), text(cum_qty))


def make_break(correlation_id: str, kind: BreakKind, report_id: str | None, ours: str, theirs: str) -> Break:
    """Build a break; its id is its subject: one disagreement, one break, whatever its values become."""
    return Break(
        break_id_of(correlation_id, kind, report_id),
        correlation_id,
        kind,
        report_id,
        ours,
        theirs,
    )


def break_id_of(correlation_id: str, kind: BreakKind, report_id: str | None) -> str:
    """Id of the break of a kind about a report, or about the whole order."""
    return identify("break", correlation_id, kind, report_id or "")


def voided_break(correlation_id: str, correct: FillReport) -> Break:
    """The venue has corrected what two persons voided: it does not count by itself, and is not passed over."""
    return make_break(correlation_id, BreakKind.VOIDED_CORRECTED, correct.report_id, "voided", _money(correct))


def unknown_order_break(subject: str, reference: str, report: FillReport) -> Break:
    """A fill for which no intent came within its grace time. ``subject`` stands for the order."""
    return make_break(subject, BreakKind.UNKNOWN_ORDER, None, "no intent", f"{reference} {_money(report)}")


def _money(report: FillReport) -> str:
    return f"{report.kind} {report.side} {text(report.last_qty)} {report.symbol} @ {text(report.last_px)}"
