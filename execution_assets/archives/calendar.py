"""Which days are archived by the calendar: all that are over, had records, and have no archive. ``plan`` decides.

The failures it prevents: a day on which nothing was executed, and whose orders, dead letters and audit events were
therefore never archived; a day that was missed while the daemon, the store or the keys were away, for good; an
archive of a day that a blocking check still holds back.
"""

from collections.abc import Iterable
from datetime import date

import dagster as dg

from execution_assets.archives.assets import ArchiveResource, audit_archive, fill_archive
from execution_assets.archives.errors import ArchiveSettingsError
from execution_assets.archives.ledger import connect
from execution_assets.archives.records import AUDIT, FILLS, SQL
from execution_assets.resources import LedgerResource
from ledger.db.urls import plain_url

CRON = "40 * * * *"  # between the ticks of automation.ARCHIVE_CRON, which follows late fills
DAYS_PER_TICK = 5
_LOOKED_AT = 400  # days back; older ones are a backfill, and archive verify names them
_UNFINISHED = (
    dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING,
)  # fmt: skip
_ASSETS = {FILLS: fill_archive, AUDIT: audit_archive}

archive_days_job = dg.define_asset_job(
    "archive_days",
    selection=dg.AssetSelection.assets(*_ASSETS.values()),
    executor_def=dg.in_process_executor,
    description="Archive a day that has no archive yet.",
    tags={"dagster/max_retries": "2"},
)


def plan(found: Iterable[tuple[str, date, bool, bool]], most: int = DAYS_PER_TICK) -> list[tuple[str, date]]:
    """Decide which days of which class to archive now, the oldest first.

    Each of ``found`` has no archive: its class, its day, whether its executions wait to be derived or checked,
    whether a blocking check of the day fails. Audit events are facts of their own and wait for nothing.
    """
    ready = [(day, name) for name, day, underived, blocked in found if name == AUDIT or not (underived or blocked)]
    return [(name, day) for day, name in sorted(ready)[:most]]


@dg.schedule(
    job=archive_days_job,
    cron_schedule=CRON,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Archives the days that are over and have no archive, also those on which nothing was executed.",
)
def archive_calendar(
    context: dg.ScheduleEvaluationContext, ledger: LedgerResource, archive: ArchiveResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask Postgres for what has no archive, and for a run of each."""
    try:
        archive.settings()
    except ArchiveSettingsError as error:
        return dg.SkipReason(str(error))
    running = dg.RunsFilter(job_name=archive_days_job.name, statuses=list(_UNFINISHED))
    busy = context.instance.get_runs_count(running)
    if busy:
        return dg.SkipReason(f"{busy} runs of the last tick are not over")
    with connect(plain_url(ledger.url)) as connection:
        found = connection.execute(SQL["unarchived"].encode(), {"days": _LOOKED_AT}).fetchall()
    due = plan(found)
    if not due:
        return dg.SkipReason(f"{len(found)} days without an archive, and their checks hold them all back")
    # of this tick: a run that failed is asked for again by the next
    tick = context.scheduled_execution_time.isoformat()
    return [
        dg.RunRequest(
            run_key=f"{name} {day} {tick}", partition_key=day.isoformat(), asset_selection=[_ASSETS[name].key]
        )
        for name, day in due
    ]
