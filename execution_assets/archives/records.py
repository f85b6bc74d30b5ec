"""Which rows make up an archive, by record class, day and venue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from ledger.db.sql import load_queries
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from datetime import date

    import psycopg

SQL = load_queries("archives")
SCHEMA_VERSION = 1  # of the files' columns; add columns at the end, and raise it
FILLS, AUDIT = "fills", "audit"
ALL_VENUES = "all"  # the audit events of a day are one sequence
TABLES: Final = {
    FILLS: ("fills", "order_reports", "executions", "slippage_metrics", "orders", "dead_letters"),
    AUDIT: ("audit_events",),
}
CLASS_OF = {table: record_class for record_class, tables in TABLES.items() for table in tables}
ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
READABLY = ("SET LOCAL timezone = 'UTC'", "SET LOCAL jit = off", "SET LOCAL work_mem = '256MB'")


class Part(msgspec.Struct, frozen=True):
    """What an archive is of: a record class, a day (trading date, or date of record), a venue."""

    record_class: str
    day: Any  # a date: msgspec would check it again
    venue: str

    def parameters(self) -> dict[str, Any]:
        """Give what the queries ask for."""
        start = day_start(self.day.year, self.day.month, self.day.day)
        return {"day": self.day, "venue": self.venue, "start_ns": start, "end_ns": start + 86_400 * NANOS}


def parts_of(connection: psycopg.Connection[Any], record_class: str, day: date) -> list[Part]:
    """Give what there is to archive of a day, by venue."""
    asked = Part(record_class, day, "").parameters()
    if record_class == AUDIT:
        row = connection.execute(SQL["has_audit_events"].encode(), asked).fetchone()
        return [Part(AUDIT, day, ALL_VENUES)] if row is not None and row[0] else []
    return [Part(FILLS, day, venue) for (venue,) in connection.execute(SQL["venues"].encode(), asked)]


def day_before(connection: psycopg.Connection[Any], record_class: str, day: date) -> date | None:
    """Give the last day before ``day`` of which there is something to archive; None where a month has nothing."""
    query = "audit_day_before" if record_class == AUDIT else "day_before"
    row = connection.execute(SQL[query].encode(), {"day": day}).fetchone()
    return None if row is None else row[0]


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Set up a transaction to read a day by: one moment, times in UTC, room to sort."""
    connection.execute(ONE_MOMENT.encode())
    for statement in READABLY:
        connection.execute(statement.encode())
