"""Which failed runs are alerts, and what ends them; on a real Dagster instance."""

import dagster as dg
import pytest

from sensors.alerting import Notice, State
from sensors.failed_runs import alert_of, failed_runs, recovered_runs, was_failing


@pytest.mark.parametrize(
    ("tags", "subject"),
    [
        pytest.param({}, "derive_day", id="a job without days"),
        pytest.param({"dagster/partition": "2026-11-23"}, "derive_day 2026-11-23", id="a day"),
        pytest.param({"dagster/will_retry": "false"}, "derive_day", id="its last attempt"),
        pytest.param({"dagster/will_retry": "true"}, None, id="it is started again by itself"),
    ],
)
def test_alert_of(tags: dict[str, str], subject: str | None) -> None:
    alert = alert_of("derive_day", tags, "0123456789", "Postgres\n is away " * 100, 5.0)
    assert (alert.subject if alert is not None else None) == subject
    if alert is not None:
        assert "Postgres is away" in alert.summary
        assert len(alert.summary) < 400


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([], False),
        (["SUCCESS", "FAILURE"], False),
        (["FAILURE", "SUCCESS"], True),
        (["STARTED", "QUEUED", "FAILURE"], True),
        (["CANCELED", "FAILURE"], True),
        (["CANCELED"], False),
    ],
)
def test_was_failing(earlier: list[str], expected: bool) -> None:
    assert was_failing(earlier) is expected


class Recording:
    def __init__(self) -> None:
        self.told: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.told.append(notice)


@dg.op(config_schema={"fail": bool})
def work(context: dg.OpExecutionContext) -> None:
    if context.op_config["fail"]:
        raise dg.Failure("no ledger at nowhere")


@dg.job
def some_job() -> None:
    work()


def run(instance: dg.DagsterInstance, *, fail: bool) -> dg.ExecuteInProcessResult:
    config = {"ops": {"work": {"config": {"fail": fail}}}}
    return some_job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def test_a_failure_is_told_and_the_next_success_ends_it_once() -> None:
    alerts = Recording()
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run(instance, fail=True)
        failure = dg.build_run_status_sensor_context(
            "failed_runs",
            dagster_instance=instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
            resources={"alerts": alerts},
        ).for_run_failure()
        failed_runs(failure)
        for _ in range(2):
            good = run(instance, fail=False)
            recovered_runs(
                dg.build_run_status_sensor_context(
                    "recovered_runs",
                    dagster_instance=instance,
                    dagster_run=good.dagster_run,
                    dagster_event=good.get_run_success_event(),
                    resources={"alerts": alerts},
                )
            )
    assert [n.state for n in alerts.told] == [State.RAISED, State.RESOLVED]
    raised, resolved = (n.alert for n in alerts.told)
    assert raised.key == resolved.key == "run-failed/some_job"
    assert "no ledger at nowhere" in raised.summary or "work" in raised.summary
