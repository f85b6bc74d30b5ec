"""The day's landed facts, order by order: what ``decide`` needs to derive the day again, in bounded chunks.

Of other days only busts and corrects are read, and the fills of the same orders, one of which they may mean: they
change the day's executions, other days' fills do not (an overfill is a break of the order, which is not part of
the day's figures).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
from psycopg.abc import Buffer  # noqa: TC002  psycopg reads the annotation
from psycopg.adapt import Loader
from sqlalchemy import TextClause, text

from ledger.db.rows import read_intent, read_report, read_resolution
from ledger.db.sql import load_queries
from ledger.domain.book import Book, Reference, reference_of
from ledger.domain.order import root_intent
from ledger.domain.rates import questions_of
from ledger.domain.records import Captured, FillReport, Liquidity, OrderIntent, ReportKind, Resolution, Side
from ledger.domain.snapshots import SnapshotBook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    from sqlalchemy import Connection

    from execution_assets.market import DayMarket
    from ledger.domain.instruments import Instruments

SQL = {name: text(query) for name, query in load_queries("derivation").items()}
STREAM_ROWS = 2_000  # rows of a server-side cursor fetched at once
CHUNK_REPORTS = 5_000  # reports decided at once: about 40 MB with their orders and what follows

# where a dry run keeps a day's live rows: as they would be corrected, and those with the other days'
CORRECTED, WOULD_BE = "corrected_", "would_be_"

_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")
_LIVE_TABLE = re.compile(r"\bexecution\.(executions|slippage_metrics)\b")
_KINDS = {str(kind): kind for kind in ReportKind}
_SIDES = {str(side): side for side in Side}
_LIQUIDITIES = {str(liquidity): liquidity for liquidity in Liquidity}


def rows_of(
    connection: Connection, query: str, parameters: Mapping[str, object], *, stream: bool = False
) -> Iterator[Mapping[str, Any]]:
    """Run a named query; ``stream`` keeps the rows in the server until they are asked for."""
    options: Mapping[str, Any] = {"yield_per": STREAM_ROWS} if stream else {}
    result = connection.execute(statement(connection, SQL[query]), parameters, execution_options=options)
    # a RowMapping is a mapping by column name, but is typed as one by column as well
    return cast("Iterator[Mapping[str, Any]]", iter(result.mappings()))


def statement(connection: Connection, query: TextClause) -> TextClause:
    """Give a query about live rows as the connection's option ``ledger`` has it: in a dry run of would-be ones."""
    prefix = connection.get_execution_options().get("ledger")
    return query if prefix is None else text(_LIVE_TABLE.sub(rf"{prefix}\1", query.text))


class HexLoader(Loader):
    """Reads a UUID as the domain writes identities: hex without dashes."""

    def load(self, data: Buffer) -> str:
        """Read one value."""
        return bytes(data).replace(b"-", b"").decode()


def tuples_of(
    connection: Connection, query: str, parameters: Mapping[str, object], rows: int = STREAM_ROWS
) -> Iterator[tuple[Any, ...]]:
    """Stream a named query as plain tuples, UUIDs as hex: a third of what rows by column name cost.

    A day of a million rows is read so; ``rows`` are fetched at once. The plan is for all rows, not for the first.
    """
    driver: Any = connection.connection.driver_connection
    driver.execute("SET LOCAL cursor_tuple_fraction = 1.0")
    with driver.cursor(name=f"stream_{query}") as cursor:
        cursor.adapters.register_loader("uuid", HexLoader)
        cursor.itersize = rows
        cursor.execute(_as_driver(statement(connection, SQL[query])), parameters)
        yield from cursor


def driver_sql(query: str) -> str:
    """Give a named query with its parameters as psycopg names them."""
    return _as_driver(SQL[query])


def _as_driver(query: TextClause) -> str:
    return _PARAMETER.sub(r"%(\1)s", query.text.replace("%", "%%"))


class Facts(msgspec.Struct):
    """Some orders, whole as far as the day is concerned."""

    intents: list[OrderIntent]
    reports: list[Captured]
    resolutions: list[Resolution]
    owners: dict[Reference, str]  # of the reports' references, the orders


def read_facts(connection: Connection, day: date, share: int = 0, shares: int = 1) -> Iterator[Facts]:
    """Stream the facts of the day's orders, or of a share of them, some orders at a time."""
    chunk: dict[str, list[FillReport]] = {}
    size = 0
    for owner, reports in _reports_by_order(connection, day, share, shares):
        if not any(r.kind is ReportKind.FILL and r.trade_date == day for r in reports):
            continue
        chunk[owner] = reports
        size += len(reports)
        if size >= CHUNK_REPORTS:
            yield _with_intents(connection, chunk, day)
            chunk, size = {}, 0
    if chunk:
        yield _with_intents(connection, chunk, day)


def _reports_by_order(
    connection: Connection, day: date, share: int, shares: int
) -> Iterator[tuple[str, list[FillReport]]]:
    owner: str | None = None
    reports: list[FillReport] = []
    for row in tuples_of(connection, "day_reports", {"day": day, "share": share, "shares": shares}):
        if row[0] != owner:
            if owner is not None:
                yield owner, reports
            owner, reports = row[0], []
        reports.append(_report(row))
    if owner is not None:
        yield owner, reports


def _report(row: tuple[Any, ...]) -> FillReport:
    """Read a row of ``day_reports``: half of the time that reading it by column names takes."""
    (
        _, report_id, content, venue, account, symbol, trade_date, exec_id, kind, exec_ref_id, cl_ord_id,
        venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty, avg_px, currency, fee,
        fee_currency, liquidity, transact_ns, part_of, trade_report_id,
    ) = row  # fmt: skip
    return FillReport(
        report_id=report_id, content=content, venue=venue, account=account, symbol=symbol, trade_date=trade_date,
        exec_id=exec_id, kind=_KINDS[kind], exec_ref_id=exec_ref_id, cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id, correlation_id=correlation_id, side=_SIDES[side], last_qty=last_qty,
        last_px=last_px, cum_qty=cum_qty, leaves_qty=leaves_qty, avg_px=avg_px, currency=currency, fee=fee,
        fee_currency=fee_currency, liquidity=None if liquidity is None else _LIQUIDITIES[liquidity],
        transact_ns=transact_ns, part_of=part_of, trade_report_id=trade_report_id,
    )  # fmt: skip


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


def book_for(market: DayMarket, facts: Facts, instruments: Instruments) -> Book:
    """Give an empty book that can answer the benchmark questions of these facts."""
    snapshots = SnapshotBook()
    for (symbol, at_ns), snapshot in market.answers(_questions(facts, instruments)).items():
        snapshots.anchor(symbol, at_ns, snapshot)
    book = Book(snapshots, instruments=instruments, report_limit=2 * len(facts.reports) + 1)
    book.by_reference.update(facts.owners)  # an OrderID may have been learned on another day
    return book


def _questions(facts: Facts, instruments: Instruments) -> set[tuple[str, int]]:
    orders: dict[str, list[OrderIntent]] = {}
    for intent in facts.intents:
        orders.setdefault(intent.correlation_id, []).append(intent)
    arrivals = {order: root_intent(intents).routed_ns for order, intents in orders.items()}
    asked: set[tuple[str, int]] = set()
    of_order: dict[str, list[FillReport]] = {}
    for captured in facts.reports:
        report = captured.report
        owner = facts.owners[reference_of(report)]
        of_order.setdefault(owner, []).append(report)
        asked.add((report.symbol, report.transact_ns))
        asked.add((report.symbol, arrivals[owner]))
    if len(instruments):  # without reference data no fee has a rate
        for reports in of_order.values():
            asked |= questions_of(reports, instruments)
    return asked
