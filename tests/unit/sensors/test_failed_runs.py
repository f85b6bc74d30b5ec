"""Which failed runs are alerts, and what ends them; on a real Dagster instance."""

import dagster as dg
import pytest

from sensors.alerting import Notice, State
from sensors.failed_runs import alert_of, failed_runs, recovered_runs, subject_of, was_failing

RANGE = {"dagster/asset_partition_range_start": "2026-11-16", "dagster/asset_partition_range_end": "2026-11-20"}
DAY = {"dagster/partition": "2026-11-23"}


@pytest.mark.parametrize(
    ("tags", "is_told"),
    [
        pytest.param({}, True, id="no attempt follows"),
        pytest.param({"dagster/will_retry": "false"}, True, id="its last attempt"),
        pytest.param({"dagster/will_retry": "true"}, False, id="it is started again by itself"),
    ],
)
def test_alert_of(tags: dict[str, str], *, is_told: bool) -> None:
    alert = alert_of("derive_day", tags, "0123456789", "Postgres\n is away " * 100, 5.0)
    assert (alert is not None) is is_told
    if alert is not None:
        assert "Postgres is away" in alert.summary
        assert len(alert.summary) < 400


@pytest.mark.parametrize(
    ("job", "tags", "selection", "subject"),
    [
        pytest.param("prune", {}, [], "prune", id="a job without days"),
        pytest.param("derive_day", DAY, [], "derive_day 2026-11-23", id="a job's day"),
        pytest.param("__ASSET_JOB", DAY, ["b", "a"], "a, b 2026-11-23", id="some assets of a day"),
        pytest.param("__ASSET_JOB", RANGE, ["a"], "a 2026-11-16 to 2026-11-20", id="a backfill"),
        pytest.param("derive_day", DAY, ["a"], "derive_day: a 2026-11-23", id="some assets of a job"),
        pytest.param(
            "derive_day",
            {**DAY, "dagster/step_selection": "b,c"},
            [],
            "derive_day [b,c] 2026-11-23",
            id="steps were picked by hand",
        ),
    ],
)
def test_subject_of(job: str, tags: dict[str, str], selection: list[str], subject: str) -> None:
    assert subject_of(job, tags, selection) == subject


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


def tell(
    instance: dg.DagsterInstance,
    alerts: Recording,
    result: dg.ExecuteInProcessResult,
    root: dg.ExecuteInProcessResult | None = None,
) -> None:
    """Let the sensor of a run's outcome look at it; ``root``: the run that it is another attempt of."""
    run = result.dagster_run
    if root is not None:
        run = run._replace(root_run_id=root.run_id, parent_run_id=root.run_id)
    event = result.get_run_success_event() if result.success else result.get_run_failure_event()
    context = dg.build_run_status_sensor_context(
        "sensor", dagster_instance=instance, dagster_run=run, dagster_event=event,
        resources={"alerts": alerts},
    )  # fmt: skip
    if result.success:
        recovered_runs(context)
    else:
        failed_runs(context.for_run_failure())


FAILING = set[str]()
DAYS = dg.DailyPartitionsDefinition("2026-11-01")


def asset_named(name: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, partitions_def=DAYS)
    def made() -> None:
        if name in FAILING:
            raise dg.Failure("no ledger at nowhere")

    return made


ASSETS = dg.Definitions([asset_named("report"), asset_named("quality")])


def make(
    instance: dg.DagsterInstance, *names: str, fails: str = "", tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    FAILING.clear()
    FAILING.add(fails)
    return ASSETS.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key="2026-11-20", asset_selection=[dg.AssetKey(n) for n in names],
        raise_on_error=False, tags=tags,
    )  # fmt: skip


def test_an_alert_of_some_assets_ends_with_the_same_assets() -> None:
    """Every run of assets has Dagster's one job name."""
    alerts = Recording()
    with dg.DagsterInstance.ephemeral() as instance:
        tell(instance, alerts, make(instance, "report", fails="report"))
        tell(instance, alerts, make(instance, "quality"))
        assert [(n.state, n.alert.subject) for n in alerts.told] == [(State.RAISED, "report 2026-11-20")]
        tell(instance, alerts, make(instance, "report"))
    assert [(n.state, n.alert.subject) for n in alerts.told[1:]] == [(State.RESOLVED, "report 2026-11-20")]


def test_a_run_that_was_started_again_by_itself_has_no_alert_to_end() -> None:
    alerts = Recording()
    with dg.DagsterInstance.ephemeral() as instance:
        tell(instance, alerts, make(instance, "report", fails="report", tags={"dagster/will_retry": "true"}))
        tell(instance, alerts, make(instance, "report"))
    assert alerts.told == []


def test_a_run_that_goes_on_from_a_failure_ends_its_alert() -> None:
    """Dagster leaves only what failed in its selection; an asset picked by hand ends nothing."""
    alerts = Recording()
    with dg.DagsterInstance.ephemeral() as instance:
        failed = make(instance, "report", "quality", fails="report")
        tell(instance, alerts, failed)
        tell(instance, alerts, make(instance, "quality"), failed)
        assert len(alerts.told) == 1
        resumed = make(instance, "report", tags={"dagster/is_asset_resume_retry": "true"})
        tell(instance, alerts, resumed, failed)
    assert [(n.state, n.alert.subject) for n in alerts.told] == [
        (State.RAISED, "quality, report 2026-11-20"), (State.RESOLVED, "quality, report 2026-11-20"),
    ]  # fmt: skip
