"""Newly landed days become runs. ``sensors.day_plan`` decides; the sensor reads, asks it, and does as it says."""

import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import msgspec
from sqlalchemy import Connection

from execution_assets.days import first_date
from execution_assets.facts import rows_of
from execution_assets.jobs import DERIVE_DAY, derive_day_job
from execution_assets.resources import LedgerResource
from ledger.domain.times import NANOS, day_start
from sensors.cursors import write_cursor
from sensors.day_plan import LandedDay, Plan, plan_days, read_cursor, reason_of

EVERY_VARIABLE = "EXECUTION_AGENT_DERIVE_EVERY_SECONDS"
TICK_VARIABLE = "EXECUTION_AGENT_SENSOR_SECONDS"
RECENT_DAYS = 7  # today and those before it: their newest order and snapshot are looked at in every tick
REASON_TAG = "execution_agent/reason"  # of a run: why it was asked for
_PARTITION_TAG = "dagster/partition"
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def _landed(ledger: LedgerResource, since: int, today: date) -> list[LandedDay]:
    """Ask for what landed since the cursor, and for the newest order and snapshot of each recent day."""
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=since)
    with ledger.reading() as connection:
        found = {
            row["day"]: LandedDay(row["day"], row["high_water"], row["pending"])
            for row in rows_of(connection, "landed_days", {"since": moment})
        }
        for day in (today - timedelta(days=n) for n in range(RECENT_DAYS)):
            routed, market = _newest(connection, day)
            if routed or market or day in found:
                row = found.get(day, LandedDay(day, 0, 0))
                found[day] = msgspec.structs.replace(row, routed=routed or 0, market=market or 0)
    return list(found.values())


def _newest(connection: Connection, day: date) -> tuple[int | None, int | None]:
    """Ask for the newest order and snapshot of a day (ns)."""
    start = day_start(day.year, day.month, day.day)
    bounds = {"day": day, "start_ns": start, "end_ns": start + 86_400 * NANOS}
    newest = next(rows_of(connection, "newest_of_day", bounds))
    return newest["newest_order_ns"], newest["newest_snapshot_ns"]


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
            routed, market = _newest(connection, day)
            known = plan.cursor.days[day]
            landed_at = datetime.fromtimestamp(known.high_water / 1e6, UTC).isoformat()
            events.append(_event("fills", day, {"landed_up_to": landed_at, "pending": known.pending}))
            if routed is not None:
                events.append(_event("orders", day, {"newest_routed_ns": str(routed)}))
            if market is not None:
                events.append(_event("benchmark_snapshots", day, {"newest_ns": str(market)}))
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
    description=(
        "Asks for every trading date that reports or orders landed for, also late ones, at most every 15 s a day; "
        "once more when the date is over and its figures are final."
    ),
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
        _landed(ledger, cursor.since, today),
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
                tags={REASON_TAG: reason_of(cursor.days.get(day), day, today)},
            )
            for day, key in plan.requests
        ],
        asset_events=_materializations(ledger, plan) if plan.requests else [],
        cursor=write_cursor(plan.cursor),
        skip_reason=None if plan.requests else f"{plan.waiting} changed days wait; none is due",
    )
