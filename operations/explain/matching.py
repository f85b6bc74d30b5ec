"""How a report found its order, in words: by which of its names, and who said that the name is the order's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.book import references_of
from ledger.domain.records import FillReport, ReportKind
from ledger.domain.times import format_utc
from operations.desk.engine import naming, tying

if TYPE_CHECKING:
    from ledger.domain.book import Reference
    from ledger.domain.records import Report
    from operations.explain.reading import OrderFacts

_KINDS = {"c": "ClOrdID", "v": "OrderID"}


def how_matched(report: Report, facts: OrderFacts) -> str:
    """Say it: ``ClOrdID M1, routed as new``; ``OrderID 77, learned from report E1 of ...``."""
    known = {reference for intent in facts.intents for reference in references_of(intent)} | set(facts.learned)
    reference = next((r for r in tying(report) if r in known), None)
    if reference is None:
        return "by another order's name for it" if facts.intents else "not known"
    said = f"{_KINDS[reference[1]]} {reference[2]}, {_who_said(reference, facts)}"
    if isinstance(report, FillReport) and report.kind is not ReportKind.FILL:
        verb = "takes back" if report.kind is ReportKind.BUST else "corrects"
        said += f"; {verb} execution {report.exec_ref_id}"
    return said


def _who_said(reference: Reference, facts: OrderFacts) -> str:
    for intent in facts.intents:
        if reference in references_of(intent):
            by_message = reference[1] == "c"
            return f"routed as {intent.action}" if by_message else f"named by the intent {intent.msg_id}"
    for stored in facts.reports:
        report = stored.captured.report
        names = naming(report)
        if reference in names and len(names) > 1:
            beside = next(r for r in names if r != reference)
            return (
                f"learned from report {report.exec_id or report.report_id} of {format_utc(report.transact_ns)},"
                f" which names it beside {_KINDS[beside[1]]} {beside[2]}"
            )
    return "learned from a report"
