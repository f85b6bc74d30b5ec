"""How long Dagster's own event log is kept: the job that prunes it, every night.

Dagster never shrinks its event log; a trading day adds some 50,000 rows (every tick of a changed day reports
landed tables). What must be kept for years is not there: executions, breaks and audit events are in the ledger's
tables. The last materialization of every partition and the last evaluation of every check of every day stay,
whatever their age: lineage and automation ask for them.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec
from sqlalchemy import text

from execution_assets.settings import RETENTION_VARIABLE, positive

BATCH = 5_000  # rows a statement: a lock of some milliseconds, and a night's work is killed without loss
SECONDS_AT_MOST = 1_800.0

_MATERIALIZED = ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION")
_KEPT = (*_MATERIALIZED, "ASSET_CHECK_EVALUATION")

# by what is deleted; each statement deletes one batch
_STATEMENTS = {
    "log lines and step events": """
        DELETE FROM event_logs WHERE id IN (
            SELECT id FROM event_logs
            WHERE timestamp < :before AND (dagster_event_type IS NULL OR dagster_event_type <> ALL(:kept))
            ORDER BY id LIMIT :batch)""",
    "replaced materializations": """
        DELETE FROM event_logs WHERE id IN (
            SELECT id FROM event_logs old
            WHERE old.timestamp < :before AND old.dagster_event_type = ANY(:materialized)
              AND EXISTS (SELECT 1 FROM event_logs newer
                          WHERE newer.asset_key = old.asset_key AND newer.id > old.id
                            AND newer.dagster_event_type = old.dagster_event_type
                            AND newer.partition IS NOT DISTINCT FROM old.partition)
            ORDER BY id LIMIT :batch)""",
    "replaced check evaluations": """
        DELETE FROM event_logs WHERE id IN (
            SELECT old.evaluation_event_storage_id FROM asset_check_executions old
            JOIN event_logs e ON e.id = old.evaluation_event_storage_id
            WHERE e.timestamp < :before
              AND EXISTS (SELECT 1 FROM asset_check_executions newer
                          WHERE newer.asset_key = old.asset_key AND newer.check_name = old.check_name
                            AND newer.partition IS NOT DISTINCT FROM old.partition
                            AND newer.id > old.id AND newer.evaluation_event_storage_id IS NOT NULL)
            ORDER BY 1 LIMIT :batch)""",
    "rows of those evaluations": """
        DELETE FROM asset_check_executions WHERE id IN (
            SELECT old.id FROM asset_check_executions old
            WHERE old.evaluation_event_timestamp < :before
              AND EXISTS (SELECT 1 FROM asset_check_executions newer
                          WHERE newer.asset_key = old.asset_key AND newer.check_name = old.check_name
                            AND newer.partition IS NOT DISTINCT FROM old.partition
                            AND newer.id > old.id AND newer.evaluation_event_storage_id IS NOT NULL)
            ORDER BY old.id LIMIT :batch)""",
    "tags of what is gone": """
        DELETE FROM asset_event_tags WHERE id IN (
            SELECT t.id FROM asset_event_tags t
            WHERE t.event_timestamp < :before AND NOT EXISTS (SELECT 1 FROM event_logs e WHERE e.id = t.event_id)
            ORDER BY t.id LIMIT :batch)""",
}


class Pruned(msgspec.Struct, frozen=True):
    """How many rows went, by what they were, and whether all of them did."""

    rows: dict[str, int]
    is_complete: bool


def prune(
    instance: dg.DagsterInstance,
    before: datetime,
    *,
    seconds: float = SECONDS_AT_MOST,
    batch: int = BATCH,
    log: Callable[[str], None] = lambda _: None,
) -> Pruned:
    """Delete what is older than ``before``, a batch a transaction, until done or out of time."""
    deadline = time.monotonic() + seconds
    from dagster_postgres import PostgresEventLogStorage  # noqa: PLC0415  not needed to load the definitions

    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise dg.Failure("the event log is not in Postgres: dagster.yaml of this project keeps it there")
    rows = dict.fromkeys(_STATEMENTS, 0)
    parameters = {"before": before.replace(tzinfo=None), "batch": batch}
    for what, statement in _STATEMENTS.items():
        named = {"kept": list(_KEPT)} if ":kept" in statement else {}
        named |= {"materialized": list(_MATERIALIZED)} if ":materialized" in statement else {}
        while True:
            if time.monotonic() >= deadline:
                return Pruned(rows, is_complete=False)
            with storage.index_transaction() as connection:
                gone = connection.execute(text(statement), {**parameters, **named}).rowcount
            rows[what] += gone
            log(f"{what}: {rows[what]} rows deleted")
            if gone < batch:
                break
    return Pruned(rows, is_complete=True)


@dg.op(pool="event_log_retention", description="Deletes what is older than the retention from the event log.")
def prune_events(context: dg.OpExecutionContext) -> None:
    """Prune, and say what went."""
    days = positive(RETENTION_VARIABLE)
    before = datetime.now(UTC) - timedelta(days=float(days))
    pruned = prune(context.instance, before, log=context.log.debug)
    context.add_output_metadata({**pruned.rows, "older_than_days": float(days), "complete": pruned.is_complete})
    if not pruned.is_complete:
        context.log.warning("out of time after %d s: the rest goes the next night", SECONDS_AT_MOST)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={"dagster/max_retries": "1"},
    description="Prune Dagster's event log: keep what lineage needs and what is younger than the retention.",
)
def prune_event_log() -> None:
    """Prune the event log."""
    prune_events()


nightly_pruning = dg.ScheduleDefinition(
    name="nightly_pruning",
    job=prune_event_log,
    cron_schedule="17 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Prunes Dagster's event log every night at 03:17 UTC.",
)
