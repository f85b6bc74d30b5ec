"""A range of days derived one after the other, each in transactions of its own: what changed, or would."""

from __future__ import annotations

import time
from datetime import date, timedelta
from typing import TYPE_CHECKING

import msgspec

from execution_assets.comparison import Found
from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.derivation import derive_day
from execution_assets.final_day import derive_finals
from execution_assets.sheets import Changes
from execution_assets.would_be import plan_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from execution_assets.derivation import Derivation
    from ledger.domain.decide import Policy

_SHOWN = 20


class DayChanges(msgspec.Struct):
    """One day: its reports, and of each derived table the rows that changed, or would."""

    day: date
    reports: int
    seconds: float
    tables: list[Changes]

    @property
    def count(self) -> int:
        """How many rows are not as derived."""
        return sum(table.count for table in self.tables)


def days_of(first: date, last: date) -> list[date]:
    """List the days from first to last. Raises ``ValueError`` where last is before first."""
    if last < first:
        raise ValueError(f"TO={last}: not before FROM={first} is required. Give the earlier day first.")
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def backfill(
    engine: Engine,
    days: list[date],
    policy: Policy,
    slo_us: int,
    *,
    dry_run: bool,
    log: Callable[[str], None],
) -> Iterator[DayChanges]:
    """Derive each day and give what changed. A day that was given is committed: killing it here loses nothing."""
    for day in days:
        began = time.monotonic()
        if dry_run:
            derivation, others = plan_day(engine, day, policy, slo_us, log=log)
        else:
            derivation = derive_day(engine, day, policy, log=log)
            others = [
                *derive_finals(engine, day, policy, log=log),
                derive_breaks(engine, day, log=log),
                derive_quality(engine, day, slo_us, log=log),
            ]
        tables = [*_live_tables(derivation), *others]
        yield DayChanges(day, derivation.report_count, time.monotonic() - began, tables)


def _live_tables(derivation: Derivation) -> list[Changes]:
    """Tell the corrections of the live tables in the words of the derived ones."""
    differences = derivation.differences
    tables = []
    for name, rows in (("executions", derivation.execution_count), ("slippage_metrics", derivation.metric_count)):
        changes = Changes(name, derivation.day.isoformat(), derivation.derived_digest, rows)
        changes.added = differences.found.get(f"{name}.{Found.MISSING}", 0)
        changes.changed = differences.found.get(f"{name}.{Found.DIFFERS}", 0)
        changes.removed = differences.found.get(f"{name}.{Found.UNSUPPORTED}", 0)
        for one in differences.sample:
            if (one.kind is None) == (name == "executions"):
                shown = "; ".join(f"{field}: {live} -> {ours}" for field, (live, ours) in one.fields.items())
                changes.note(_WORDS[one.found], f"{one.execution_id} {one.kind or ''} {shown}".replace("  ", " "))
        tables.append(changes)
    return tables


def left_behind(days: list[date]) -> list[str]:
    """Say what is made of these tables and was not made again, and how to: only Dagster's runs make it."""
    return [
        "left as they were: checks, reports, Parquet files, data docs, archives. Dagster makes them:",
        f"  dg launch --assets group:derived --partition-range {days[0]}...{days[-1]}",
    ]


_WORDS = {Found.MISSING: "added", Found.DIFFERS: "changed", Found.UNSUPPORTED: "removed"}


def shown(changes: DayChanges, *, dry_run: bool) -> list[str]:
    """Give the lines that a person reads of a day."""
    rate = changes.reports / changes.seconds if changes.seconds else 0
    head = f"{changes.day}: {changes.reports:,} reports in {changes.seconds:.1f} s ({rate:,.0f}/s)"
    if not changes.count:
        return [f"{head}: all rows are as derived"]
    lines = [f"{head}: {changes.count:,} rows {'would change' if dry_run else 'changed'}"]
    for table in changes.tables:
        if table.count:
            lines.append(
                f"  {table.asset}: {table.added:,} added, {table.changed:,} changed, {table.removed:,} removed"
                f" (of {table.rows:,})"
            )
            examples = [(what, key) for what, keys in table.sample.items() for key in keys[:3]]
            lines += [f"    {what} {key}" for what, key in examples[:_SHOWN]]
    return lines
