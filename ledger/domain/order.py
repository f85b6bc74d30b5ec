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
    from collections.abc import Set as AbstractSet

    from ledger.domain.records import SlippageMetric

_NOTHING: tuple[FillReport, ...] = ()


class OrderState:
    """Facts (``intents``, ``reports``) and what follows from them.

    ``named`` has the fills and corrects by their ExecID, which a venue may use again on another day;
    ``referring`` the busts and corrects by the ExecID they name.

    ``variants`` holds the reports of an identity that came with more than one content; ``withheld`` the
    reports whose events wait for the order's hold to end.
    """

    __slots__ = (
        "breaks",
        "correlation_id",
        "cum_qty",
        "executions",
        "intents",
        "limit",
        "metrics",
        "named",
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
        self.named: dict[str, tuple[str, ...]] = {}
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
        if report.kind is not ReportKind.BUST and report.report_id not in self.named.get(report.exec_id, ()):
            self.named[report.exec_id] = (*self.named.get(report.exec_id, ()), report.report_id)
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

    def target(self, report: FillReport) -> FillReport | None:
        """Find the fill or correct that a bust or correct names.

        Where the ExecID stands for more than one, it is that of the report's own trade date, else of the latest
        earlier one, else of the earliest later one.
        """
        named = [self.reports[i] for i in self.named.get(report.exec_ref_id or "", ()) if i != report.report_id]
        if len(named) < 2:  # noqa: PLR2004
            return named[0] if named else None
        day = report.trade_date
        earlier = [n for n in named if n.trade_date <= day]
        if earlier:
            return max(earlier, key=lambda n: (n.trade_date, n.kind is ReportKind.CORRECT, n.report_id))
        return min(named, key=lambda n: (n.trade_date, n.kind is ReportKind.CORRECT, n.report_id))

    def chain(self, fill: FillReport) -> tuple[FillReport, ...]:
        """The fill with the reports that refer to it."""
        return follow(fill, self._naming)

    def _naming(self, report: FillReport) -> tuple[FillReport, ...]:
        found = self.referring.get(report.exec_id, _NOTHING)
        return tuple(r for r in found if self.target(r) is report) if found else found


_DICTS = (
    "intents",
    "reports",
    "variants",
    "named",
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
    counting: set[str] = set()
    for report in order.reports.values():
        if report.kind is not ReportKind.FILL:
            continue
        chain = order.chain(report)
        resolved.update(r.report_id for r in chain)
        execution = execute(chain, order.correlation_id, report.cl_ord_id or root.msg_id)
        order.executions[report.report_id] = execution
        if execution.status is ExecutionStatus.ACTIVE:
            counting.update(r.report_id for r in chain)
            order.cum_qty = EXACT.add(order.cum_qty, execution.last_qty)
            _check_limit(order, execution)
    order.unresolved = frozenset(order.reports.keys() - resolved - _beside_the_point(order))
    _check_reports(order, root, counting | order.unresolved)
    if order.cum_qty > order.order_qty:
        found = overfill_break(order.correlation_id, order.order_qty, order.cum_qty)
        order.breaks[found.break_id] = found


def _check_reports(order: OrderState, root: OrderIntent, counting: AbstractSet[str]) -> None:
    """Compare with the order what counts; a bust is the venue's own remedy and ends the break."""
    for report_id in counting:
        for found in report_breaks(order.reports[report_id], root):
            order.breaks[found.break_id] = found
        variants = order.variants.get(report_id)
        if variants is not None:
            found = conflict_break(order.correlation_id, variants)
            order.breaks[found.break_id] = found


def _beside_the_point(order: OrderState) -> set[str]:
    """Second busts of one fill: known, and without effect (a cancel cannot be canceled)."""
    return {
        r.report_id for r in order.reports.values() if r.kind is ReportKind.BUST and _leads_to_a_fill(order, r)
    }


def _leads_to_a_fill(order: OrderState, report: FillReport) -> bool:
    seen: set[str] = set()
    target = order.target(report)
    while target is not None and target.report_id not in seen:
        if target.kind is ReportKind.FILL:
            return True
        seen.add(target.report_id)
        target = order.target(target)
    return False


def _check_limit(order: OrderState, execution: Execution) -> None:
    limit, price = order.limit, execution.last_px
    if limit is None:
        return
    if price > limit if execution.side is Side.BUY else price < limit:
        found = limit_break(execution, limit)
        order.breaks[found.break_id] = found
