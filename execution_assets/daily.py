"""Breaks with their age and the quality of venues: a day's rows derived from what the ledger holds of it."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from execution_assets.facts import statement
from execution_assets.final_day import record
from execution_assets.serial import in_one_transaction
from execution_assets.sheets import Changes, Compared, Row, Sheet, batched, settle
from ledger.db.sql import load_queries
from ledger.domain.ageing import age_of
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date

    from sqlalchemy import Connection, Engine

DAILY = {name: text(query) for name, query in load_queries("daily").items()}
BREAKS, QUALITY = Sheet("reconciliation_breaks", "break_id"), Sheet("venue_quality", "venue")


def derive_breaks(
    engine: Engine, day: date, *, correct: bool = True, log: Callable[[str], None] = lambda _: None
) -> Changes:
    """Write the breaks that were open on a day, as they stood at its end; of today as they stand now."""
    return in_one_transaction(
        engine, day, lambda connection: breaks_in(connection, day, correct=correct), correct=correct, log=log
    )


def breaks_in(connection: Connection, day: date, *, correct: bool) -> Changes:
    """Derive a day's breaks in the caller's transaction."""
    found = connection.execute(DAILY["breaks_of_day"], {"day": day}).mappings()
    return _settled(connection, day, BREAKS, (break_row(row, day) for row in found), write=correct)


def derive_quality(
    engine: Engine, day: date, slo_us: int, *, correct: bool = True, log: Callable[[str], None] = lambda _: None
) -> Changes:
    """Write how each venue served a day. ``slo_us``: how long from received to landed may be."""
    return in_one_transaction(
        engine,
        day,
        lambda connection: quality_in(connection, day, slo_us, correct=correct),
        correct=correct,
        log=log,
    )


def quality_in(connection: Connection, day: date, slo_us: int, *, correct: bool) -> Changes:
    """Derive how each venue served a day in the caller's transaction."""
    start = day_start(day.year, day.month, day.day)
    bounds = {
        "day": day, "start_ns": start, "end_ns": start + 86_400 * NANOS, "now_ns": time.time_ns(),
        "slo_us": slo_us,
    }  # fmt: skip
    found = connection.execute(statement(connection, DAILY["quality_of_day"]), bounds).mappings()
    rows = (_shown(QUALITY, {**row, "trade_date": day}) for row in found)
    return _settled(connection, day, QUALITY, rows, write=correct)


def break_row(row: Mapping[Any, Any], day: date) -> Row:
    """Make a break's row; an age has the bucket that a desk looks at."""
    values = {
        **row,
        "trade_date": day,
        "state": "ended" if row["has_ended"] else "open",
        "ended_how": row["ended_how"] if row["has_ended"] else None,
        "age": age_of(row["age_seconds"]),
    }
    return _shown(BREAKS, values)


def _shown(sheet: Sheet, values: Mapping[Any, Any]) -> Row:
    return [None if values[name] is None else str(values[name]) for name in sheet.columns]


def _settled(connection: Connection, day: date, sheet: Sheet, rows: Iterable[Row], *, write: bool) -> Changes:
    with TemporaryDirectory(prefix="execution-agent-") as name:
        folder = Path(name)
        compared = Compared(sheet, connection, day, folder / f"share-0.{sheet.name}")
        for batch in batched(rows):
            compared.put(batch)
        compared.close()
        changes = settle(
            sheet,
            connection,
            day,
            compared.changes,
            bytes(compared.entries),
            compared.matched,
            folder,
            write=write,
        )
    if write:
        record(connection, day, changes)
    return changes
