"""The landing transaction: rows and feed positions in one commit.

New rows go by binary COPY straight into the tables, optimistically: an identity that is already there is a
primary key violation, the transaction rolls back, ``LandingConflictError`` says so, and the caller loads what
the database knows and decides the batch again. One path decides what a duplicate is; the database only
refuses to be wrong.

The session that lands holds the writer's lease as an advisory lock. The lock ends with the session, so a
process that lost its lease has also lost the only connection it could write with.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from ledger.db import rows
from ledger.db.errors import LandingConflictError, LeaseLostError, PositionWentBackError
from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.db.tables import SCHEMA
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from ledger.domain.decision import Decision
    from ledger.domain.records import Position

_SQL = load_queries("landing")
_PARTITION_REACH = timedelta(days=35)  # older days share the default partition: late facts are few
_json = msgspec.json.encode


class Landing:
    """One writer's connection. ``land`` is called by one task at a time."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._days: set[date] = set()

    @property
    def is_open(self) -> bool:
        """Whether the session is still there."""
        return not self._connection.is_closed()

    async def take_lease(self, name: str) -> None:
        """Become the one writer of ``name``.

        Raises ``LeaseLostError`` while another process is, ``LedgerUnavailableError`` when the connection is lost.
        """
        with explained("taking the lease"):
            taken = await self._connection.fetchval(_SQL["take_lease"], name)
        if not taken:
            raise LeaseLostError(f"another process is the writer of {name!r}: this one waits until it stops")

    async def land(self, decision: Decision, positions: Iterable[Position] = ()) -> None:
        """Write a decision and the positions it was taken at, in one transaction.

        Raises ``LandingConflictError`` when rows are already there, ``PositionWentBackError`` when a position
        would shrink, ``LedgerUnavailableError`` when Postgres is away or has rolled back (the commit may have
        happened: load and decide again), ``LedgerRefusedError`` when a value cannot be stored at all.
        """
        with explained("landing"):
            try:
                await self._ensure_days(decision)
                async with self._connection.transaction():
                    await self._remove(decision)
                    await self._insert(decision)
                    await self._change(decision)
                    await self._advance(positions)
            except asyncpg.UniqueViolationError as error:
                raise LandingConflictError(str(error)) from error

    async def _remove(self, decision: Decision) -> None:
        if decision.pending_gone:
            await self._connection.execute(_SQL["delete_pending"], decision.pending_gone)

    async def _insert(self, decision: Decision) -> None:
        await self._copy("orders", rows.ORDER_COLUMNS, [rows.order_row(i) for i in decision.intents])
        await self._copy(
            "benchmark_snapshots", rows.SNAPSHOT_COLUMNS, [rows.snapshot_row(s) for s in decision.snapshots]
        )
        await self._copy("fills", rows.FILL_COLUMNS, [rows.fill_row(c) for c in decision.fills])
        await self._copy(
            "executions",
            rows.EXECUTION_COLUMNS,
            [
                rows.execution_row(e, decision.chains.get(e.execution_id), decision.withheld.get(e.execution_id))
                for e in decision.executions
            ],
        )
        await self._copy("slippage_metrics", rows.METRIC_COLUMNS, [rows.metric_row(m) for m in decision.metrics])
        await self._copy("fills_pending", rows.PENDING_COLUMNS, [rows.pending_row(p) for p in decision.pending])
        await self._copy(
            "dead_letters", rows.DEAD_LETTER_COLUMNS, [rows.dead_letter_row(d) for d in decision.dead_letters]
        )
        await self._copy("audit_events", rows.EVENT_COLUMNS, [rows.event_row(e) for e in decision.events])

    async def _copy(self, table: str, columns: Sequence[str], records: list[rows.Row]) -> None:
        if records:
            await self._connection.copy_records_to_table(
                table, schema_name=SCHEMA, columns=columns, records=records
            )

    async def _change(self, decision: Decision) -> None:
        if decision.executions_changed:
            await self._execute_json("change_executions", decision.executions_changed)
        inserted = {e.execution_id for e in decision.executions}
        dates = _trade_dates(decision)
        for query, column, values in (
            ("set_chains", "chain", decision.chains),
            ("set_withheld", "withheld", decision.withheld),
        ):
            changed = [
                {"execution_id": key, "trade_date": dates[key], column: value or None}
                for key, value in values.items()
                if key not in inserted
            ]
            if changed:
                await self._execute_json(query, changed)
        if decision.metrics_changed:
            await self._execute_json("change_metrics", decision.metrics_changed)
        if decision.metrics_gone:
            await self._connection.execute(_SQL["delete_metrics"], decision.metrics_gone)
        if decision.breaks:
            await self._execute_json("open_breaks", decision.breaks)
        if decision.breaks_ended:
            await self._connection.execute(_SQL["end_breaks"], decision.breaks_ended)
        if decision.duplicates:
            await self._execute_json("count_duplicates", decision.duplicates)

    async def _execute_json(self, query: str, values: object) -> None:
        await self._connection.execute(_SQL[query], _json(values).decode())

    async def _advance(self, positions: Iterable[Position]) -> None:
        latest: dict[tuple[str, str], Position] = {}
        for position in positions:
            known = latest.get((position.feed, position.stream))
            if known is None or known.incarnation != position.incarnation or known.value < position.value:
                latest[position.feed, position.stream] = position
        if not latest:
            return
        wanted = [
            {"feed": p.feed, "stream": p.stream, "incarnation": p.incarnation, "position": p.value}
            for p in latest.values()
        ]
        moved = await self._connection.fetch(_SQL["advance_positions"], _json(wanted).decode())
        if len(moved) != len(wanted):
            stuck = latest.keys() - {(row["feed"], row["stream"]) for row in moved}
            raise PositionWentBackError(
                f"positions only grow: {sorted(stuck)} would go back to "
                f"{[latest[key].value for key in sorted(stuck)]}"
            )

    async def _ensure_days(self, decision: Decision) -> None:
        today = datetime.now(UTC).date()
        wanted = {c.report.trade_date for c in decision.fills}
        wanted.update(e.trade_date for e in decision.executions)
        wanted.update(utc_date(s.at_ns) for s in decision.snapshots)
        wanted.add(today)
        fresh = {
            day for day in wanted - self._days if today - _PARTITION_REACH <= day <= today + timedelta(days=2)
        }
        if fresh:
            await self._connection.execute(_SQL["ensure_partitions"], sorted(fresh))
        self._days |= wanted


def _trade_dates(decision: Decision) -> dict[str, date]:
    """Trade dates of the executions of every order of the decision, where rows of old ones change."""
    if not decision.chains and not decision.withheld:
        return {}
    return {e.execution_id: e.trade_date for order in decision.orders.values() for e in order.executions.values()}
