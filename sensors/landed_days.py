"""Newly landed days become runs. ``plan_days`` decides; the sensor reads, asks it, and hands over its answer.

The failures it prevents: a day that is asked for at every tick while fills keep coming (runs would queue faster
than they end); a late fill or bust of an old day that nobody derives; a day lost because a tick asked for too
many at once; a run key used up by a run that failed, so that the day is never asked for again.
"""

import os
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import msgspec

from execution_assets.days import first_date
from execution_assets.facts import rows_of
from execution_assets.jobs import DERIVE_DAY, derive_day_job
from execution_assets.resources import LedgerResource
from ledger.domain.times import day_start

EVERY_VARIABLE = "EXECUTION_AGENT_DERIVE_EVERY_SECONDS"
TICK_VARIABLE = "EXECUTION_AGENT_SENSOR_SECONDS"
DAYS_PER_TICK = 5  # requests a tick; the rest wait for the next, the longest waiting first
DAYS_REMEMBERED = 400
FIRST_LOOK_SECONDS = 7 * 86_400  # without a cursor: what landed before is for a backfill
REASON_TAG = "execution_agent/reason"  # of a run: why it was asked for
_PARTITION_TAG = "dagster/partition"
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


class LandedDay(msgspec.Struct, frozen=True):
    """A day something landed for. ``high_water``: its last landing (us), 0: none since the cursor."""

    day: date
    high_water: int
    pending: int


class KnownDay(msgspec.Struct, frozen=True):
    """What the cursor remembers of a day; ``asked`` is the mark of the last request."""

    high_water: int = 0
    pending: int = 0
    asked: str = ""
    asked_at: float = 0.0

    @property
    def mark(self) -> str:
        """Say up to where the day has landed: another mark is another state of its facts."""
        return f"{self.high_water}.{self.pending}"


class Cursor(msgspec.Struct, frozen=True):
    """Up to where landings were read (us), and the days seen."""

    since: int = 0
    days: dict[date, KnownDay] = {}


class Plan(msgspec.Struct, frozen=True):
    """What a tick asks for: (day, run key) pairs, the next cursor, and how many days must wait."""

    requests: list[tuple[date, str]]
    cursor: Cursor
    waiting: int


def plan_days(
    cursor: Cursor,
    rows: Iterable[LandedDay],
    now: float,
    *,
    every: float = 15.0,
    busy: frozenset[date] = frozenset(),
    first: date = date.min,
    limit: int = DAYS_PER_TICK,
) -> Plan:
    """Decide which days to derive.

    A day is asked for when its mark differs from the one it was last asked with, no run of it is unfinished
    (``busy``), and ``every`` seconds have passed since; never before ``first`` nor after today, and at most
    ``limit`` a tick, those asked for longest ago first.
    """
    days, since = _taken_up(cursor, rows)
    today = datetime.fromtimestamp(now, UTC).date()
    changed = [
        day
        for day, known in days.items()
        if known.mark != known.asked and first <= day <= today and (known.high_water or known.asked)
    ]
    ready = [day for day in changed if day not in busy and now - days[day].asked_at >= every]
    chosen = sorted(ready, key=lambda day: (days[day].asked_at, today - day))[:limit]
    for day in chosen:
        days[day] = msgspec.structs.replace(days[day], asked=days[day].mark, asked_at=now)
    return Plan(
        [(day, f"{day}:{days[day].mark}") for day in chosen],
        Cursor(since, _remembered(days)),
        len(changed) - len(chosen),
    )


def _taken_up(cursor: Cursor, rows: Iterable[LandedDay]) -> tuple[dict[date, KnownDay], int]:
    """Give the days with what has landed for them, and up to where landings were read.

    No more days wait than a cursor remembers: of a larger backlog those that landed first are taken up, and what
    landed later is read again.
    """
    found = {row.day: row for row in rows}
    days = {day: _with(known, found.get(day)) for day, known in cursor.days.items()}
    room = max(0, DAYS_REMEMBERED - sum(known.mark != known.asked for known in days.values()))
    fresh = sorted((row for row in found.values() if row.day not in days), key=lambda row: row.high_water)
    landed = [row for row in fresh if row.high_water]
    taken = (
        fresh if len(landed) <= room else _whole_instants(landed, max(0, room))
    )  # what only pends can wait, too
    days |= {row.day: _with(KnownDay(), row) for row in taken}
    left = [row.high_water for row in landed if row.day not in days]
    since = min(left) - 1 if left else max((known.high_water for known in days.values()), default=0)
    return days, max(cursor.since, since)


def _whole_instants(landed: list[LandedDay], room: int) -> list[LandedDay]:
    """Give the first that there is room for, but of an instant all or none: the cursor is an instant."""
    last = landed[room].high_water
    first = [row for row in landed[:room] if row.high_water < last]
    # an instant larger than all the memory is taken up whole once nothing else waits
    return first if first or room < DAYS_REMEMBERED else [row for row in landed if row.high_water <= last]


def _with(known: KnownDay, row: LandedDay | None) -> KnownDay:
    if row is None:  # a day that no longer pends is not in the rows
        return msgspec.structs.replace(known, pending=0)
    return msgspec.structs.replace(known, high_water=max(known.high_water, row.high_water), pending=row.pending)


def _remembered(days: Mapping[date, KnownDay]) -> dict[date, KnownDay]:
    """Bound the cursor: all days that wait (taken up only as far as there is room), then the newest."""
    ranked = sorted(days, key=lambda day: (days[day].mark != days[day].asked, day), reverse=True)
    waiting = sum(known.mark != known.asked for known in days.values())
    return {day: days[day] for day in sorted(ranked[: max(DAYS_REMEMBERED, waiting)])}


def read_cursor(stored: str | None, now: float) -> tuple[Cursor, str | None]:
    """Read what the last tick wrote; without it begin a week back, and say so where it cannot be read.

    To begin anew is safe: a day whose mark is the one of its last request has its run key already.
    """
    fresh = Cursor(int((now - FIRST_LOOK_SECONDS) * 1_000_000))
    if not stored:
        return fresh, None
    try:
        return msgspec.json.decode(stored, type=Cursor), None
    except msgspec.DecodeError as error:
        return fresh, (
            f"the cursor is not one of this version ({error}): started over, a week back; "
            "older days that landed since: execution-agent backfill"
        )


def write_cursor(cursor: Cursor) -> str:
    """Write it for the next tick."""
    return msgspec.json.encode(cursor).decode()


def _landed(ledger: LedgerResource, since: int) -> list[LandedDay]:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=since)
    with ledger.reading() as connection:
        return [
            LandedDay(row["day"], row["high_water"], row["pending"])
            for row in rows_of(connection, "landed_days", {"since": moment})
        ]


def _busy(context: dg.SensorEvaluationContext) -> frozenset[date]:
    records = context.instance.get_run_records(
        dg.RunsFilter(job_name=DERIVE_DAY, statuses=_UNFINISHED), limit=1_000
    )
    tags = (record.dagster_run.tags.get(_PARTITION_TAG) for record in records)
    return frozenset(date.fromisoformat(tag) for tag in tags if tag is not None)


def _materializations(ledger: LedgerResource, plan: Plan) -> list[dg.AssetMaterialization]:
    """Report the landed tables that the requested days' runs will read: one event a table and day."""
    events: list[dg.AssetMaterialization] = []
    with ledger.reading() as connection:
        for day, _ in plan.requests:
            start = day_start(day.year, day.month, day.day)
            bounds = {"day": day, "start_ns": start, "end_ns": start + 86_400 * 1_000_000_000}
            newest = next(rows_of(connection, "newest_of_day", bounds))
            known = plan.cursor.days[day]
            landed_at = datetime.fromtimestamp(known.high_water / 1e6, UTC).isoformat()
            events.append(_event("fills", day, {"landed_up_to": landed_at, "pending": known.pending}))
            if newest["newest_order_ns"] is not None:
                events.append(_event("orders", day, {"newest_routed_ns": str(newest["newest_order_ns"])}))
            if newest["newest_snapshot_ns"] is not None:
                newest_ns = str(newest["newest_snapshot_ns"])
                events.append(_event("benchmark_snapshots", day, {"newest_ns": newest_ns}))
    return events


def _event(asset: str, day: date, metadata: dict[str, Any]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(asset, partition=day.isoformat(), metadata=metadata)


def _seconds(variable: str, default: str) -> float:
    value = os.environ.get(variable, default)
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{variable}={value!r}: a number of seconds is required") from None


@dg.sensor(
    job=derive_day_job,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=int(_seconds(TICK_VARIABLE, "5")),
    description="Asks for every trading date that reports landed for, also late ones, at most every 15 s a day.",
)
def landed_days(context: dg.SensorEvaluationContext, ledger: LedgerResource) -> dg.SensorResult:
    """Turn newly landed days into runs, and show the landed tables as materialized."""
    now = time.time()
    cursor, problem = read_cursor(context.cursor, now)
    if problem is not None:
        context.log.warning("%s", problem)
    today = datetime.fromtimestamp(now, UTC).date()
    plan = plan_days(
        cursor,
        _landed(ledger, cursor.since),
        now,
        every=_seconds(EVERY_VARIABLE, "15"),
        busy=_busy(context),
        first=first_date(),
    )
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=key,
                partition_key=day.isoformat(),
                tags={REASON_TAG: "landed" if day >= today else "late arrivals"},
            )
            for day, key in plan.requests
        ],
        asset_events=_materializations(ledger, plan) if plan.requests else [],
        cursor=write_cursor(plan.cursor),
        skip_reason=None if plan.requests else f"{plan.waiting} changed days wait; none is due",
    )
