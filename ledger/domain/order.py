"""One order: the facts known of it and what they amount to.

``OrderState`` is owned by the book; ``decide`` works on copies, so a landing that fails leaves the book as it
was. ``settle_*`` are functions of the facts: whatever the order of arrival, the result is the same.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003
from typing import TYPE_CHECKING

from ledger.domain.breaks import (
    conflict_break,
    largest_qty,
    limit_break,
    loosest_limit,
    overfill_break,
    report_breaks,
)
from ledger.domain.chain import execute, follow
from ledger.domain.numbers import EXACT, ZERO
from ledger.domain.records import (
    Action,
    Break,
    Execution,
    ExecutionStatus,
    FillReport,
    OrderIntent,
    ReportKind,
    Side,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.domain.records import SlippageMetric

_NOTHING: tuple[FillReport, ...] = ()


class OrderState:
    """Facts (``intents``, ``reports``) and what follows from them.

    ``variants`` holds the reports of an identity that came with more than one content; ``withheld`` the
    reports whose events wait for the order's hold to end.
    """

    __slots__ = (
        "breaks",
        "correlation_id",
        "cum_qty",
        "exec_ids",
        "executions",
        "intents",
        "limit",
        "metrics",
        "order_qty",
        "referring",
        "reports",
        "root",
        "unresolved",
        "variants",
        "withheld",
    )

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.intents: dict[str, OrderIntent] = {}
        self.root: OrderIntent | None = None
        self.order_qty: Decimal = ZERO
        self.limit: Decimal | None = None
        self.reports: dict[str, FillReport] = {}
        self.variants: dict[str, tuple[FillReport, ...]] = {}
        self.exec_ids: dict[str, str] = {}
        self.referring: dict[str, tuple[FillReport, ...]] = {}
        self.executions: dict[str, Execution] = {}
        self.metrics: dict[str, tuple[SlippageMetric, ...]] = {}
        self.cum_qty: Decimal = ZERO
        self.unresolved: frozenset[str] = frozenset()
        self.breaks: dict[str, Break] = {}
        self.withheld: frozenset[str] = frozenset()

    def copy(self) -> OrderState:
        """A copy that can be changed without the original noticing."""
        other = OrderState.__new__(OrderState)
        for name in ("correlation_id", "root", "order_qty", "limit", "cum_qty", "unresolved", "withheld"):
            setattr(other, name, getattr(self, name))
        for name in _DICTS:
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def leaves_qty(self) -> Decimal:
        """What may still fill; zero when overfilled."""
        return max(ZERO, EXACT.subtract(self.order_qty, self.cum_qty))

    @property
    def is_done(self) -> bool:
        """Filled, and nothing waits."""
        return not self.leaves_qty and not self.unresolved and not self.breaks

    def add_intent(self, intent: OrderIntent) -> None:
        """Take up an intent (one a msg_id: the caller has dealt with duplicates)."""
        self.intents[intent.msg_id] = intent
        self.root = root_intent(tuple(self.intents.values()))
        self.order_qty = largest_qty(self.intents.values())
        self.limit = loosest_limit(self.root.side, self.intents.values())

    def add_report(self, report: FillReport) -> None:
        """Take up a report that is not an exact duplicate."""
        known = self.reports.get(report.report_id)
        if known is not None:
            variants = {v.content: v for v in (*self.variants.get(report.report_id, (known,)), report)}
            self.variants[report.report_id] = tuple(variants[c] for c in sorted(variants))
            report = self.variants[report.report_id][0]
            if report is known:
                return
            self._forget_reference(known)
        self.reports[report.report_id] = report
        if report.kind is ReportKind.FILL:
            self.exec_ids[report.exec_id] = report.report_id
        if report.exec_ref_id is not None:
            self.referring[report.exec_ref_id] = (*self.referring.get(report.exec_ref_id, ()), report)

    def _forget_reference(self, report: FillReport) -> None:
        if report.exec_ref_id is not None:
            kept = tuple(r for r in self.referring[report.exec_ref_id] if r.report_id != report.report_id)
            self.referring[report.exec_ref_id] = kept

    def has(self, report: FillReport) -> bool:
        """Whether exactly this (identity and content) is known."""
        known = self.reports.get(report.report_id)
        if known is None:
            return False
        if known.content == report.content:
            return True
        return any(v.content == report.content for v in self.variants.get(report.report_id, ()))

    def chain(self, fill: FillReport) -> tuple[FillReport, ...]:
        """The fill with the reports that refer to it."""
        return follow(fill, lambda exec_id: self.referring.get(exec_id, _NOTHING))


_DICTS = (
    "intents",
    "reports",
    "variants",
    "exec_ids",
    "referring",
    "executions",
    "metrics",
    "breaks",
)


def root_intent(intents: Sequence[OrderIntent]) -> OrderIntent:
    """The message the order began with: the earliest ``new``, or the earliest of any while none is known."""
    news = [i for i in intents if i.action is Action.NEW] or intents
    return min(news, key=lambda i: (i.routed_ns, i.msg_id))


def settle_fill(order: OrderState, fill: FillReport) -> None:
    """The common case in constant time: one new fill that nothing refers to."""
    root = order.root
    assert root is not None, "a fill settles on an order with an intent"
    execution = execute((fill,), order.correlation_id, fill.cl_ord_id or root.msg_id)
    order.executions[fill.report_id] = execution
    order.cum_qty = EXACT.add(order.cum_qty, fill.last_qty)
    for found in report_breaks(fill, root):
        order.breaks[found.break_id] = found
    _check_limit(order, execution)
    if order.cum_qty > order.order_qty:
        found = overfill_break(order.correlation_id, order.order_qty, order.cum_qty)
        order.breaks[found.break_id] = found


def settle_whole(order: OrderState) -> None:
    """Work the order out again from all its facts."""
    root = order.root
    assert root is not None, "an order has an intent"
    order.executions = {}
    order.breaks = {}
    order.cum_qty = ZERO
    resolved: set[str] = set()
    for report in order.reports.values():
        for found in report_breaks(report, root):
            order.breaks[found.break_id] = found
        if report.kind is ReportKind.FILL:
            chain = order.chain(report)
            resolved.update(r.report_id for r in chain)
            execution = execute(chain, order.correlation_id, report.cl_ord_id or root.msg_id)
            order.executions[report.report_id] = execution
            if execution.status is ExecutionStatus.ACTIVE:
                order.cum_qty = EXACT.add(order.cum_qty, execution.last_qty)
                _check_limit(order, execution)
    order.unresolved = frozenset(order.reports.keys() - resolved - _beside_the_point(order))
    for variants in order.variants.values():
        found = conflict_break(order.correlation_id, variants)
        order.breaks[found.break_id] = found
    if order.cum_qty > order.order_qty:
        found = overfill_break(order.correlation_id, order.order_qty, order.cum_qty)
        order.breaks[found.break_id] = found


def _beside_the_point(order: OrderState) -> set[str]:
    """Second busts of one fill: known, and without effect (a cancel cannot be canceled)."""
    return {
        r.report_id for r in order.reports.values() if r.kind is ReportKind.BUST and _target(order, r) is not None
    }


def _target(order: OrderState, report: FillReport) -> str | None:
    """The fill that a bust or correct leads back to, if all links are known."""
    seen: set[str] = set()
    reference = report.exec_ref_id
    corrects = {r.exec_id: r for r in order.reports.values() if r.kind is ReportKind.CORRECT}
    while reference is not None and reference not in seen:
        if reference in order.exec_ids:
            return order.exec_ids[reference]
        seen.add(reference)
        parent = corrects.get(reference)
        reference = parent.exec_ref_id if parent is not None else None
    return None


def _check_limit(order: OrderState, execution: Execution) -> None:
    limit, price = order.limit, execution.last_px
    if limit is None:
        return
    if price > limit if execution.side is Side.BUY else price < limit:
        found = limit_break(execution, limit)
        order.breaks[found.break_id] = found
