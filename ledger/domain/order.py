"""One order: the facts known of it and what they amount to.

``OrderState`` is owned by the book; ``decide`` works on copies, so a landing that fails leaves the book as it
was. What follows from the facts is in ``ledger.domain.settling``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.breaks import break_id_of, largest_qty, loosest_limit
from ledger.domain.chain import follow
from ledger.domain.numbers import EXACT, ZERO, exact_ratio
from ledger.domain.records import (
    BUST,
    CORRECT,
    Action,
    Break,
    BreakKind,
    Execution,
    FillReport,
    OrderIntent,
    OrderReport,
    OrdStatus,
)
from ledger.domain.standing import UNREPORTED, Standing, closing, ord_status, stand
from ledger.domain.variants import in_order, merged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.domain.records import Resolution, SlippageMetric

_NOTHING: tuple[FillReport, ...] = ()
_NONE: frozenset[str] = frozenset()  # one for all: most orders have none of anything, and a book holds thousands
_NO_WORDINGS: frozenset[tuple[str, str]] = frozenset()
_NEW, _PARTIALLY_FILLED, _FILLED = OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED, OrdStatus.FILLED


class Claim(msgspec.Struct, frozen=True):
    """The venue's latest totals: what the newest reports of a quantity say together.

    ``sound`` is false where they cannot be compared: one says nothing, or busts and fills share an instant.
    ``source`` is the report that the totals are from, ``is_total`` whether that is of the order and not of a
    trade, ``amends`` whether one is a bust or correct.
    """

    at_ns: int = -1
    cum_qty: Decimal | None = None
    avg_px: Decimal | None = None
    sound: bool = False
    source: str = ""
    is_total: bool = False
    amends: bool = False


NO_CLAIM = Claim()


class OrderState:
    """Facts (``intents``, ``reports``, ``order_reports``, ``resolutions``) and what follows from them.

    ``named`` has the fills and corrects by their ExecID, which a venue may use again on another day;
    ``referring`` the busts and corrects by the ExecID they name. ``reports`` has what counts of each identity,
    ``variants`` the wordings where there is more than one. ``learned`` has the references that reports gave beside
    the one they were tied by (an OrderID beside the ClOrdID), with when the order first claimed them.

    ``withheld`` holds the reports whose events wait for the order's hold to end; ``suspects`` the disagreements
    that a report still on its way may end, which are breaks when their grace time is over (``is_overdue``), and
    ``waits_since`` when the first of them was seen; ``lettered`` the reports in ``unresolved`` whose is.
    """

    __slots__ = (
        "breaks",
        "claim",
        "correlation_id",
        "cum_qty",
        "executions",
        "intents",
        "is_overdue",
        "last_fill_ns",
        "learned",
        "lettered",
        "limit",
        "metrics",
        "named",
        "notional",
        "order_reports",
        "parts",
        "referring",
        "rejected",
        "reports",
        "resolutions",
        "root",
        "routed_qty",
        "standing",
        "suspects",
        "traded",
        "unresolved",
        "variants",
        "voided",
        "waits_since",
        "withheld",
    )

    def __init__(self, correlation_id: str) -> None:
        self.correlation_id = correlation_id
        self.intents: dict[str, OrderIntent] = {}
        self.root: OrderIntent | None = None
        self.routed_qty: Decimal = ZERO
        self.limit: Decimal | None = None
        self.reports: dict[str, FillReport] = {}
        self.variants: dict[str, tuple[FillReport, ...]] = {}
        self.named: dict[str, tuple[str, ...]] = {}
        self.referring: dict[str, tuple[FillReport, ...]] = {}
        self.parts: dict[str, tuple[str, ...]] = {}
        self.traded = _NONE
        self.order_reports: dict[str, OrderReport] = {}
        self.standing: Standing = UNREPORTED
        self.learned: dict[tuple[str, str, str], tuple[int, str]] = {}
        self.resolutions: dict[str, tuple[Resolution, ...]] = {}
        self.voided = _NO_WORDINGS
        self.rejected = _NONE
        self.executions: dict[str, Execution] = {}
        self.metrics: dict[str, tuple[SlippageMetric, ...]] = {}
        self.cum_qty: Decimal = ZERO
        self.notional: Decimal = ZERO
        self.last_fill_ns = -1
        self.claim: Claim = NO_CLAIM
        self.unresolved = _NONE
        self.lettered = _NONE
        self.breaks: dict[str, Break] = {}
        self.suspects: dict[str, Break] = {}
        self.waits_since: int | None = None
        self.is_overdue = False
        self.withheld = _NONE

    def copy(self) -> OrderState:
        """A copy that can be changed without the original noticing."""
        other = OrderState.__new__(OrderState)
        for name in _VALUES:
            setattr(other, name, getattr(self, name))
        for name in _DICTS:
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def order_qty(self) -> Decimal:
        """OrderQty(38) as last accepted by the venue; as first routed where it says nothing."""
        if self.standing.order_qty is not None:
            return self.standing.order_qty
        return self.root.order_qty if self.root is not None else ZERO

    @property
    def allowed_qty(self) -> Decimal:
        """The most the order was ever allowed to fill: a fill may race with a replace that lowers OrderQty."""
        largest = self.standing.largest_qty
        return self.routed_qty if largest is None else max(self.routed_qty, largest)

    @property
    def leaves_qty(self) -> Decimal:
        """LeavesQty(151): what may still fill; zero when it is closed, or overfilled."""
        standing = self.standing
        if (
            standing.closed is not None
            and not standing.leaves
            and closing(standing, self.last_fill_ns) is not None
        ):
            return ZERO
        return max(ZERO, EXACT.subtract(self.order_qty, self.cum_qty))

    def state(self) -> tuple[Decimal, Decimal, OrdStatus]:
        """Give OrderQty, LeavesQty and OrdStatus at once: every event has them."""
        standing, order_qty = self.standing, self.order_qty
        if standing is not UNREPORTED:
            return order_qty, self.leaves_qty, self.ord_status
        cum_qty = self.cum_qty
        if cum_qty >= order_qty:
            return order_qty, ZERO, _FILLED if cum_qty else _NEW
        left = EXACT.subtract(order_qty, cum_qty)
        return order_qty, left, _PARTIALLY_FILLED if cum_qty else _NEW

    @property
    def avg_px(self) -> Decimal:
        """AvgPx(6) of what counts, rounded once to 12 places; zero while nothing does."""
        return exact_ratio(self.notional, self.cum_qty) if self.cum_qty else ZERO

    @property
    def ord_status(self) -> OrdStatus:
        """OrdStatus(39)."""
        return ord_status(
            self.standing, self.order_qty, self.cum_qty, self.last_fill_ns, traded=bool(self.executions)
        )

    @property
    def is_done(self) -> bool:
        """Nothing may fill any more, and nothing waits."""
        return not (self.unresolved or self.breaks or self.suspects or self.leaves_qty)

    def add_intent(self, intent: OrderIntent) -> None:
        """Take up an intent (one a msg_id: the caller has dealt with duplicates)."""
        self.intents[intent.msg_id] = intent
        self.root = root_intent(tuple(self.intents.values()))
        if self.order_reports or self.traded:
            self.restand()
        self._permit()

    def _permit(self) -> None:
        """Work out what the order was ever allowed: a replace that was rejected allowed nothing."""
        assert self.root is not None, "an intent was taken up"
        refused = self.standing.refused
        allowed = [i for i in self.intents.values() if i.action is not Action.REPLACE or i.msg_id not in refused]
        self.routed_qty = largest_qty(allowed)
        self.limit = loosest_limit(self.root.side, allowed)

    def add_order_report(self, report: OrderReport) -> None:
        """Take up a report of the order's state."""
        self.order_reports[report.report_id] = report
        self.restand()

    def restand(self) -> None:
        """Work out where the order stands."""
        found = stand(self.order_reports.values(), self.intents, self.traded)
        if found != self.standing:
            changed = found.refused != self.standing.refused
            self.standing = found
            if changed and self.root is not None:
                self._permit()

    def add_report(self, report: FillReport) -> None:
        """Take up a report of a trade that is not an exact duplicate."""
        known = self.reports.get(report.report_id)
        if known is not None:
            wordings = {v.content: v for v in (*self.variants.get(report.report_id, (known,)), report)}
            self.variants[report.report_id] = tuple(in_order(tuple(wordings.values())))
        self._count(report)

    def void(self, resolution: Resolution) -> None:
        """Take up two persons' verdict on a break; what it voids no longer counts."""
        self.resolutions[resolution.break_id] = (*self.resolutions.get(resolution.break_id, ()), resolution)
        fresh = frozenset(resolution.voids) - self.voided
        self.rejected |= {i for i, _ in resolution.voids if not self._is_conflict(resolution, i)}
        self.voided |= fresh
        for report_id, _ in fresh:
            if report_id in self.reports:
                self._count(self.reports[report_id])

    def _is_conflict(self, resolution: Resolution, report_id: str) -> bool:
        """Whether a verdict is on two wordings of a report, and so voids one of them and not the report."""
        conflict = break_id_of(self.correlation_id, BreakKind.CONFLICTING_DUPLICATE, report_id)
        return resolution.break_id == conflict

    def is_voided(self, report: FillReport) -> bool:
        """Whether the report was voided, in whatever wording it may come yet, or each of its wordings was."""
        if not self.voided:
            return False
        wordings = self.variants.get(report.report_id, (report,))
        return report.report_id in self.rejected or all((v.report_id, v.content) in self.voided for v in wordings)

    def counted_variants(self, report_id: str) -> tuple[FillReport, ...]:
        """Give the wordings of a report less the voided ones; all of them where all are voided."""
        wordings = self.variants.get(report_id, ())
        left = tuple(v for v in wordings if (report_id, v.content) not in self.voided)
        return left or wordings

    def _count(self, report: FillReport) -> None:
        """Make the merged wording of an identity what counts of it."""
        known = self.reports.get(report.report_id)
        counting = report
        if known is not None and report.report_id in self.variants:
            counting = merged(self.counted_variants(report.report_id))
        if known is not None:
            self._uncount(known)
        self.reports[counting.report_id] = counting
        if counting.kind is not BUST:
            self._add_name(self.named, counting.exec_id, counting.report_id)
            if counting.trade_report_id is not None:
                self._add_name(self.named, counting.trade_report_id, counting.report_id)
        if counting.exec_ref_id is not None:
            refers = self.referring.get(counting.exec_ref_id, _NOTHING)
            self.referring[counting.exec_ref_id] = (*refers, counting)
        if counting.part_of is not None:
            self._add_name(self.parts, counting.part_of, counting.report_id)
        if known is not None and known.cl_ord_id not in {None, counting.cl_ord_id}:
            self.traded = frozenset(r.cl_ord_id for r in self.reports.values() if r.cl_ord_id is not None)
            self.restand()
        elif counting.cl_ord_id is not None and counting.cl_ord_id not in self.traded:
            self.traded |= {counting.cl_ord_id}
            named = self.intents.get(counting.cl_ord_id)
            if self.order_reports or (named is not None and named.action is Action.REPLACE):
                self.restand()

    def _uncount(self, known: FillReport) -> None:
        """Take the wording that counted so far out of the indexes."""
        if known.exec_ref_id is not None:
            kept = tuple(r for r in self.referring[known.exec_ref_id] if r.report_id != known.report_id)
            self.referring[known.exec_ref_id] = kept
        if known.part_of is not None:
            parts = tuple(i for i in self.parts[known.part_of] if i != known.report_id)
            if parts:
                self.parts[known.part_of] = parts
            else:
                del self.parts[known.part_of]

    @staticmethod
    def _add_name(names: dict[str, tuple[str, ...]], name: str, report_id: str) -> None:
        known = names.get(name, ())
        if report_id not in known:
            names[name] = (*known, report_id)

    def has(self, report: FillReport) -> bool:
        """Whether exactly this (identity and content) is known."""
        known = self.reports.get(report.report_id)
        if known is None:
            return False
        if report.report_id not in self.variants:
            return known.content == report.content
        return any(v.content == report.content for v in self.variants[report.report_id])

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
            return max(earlier, key=lambda n: (n.trade_date, n.kind is CORRECT, n.report_id))
        return min(named, key=lambda n: (n.trade_date, n.kind is CORRECT, n.report_id))

    def chain(self, fill: FillReport) -> tuple[FillReport, ...]:
        """The fill with the reports that refer to it."""
        return follow(fill, self._naming)

    def _naming(self, report: FillReport) -> tuple[FillReport, ...]:
        found = self.referring.get(report.exec_id, _NOTHING)
        if report.trade_report_id is not None:
            found += self.referring.get(report.trade_report_id, _NOTHING)
        return tuple(r for r in found if self.target(r) is report) if found else found


_DICTS = (
    "intents",
    "reports",
    "variants",
    "named",
    "referring",
    "parts",
    "order_reports",
    "learned",
    "resolutions",
    "executions",
    "metrics",
    "breaks",
    "suspects",
)
_VALUES = tuple(name for name in OrderState.__slots__ if name not in _DICTS)


def root_intent(intents: Sequence[OrderIntent]) -> OrderIntent:
    """The message the order began with: the earliest ``new``, or the earliest of any while none is known."""
    news = [i for i in intents if i.action is Action.NEW] or intents
    return min(news, key=lambda i: (i.routed_ns, i.msg_id))
