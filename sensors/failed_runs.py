"""Runs that failed become alerts, and a later success of the same work ends them. Pure functions decide.

The failures it prevents: an alert for a run that is tried again by itself; a failed day that nobody hears of; an
alert that stays open although the day was derived since, or that ends because other assets of the day were made.
"""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from sensors.alerting import Alert, AlertSink, State, make_notice

_PARTITION_TAG = "dagster/partition"
_FIRST_TAG, _LAST_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_STEPS_TAG = "dagster/step_selection"  # of a run of some steps, picked by hand
_ASSET_JOB = "__ASSET_JOB"  # what Dagster names the job of every run of some assets
# of a run that goes on from where another failed: it is at the other's work, with what is left of its selection
_RESUMES = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
_WILL_RETRY = "dagster/will_retry"
_FAILED = frozenset({"FAILURE", "SUCCESS"})
_SHOWN = 300
_LOOK_BACK = 100  # runs of the same job and days that are looked through for a failed one of the same work


def alert_of(subject: str, tags: Mapping[str, str], run_id: str, message: str, at: float) -> Alert | None:
    """Give the alert of a failed run; None where it is started again by itself."""
    if will_retry(tags):
        return None
    said = " ".join(message.split())[:_SHOWN]
    return Alert(
        "run-failed", subject, f"{subject} failed: {said}", at, f"run {run_id[:8]}", "a run that succeeds",
        "Open the run in Dagster: its first error names the cause. Mend it, then re-execute the run from failure.",
        "docs/alerts.md#run-failed",
    )  # fmt: skip


def will_retry(tags: Mapping[str, str]) -> bool:
    """Say whether a failed run is started again by itself."""
    return tags.get(_WILL_RETRY, "").lower() == "true"


def subject_of(job: str, tags: Mapping[str, str], selection: Iterable[str] = ()) -> str:
    """Say what a run worked at: a later run of the same ends its alert.

    ``selection`` has the assets (else the checks) that were asked for.
    """
    asked = ", ".join(sorted(selection))
    what = job if not asked else asked if job == _ASSET_JOB else f"{job}: {asked}"
    if _STEPS_TAG in tags:
        what = f"{what} [{tags[_STEPS_TAG]}]"
    if _PARTITION_TAG in tags:
        return f"{what} {tags[_PARTITION_TAG]}"
    return f"{what} {tags[_FIRST_TAG]} to {tags[_LAST_TAG]}" if _FIRST_TAG in tags and _LAST_TAG in tags else what


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
    alert = alert_of(_subject(context.instance, run), record.dagster_run.tags, run.run_id, message, ended)
    if alert is not None:
        alerts.send(make_notice(State.RAISED, alert, ended))


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=False,
    minimum_interval_seconds=15,
    description="Ends the alert of a failed run when a later run of the same assets and days succeeds.",
)
def recovered_runs(context: dg.RunStatusSensorContext, alerts: dg.ResourceParam[AlertSink]) -> None:
    """Tell of a run that succeeded after a failed one."""
    run, instance = context.dagster_run, context.instance
    own = instance.get_run_record_by_id(run.run_id)
    assert own is not None, "a run that succeeded is recorded"
    subject = _subject(instance, run)
    days = {tag: run.tags[tag] for tag in (_PARTITION_TAG, _FIRST_TAG, _LAST_TAG) if tag in run.tags}
    finished = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    filters = dg.RunsFilter(job_name=run.job_name, tags=days, statuses=finished)
    earlier = [
        r
        for r in instance.get_run_records(filters, limit=_LOOK_BACK)
        if r.storage_id < own.storage_id
        and not will_retry(r.dagster_run.tags)  # nobody was told of it
        and _subject(instance, r.dagster_run) == subject
    ]
    if not was_failing([r.dagster_run.status.value for r in earlier]):
        return
    failed = next(r for r in earlier if r.dagster_run.status is dg.DagsterRunStatus.FAILURE)
    ended = own.end_time or 0.0
    alert = alert_of(subject, days, failed.dagster_run.run_id, "it has succeeded since", failed.end_time or ended)
    assert alert is not None, "no tag says that it is started again"
    alerts.send(make_notice(State.RESOLVED, alert, ended))


def _subject(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    asked = run
    if run.root_run_id is not None and any(run.tags.get(tag, "").lower() == "true" for tag in _RESUMES):
        asked = instance.get_run_by_id(run.root_run_id) or run
    assets = [key.to_user_string() for key in asked.asset_selection or ()]
    checks = [key.to_user_string() for key in asked.asset_check_selection or ()]
    return subject_of(run.job_name, run.tags, assets or checks)
