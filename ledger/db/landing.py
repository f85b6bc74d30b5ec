"""The landing transaction: rows and feed positions in one commit.

A small batch is one statement, ``execution.land`` with one jsonb parameter; of a large one the new rows go by
binary COPY straight into the tables first, in the same transaction. Both are optimistic: an identity that is
already there is a primary key violation, the transaction rolls back, ``LandingConflictError`` says so, and the
caller loads what the database knows and decides the batch again. One path decides what a duplicate is; the
database only refuses to be wrong.

A landing that is done under the writer's lease carries its token, and is refused once another process has taken
the lease (``ledger.db.leases``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from msgspec.structs import astuple

from ledger import clocks, faultpoints
from ledger.db import leases, rows
from ledger.db.errors import LandingConflictError, LeaseLostError, PositionWentBackError
from ledger.db.failures import explained
from ledger.db.numerics import use_numerics
from ledger.db.sql import load_queries
from ledger.db.tables import SCHEMA
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from ledger.db.desk import Answers
    from ledger.domain.decision import Decision
    from ledger.domain.delay_rows import DelayRows
    from ledger.domain.records import Position

_SQL = load_queries("landing")
_PARTITION_REACH = timedelta(days=35)  # older days share the default partition: late facts are few
_DAYS_AHEAD = 3
# Measured in place: up to here one statement is quicker (0.9 ms for one fill against 2.4 ms in five COPYs), from
# here on COPY costs less.
_ONE_STATEMENT_ROWS = 150
_WENT_BACK = "EA001"  # raised by execution.land
_json = msgspec.json.encode

Records = tuple[Sequence[str], list[rows.Row]]  # columns, rows


class Landing:
    """One writer's connection. ``land`` is called by one task at a time."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._days: set[date] = set()
        self._lease: dict[str, object] | None = None
        self._has_numerics = False

    @property
    def is_open(self) -> bool:
        """Whether the session is still there."""
        return not self._connection.is_closed()

    async def take_lease(self, name: str, seconds: float = leases.UNATTENDED_SECONDS, last: int = 0) -> int:
        """Become the one writer of ``name`` for so many seconds, and longer where it is renewed; give the token.

        ``last`` is the token that this process had last.

        From then on every landing is refused that comes after another has taken the lease. Raises
        ``LeaseLostError`` while another process has it, ``LedgerUnavailableError`` when the connection is lost.
        """
        token = await leases.take(self._connection, name, seconds, last)
        self._lease = {"writer": name, "token": token}
        return token

    async def land(
        self, decision: Decision, positions: Iterable[Position] = (), answers: Answers | None = None
    ) -> None:
        """Write a decision, the positions it was taken at and the answers to the desk, in one transaction.

        Raises ``LandingConflictError`` when rows are already there, ``PositionWentBackError`` when a position
        would shrink, ``LeaseLostError`` when another process has the lease, ``LedgerUnavailableError`` when
        Postgres is away or has rolled back (the commit may have happened: load and decide again),
        ``LedgerRefusedError`` when a value cannot be stored at all.
        """
        inserts, document = _inserts(decision), _changes(decision, positions)
        if self._lease is not None:
            document["lease"] = self._lease
        if answers is not None:
            document |= _answers(answers)
        bulk = sum(len(records) for _, records in inserts.values()) > _ONE_STATEMENT_ROWS
        if not bulk:
            document |= {table: rows.as_objects(*found) for table, found in inserts.items() if found[1]}
        with explained("landing"):
            try:
                await self._ensure_days(decision)
                faultpoints.at("landing.before")
                if bulk:
                    if not self._has_numerics:
                        await use_numerics(self._connection)
                        self._has_numerics = True
                    async with self._connection.transaction():
                        await self._copy(inserts)
                        await self._land_document(document, decision.delays)
                        faultpoints.at("landing.before_commit")
                else:
                    await self._land_document(document, decision.delays)
                faultpoints.at("landing.after_commit")
            except asyncpg.UniqueViolationError as error:
                raise LandingConflictError(str(error)) from error
            except asyncpg.PostgresError as error:
                if error.sqlstate == _WENT_BACK:
                    raise PositionWentBackError(str(error)) from error
                if error.sqlstate == leases.LOST:
                    raise LeaseLostError(str(error)) from error
                raise

    async def _copy(self, inserts: Mapping[str, Records]) -> None:
        for table, (columns, records) in inserts.items():
            if records:
                await self._connection.copy_records_to_table(
                    table,
                    schema_name=SCHEMA,
                    columns=columns,
                    records=faultpoints.rows("landing.in_copy", records),
                )
                faultpoints.at("landing.copied")

    async def _land_document(self, document: dict[str, object], delays: DelayRows | None) -> None:
        if delays is not None:
            await self._connection.execute(
                _SQL["land_with_delays"], _json(document).decode(), _json(delays).decode()
            )
        elif document:
            await self._connection.execute(_SQL["land"], _json(document).decode())

    async def _ensure_days(self, decision: Decision) -> None:
        """Make the partitions of the days that are written to, and of the days to come long before they begin.

        Making one waits for whoever reads the table, a long derivation say: at midnight it must be there. The
        server's clock, which dates the events, may also be past midnight before ours.
        """
        today = utc_date(clocks.time_ns())
        wanted = {c.report.trade_date for c in decision.fills}
        wanted.update(e.trade_date for e in decision.executions)
        wanted.update(c.report.trade_date for c in decision.order_reports)
        wanted.update(utc_date(s.at_ns) for s in decision.snapshots)
        if not {today, today + timedelta(days=1)} <= self._days:
            wanted.update(today + timedelta(days=ahead) for ahead in range(_DAYS_AHEAD + 1))
        first, last = today - _PARTITION_REACH, today + timedelta(days=_DAYS_AHEAD)
        fresh = {day for day in wanted - self._days if first <= day <= last}
        if fresh:
            await self._connection.execute(_SQL["ensure_partitions"], sorted(fresh))
            faultpoints.at("landing.days")
            self._days |= fresh


def _inserts(decision: Decision) -> dict[str, Records]:
    """Rows of the tables that COPY may write: those that only ever grow."""
    chains, withheld = decision.chains, decision.withheld
    return {
        "orders": (rows.ORDER_COLUMNS, list(map(astuple, decision.intents))),
        "benchmark_snapshots": (rows.SNAPSHOT_COLUMNS, [rows.snapshot_row(s) for s in decision.snapshots]),
        "order_references": (rows.LEARNED_COLUMNS, list(map(astuple, decision.learned))),
        "fills": (rows.FILL_COLUMNS, [rows.captured_row(c) for c in decision.fills]),
        "executions": (
            rows.EXECUTION_COLUMNS,
            [
                rows.execution_row(e, chains.get(e.execution_id), withheld.get(e.execution_id))
                for e in decision.executions
            ],
        ),
        "slippage_metrics": (rows.METRIC_COLUMNS, list(map(astuple, decision.metrics))),
        "audit_events": (rows.EVENT_COLUMNS, list(map(astuple, decision.events))),
    }


def _changes(decision: Decision, positions: Iterable[Position]) -> dict[str, object]:
    """Everything else of the transaction, by the keys of ``execution.land``; empty ones are left out."""
    inserted = {e.execution_id for e in decision.executions}
    dates = _trade_dates(decision)
    document: dict[str, object] = {
        "fills_pending": rows.as_objects(rows.PENDING_COLUMNS, [rows.pending_row(p) for p in decision.pending]),
        "order_reports": rows.as_objects(
            rows.ORDER_REPORT_COLUMNS, [rows.captured_row(c) for c in decision.order_reports]
        ),
        "order_standings": decision.standings,
        "order_totals": decision.totals,
        "break_resolutions": decision.resolutions,
        "pending_overdue": decision.pending_overdue,
        "letters_ended": [
            {"dead_letter_id": letter_id, "outcome": outcome} for letter_id, outcome in decision.letters_ended
        ],
        "dead_letters": rows.as_objects(
            rows.DEAD_LETTER_COLUMNS, [rows.dead_letter_row(d) for d in decision.dead_letters]
        ),
        "chains": [
            {"execution_id": key, "trade_date": dates[key], "chain": chain}
            for key, chain in decision.chains.items()
            if key not in inserted
        ],
        "withheld": [
            {"execution_id": key, "trade_date": dates[key], "withheld": withheld or None}
            for key, withheld in decision.withheld.items()
            if key not in inserted
        ],
        "pending_gone": decision.pending_gone,
        "wordings_gone": decision.wordings_gone,
        "metrics_gone": decision.metrics_gone,
        "executions_changed": decision.executions_changed,
        "metrics_changed": decision.metrics_changed,
        "breaks": decision.breaks + decision.breaks_changed,
        "breaks_ended": decision.breaks_ended,
        "duplicates": decision.duplicates,
        "positions": _latest(positions),
    }
    if decision.controls is not None:
        controls = decision.controls
        document |= {
            "halts": controls.halts,
            "halts_ended": controls.halts_ended,
            "clock_alerts": controls.alerts,
            "clock_alerts_ended": controls.alerts_ended,
            "halt_requests_done": controls.answered,
        }
    if decision.health is not None:
        health = decision.health
        document |= {
            "feed_outages": health.outages,
            "feed_outages_ended": health.outages_ended,
            "feed_switches": health.switches,
            "feed_switches_ended": health.switches_ended,
        }
    if decision.completeness is not None:
        document["completeness"] = decision.completeness
    return {key: value for key, value in document.items() if value}


def _answers(answers: Answers) -> dict[str, object]:
    document: dict[str, object] = {"desk_outcomes": answers.verdicts, "replays_done": answers.replays}
    return {key: value for key, value in document.items() if value}


def _latest(positions: Iterable[Position]) -> list[Position]:
    """The last position of each stream: a batch's positions come in the order of their streams."""
    latest: dict[tuple[str, str], Position] = {}
    for position in positions:
        known = latest.get((position.feed, position.stream))
        if known is None or known.incarnation != position.incarnation or known.value < position.value:
            latest[position.feed, position.stream] = position
    return list(latest.values())


def _trade_dates(decision: Decision) -> dict[str, date]:
    """Trade dates of the executions of every order of the decision, where rows of old ones change."""
    if not decision.chains and not decision.withheld:
        return {}
    return {e.execution_id: e.trade_date for order in decision.orders.values() for e in order.executions.values()}
