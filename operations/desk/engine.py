"""The rules in memory: one book, and a decision applied after each message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.book import Book, learned_reference, reference_of, references_of_state
from ledger.domain.decide import Policy, decide
from ledger.domain.records import Captured, FillReport
from ledger.domain.snapshots import SnapshotBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.book import Reference
    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState
    from ledger.domain.records import CapturedOrder, Report

_ALL = 1 << 60  # nothing is forgotten: there is no ledger to load it from again


class Engine:
    """Orders as they stand after every fact taken up so far. Gaps have no grace time: breaks show at once."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.book = Book(SnapshotBook(limit=_ALL), report_limit=_ALL, mark_limit=_ALL)

    def take(self, facts: Sequence[Fact]) -> Decision:
        """Decide and apply."""
        decision = decide(self.book, facts, self.policy)
        self.book.apply(decision)
        return decision

    def owner(self, references: Iterable[Reference]) -> OrderState | None:
        """Find the order of the first reference that has one."""
        for reference in references:
            order = self.book.orders.get(self.book.by_reference.get(reference, ""))
            if order is not None:
                return order
        return None

    def order_of(self, report: Report) -> OrderState | None:
        """Find the order that a report is tied to."""
        found = self.owner(tying(report))
        if found is None or report.report_id in found.reports or report.report_id in found.order_reports:
            return found
        holding = (o for o in self.book.orders.values() if report.report_id in o.reports)
        return next(holding, found)  # a venue's order id that two orders share is the first one's

    def pending(self, references: Iterable[Reference]) -> list[Captured | CapturedOrder]:
        """Give the reports without an order that name one of these, in the order in which they came."""
        found = {
            (held.report.report_id, key[1]): held
            for reference in references
            for key, held in self.book.pending.get(reference, {}).items()
        }
        return list(found.values())


def tying(report: Report) -> tuple[Reference, ...]:
    """What ties a report to its order."""
    return (reference_of(report),) if isinstance(report, FillReport) else references_of_state(report)


def naming(report: Report) -> tuple[Reference, ...]:
    """Everything by which a report names its order."""
    if not isinstance(report, FillReport):
        return references_of_state(report)
    beside = learned_reference(report)
    return (reference_of(report),) if beside is None else (reference_of(report), beside)
