"""Which snapshots the rates of fees in third currencies are asked of: (symbol, time) questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.records import FillReport, ReportKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.instruments import Instruments
    from ledger.domain.order import OrderState

Question = tuple[str, int]


def rate_symbol(report: FillReport, instruments: Instruments) -> str | None:
    """Give the symbol of the pair that a report's fee needs as its rate; None where it needs none, or has none."""
    if not report.fee or report.fee_currency is None or report.fee_currency == report.currency:
        return None
    instrument = instruments.find(report.venue, report.symbol)
    if instrument is None or report.fee_currency in {instrument.base, instrument.quote}:
        return None
    pair = instruments.rate_pair(report.venue, report.fee_currency, instrument.notional_currency)
    return None if pair is None else pair.symbol


def questions_of(
    reports: Iterable[FillReport], instruments: Instruments, times: Iterable[int] = ()
) -> set[Question]:
    """List the questions of one order's reports: a correct may bring a fee to any of its fills, at its time.

    ``times`` are those of fills that the reports may be about beside their own.
    """
    known = list(reports)
    symbols = {rate_symbol(report, instruments) for report in known} - {None}
    if not symbols:
        return set()
    asked = {*times, *(report.transact_ns for report in known if report.kind is ReportKind.FILL)}
    return {(symbol, at_ns) for symbol in symbols if symbol is not None for at_ns in asked}


def questions_of_order(
    order: OrderState | None, fresh: list[FillReport], instruments: Instruments
) -> set[Question]:
    """List the questions of an order that new reports are about, for each fill that is measured again."""
    if order is None:
        return questions_of(fresh, instruments)
    beside = [order.reports[i] for i in order.unresolved if i in order.reports]
    refers = bool(beside) or any(report.exec_ref_id is not None for report in fresh)
    if not refers and len(order.metrics) >= len(order.executions):
        return questions_of(fresh, instruments)  # the common case: orders may have thousands of executions
    again = [i for i in order.executions if refers or i not in order.metrics]
    silent = [order.reports[i] for i in again if i not in order.metrics]
    times = (order.executions[i].transact_ns for i in again)
    return questions_of([*fresh, *beside, *silent], instruments, times)
