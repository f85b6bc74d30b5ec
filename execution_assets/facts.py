"""The day's landed facts, order by order: what ``decide`` needs to derive the day again, in bounded chunks.

Of other days only busts and corrects are read, and the fills of the same orders, one of which they may mean: they
change the day's executions, other days' fills do not (an overfill is a break of the order, which is not part of
the day's figures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
from sqlalchemy import text

from ledger.db.rows import read_intent, read_report, read_resolution, read_snapshot
from ledger.db.sql import load_queries
from ledger.domain.book import Book, Reference, reference_of
from ledger.domain.order import root_intent
from ledger.domain.rates import questions_of
from ledger.domain.records import Captured, FillReport, OrderIntent, ReportKind, Resolution
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from sqlalchemy import Connection

    from ledger.domain.instruments import Instruments

SQL = {name: text(query) for name, query in load_queries("derivation").items()}
STREAM_ROWS = 2_000  # rows of a server-side cursor fetched at once
CHUNK_REPORTS = 5_000  # reports decided at once: about 40 MB with their orders and what follows

Question = tuple[str, int]  # symbol, time


def rows_of(
    connection: Connection, query: str, parameters: Mapping[str, object], *, stream: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Run a named query; ``stream`` keeps the rows in the server until they are asked for."""
    options: Mapping[str, Any] = {"yield_per": STREAM_ROWS} if stream else {}
    result = connection.execute(SQL[query], parameters, execution_options=options)
    # a RowMapping is a mapping by column name, but is typed as one by column as well
    return cast("Iterator[Mapping[str, Any]]", iter(result.mappings()))


class Facts(msgspec.Struct):
    """Some orders, whole as far as the day is concerned."""

    intents: list[OrderIntent]
    reports: list[Captured]
    resolutions: list[Resolution]
    owners: dict[Reference, str]  # of the reports' references, the orders


def read_facts(connection: Connection, day: date) -> Iterator[Facts]:
    """Stream the facts of the day's orders, some orders at a time."""
    chunk: dict[str, list[FillReport]] = {}
    size = 0
    for owner, reports in _reports_by_order(connection, day):
        if not any(r.kind is ReportKind.FILL and r.trade_date == day for r in reports):
            continue
        chunk[owner] = reports
        size += len(reports)
        if size >= CHUNK_REPORTS:
            yield _with_intents(connection, chunk, day)
            chunk, size = {}, 0
    if chunk:
        yield _with_intents(connection, chunk, day)


def _reports_by_order(connection: Connection, day: date) -> Iterator[tuple[str, list[FillReport]]]:
    owner: str | None = None
    reports: list[FillReport] = []
    for row in rows_of(connection, "day_reports", {"day": day}, stream=True):
        if owner is not None and row["owner"] != owner:
            yield owner, reports
            reports = []
        owner = row["owner"]
        reports.append(read_report(row))
    if owner is not None:
        yield owner, reports


def _with_intents(connection: Connection, chunk: dict[str, list[FillReport]], day: date) -> Facts:
    ids = {"ids": list(chunk)}
    # a bust or correct may mean a fill of another day, whose ExecID the venue has used again
    referring = [owner for owner, reports in chunk.items() if any(r.exec_ref_id is not None for r in reports)]
    if referring:
        for row in rows_of(connection, "fills_of_other_days", {"ids": referring, "day": day}):
            chunk[row["owner"]].append(read_report(row))
    return Facts(
        [read_intent(row) for row in rows_of(connection, "intents", ids)],
        # decide wants to know how a report came; the figures do not depend on it, and raw bytes are heavy
        [Captured(report, "", b"", 0) for reports in chunk.values() for report in reports],
        [read_resolution(row) for row in rows_of(connection, "resolutions", ids)],
        {reference_of(report): owner for owner, reports in chunk.items() for report in reports},
    )


def book_for(connection: Connection, facts: Facts, instruments: Instruments) -> Book:
    """Give an empty book that can answer the benchmark questions of these facts, each from the database."""
    snapshots = SnapshotBook()
    answers = _ask(connection, "snapshots_of_day", _questions(facts, instruments))
    unanswered = [question for question, snapshot in answers.items() if snapshot is None]
    answers.update(_ask(connection, "snapshots_before", unanswered))
    for (symbol, at_ns), snapshot in answers.items():
        snapshots.anchor(symbol, at_ns, snapshot)
    book = Book(snapshots, instruments=instruments, report_limit=2 * len(facts.reports) + 1)
    book.by_reference.update(facts.owners)  # an OrderID may have been learned on another day
    return book


def _questions(facts: Facts, instruments: Instruments) -> set[Question]:
    orders: dict[str, list[OrderIntent]] = {}
    for intent in facts.intents:
        orders.setdefault(intent.correlation_id, []).append(intent)
    arrivals = {order: root_intent(intents).routed_ns for order, intents in orders.items()}
    asked: set[Question] = set()
    of_order: dict[str, list[FillReport]] = {}
    for captured in facts.reports:
        report = captured.report
        of_order.setdefault(facts.owners[reference_of(report)], []).append(report)
        asked.add((report.symbol, report.transact_ns))
        asked.add((report.symbol, arrivals[facts.owners[reference_of(report)]]))
    for reports in of_order.values():
        asked |= questions_of(reports, instruments)
    return asked


def _ask(connection: Connection, query: str, questions: Iterable[Question]) -> dict[Question, Any]:
    asked = sorted(questions)
    if not asked:
        return {}
    rows = rows_of(
        connection,
        query,
        {
            "symbols": [symbol for symbol, _ in asked],
            "days": [utc_date(at_ns) for _, at_ns in asked],
            "times": [at_ns for _, at_ns in asked],
        },
    )
    return {
        (row["wanted_symbol"], row["wanted_ns"]): None if row["snapshot_id"] is None else read_snapshot(row)
        for row in rows
    }
