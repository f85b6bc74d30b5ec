"""Runs that failed become alerts, and a later success of the same work ends them. Two pure functions decide.

The failures it prevents: an alert for a run that is tried again by itself; a failed day that nobody hears of; an
alert that stays open although the day was derived since.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from sensors.alerting import Alert, AlertSink, State, make_notice

_PARTITION_TAG = "dagster/partition"
_WILL_RETRY = "dagster/will_retry"
_FAILED = frozenset({"FAILURE", "SUCCESS"})
_SHOWN = 300
_LOOK_BACK = 20  # runs of the same work that are looked through for a failed one


def alert_of(job: str, tags: Mapping[str, str], run_id: str, message: str, at: float) -> Alert | None:
    """Give the alert of a failed run; None where it is started again by itself."""
    if tags.get(_WILL_RETRY, "").lower() == "true":
        return None
    subject = subject_of(job, tags)
    said = " ".join(message.split())[:_SHOWN]
    return Alert(
        "run-failed", subject, f"{subject} failed: {said}", at, f"run {run_id[:8]}", "a run that succeeds",
        "Open the run in Dagster: its first error names the cause. Mend it, then re-execute the run from failure.",
        "docs/alerts.md#run-failed",
    )  # fmt: skip


def subject_of(job: str, tags: Mapping[str, str]) -> str:
    """Say what a run worked at: a later run of the same ends its alert."""
    partition = tags.get(_PARTITION_TAG)
    return job if partition is None else f"{job} {partition}"


def was_failing(earlier: Sequence[str]) -> bool:
    """Say whether the work had failed before; ``earlier``: states of its earlier runs, the newest first."""
    finished = [state for state in earlier if state in _FAILED]
    return bool(finished) and finished[0] == "FAILURE"


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=False,
    minimum_interval_seconds=15,
    description="Tells the alerts' sink of every run that failed and is not tried again by itself.",
)
def failed_runs(context: dg.RunFailureSensorContext, alerts: dg.ResourceParam[AlertSink]) -> None:
    """Tell of a failed run."""
    run = context.dagster_run
    record = context.instance.get_run_record_by_id(run.run_id)
    assert record is not None, "a run that failed is recorded"
    ended = record.end_time or 0.0
    message = context.failure_event.message or "no message"
    # its tags now: whether it is started again is written after it has failed
    alert = alert_of(run.job_name, record.dagster_run.tags, run.run_id, message, ended)
    if alert is not None:
        alerts.send(make_notice(State.RAISED, alert, ended))


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=False,
    minimum_interval_seconds=15,
    description="Ends the alert of a failed run when a later run of the same job and day succeeds.",
)
def recovered_runs(context: dg.RunStatusSensorContext, alerts: dg.ResourceParam[AlertSink]) -> None:
    """Tell of a run that succeeded after a failed one."""
    run, instance = context.dagster_run, context.instance
    own = instance.get_run_record_by_id(run.run_id)
    assert own is not None, "a run that succeeded is recorded"
    partition = run.tags.get(_PARTITION_TAG)
    tags = {} if partition is None else {_PARTITION_TAG: partition}
    records = instance.get_run_records(dg.RunsFilter(job_name=run.job_name, tags=tags), limit=_LOOK_BACK)
    earlier = [r for r in records if r.storage_id < own.storage_id]
    if not was_failing([r.dagster_run.status.value for r in earlier]):
        return
    failed = next(r for r in earlier if r.dagster_run.status is dg.DagsterRunStatus.FAILURE)
    ended = own.end_time or 0.0
    alert = alert_of(
        run.job_name, tags, failed.dagster_run.run_id, "it has succeeded since", failed.end_time or ended
    )
    assert alert is not None, "no tag says that it is started again"
    alerts.send(make_notice(State.RESOLVED, alert, ended))
