"""When derived assets are asked for by themselves, on a real Dagster instance without any ledger."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from execution_assets.automation import AFTER_CHECKS, ASKED_TAG, LOOKBACK, automated
from execution_assets.checks import CHECKS
from execution_assets.days import TRADING_DAYS
from sensors.landed_days import REASON_TAG

DAYS = dg.DailyPartitionsDefinition("2026-01-01", timezone="UTC", end_offset=1)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEP = timedelta(seconds=30)
VERDICT = "verdict"


@dg.asset(partitions_def=DAYS, group_name="derived")
def executions() -> None: ...


@dg.asset_check(asset=executions, blocking=True, partitions_def=DAYS)
def sound(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=context.run.tags[VERDICT] == "passed")


@dg.asset(partitions_def=DAYS, deps=[executions, "fills"], group_name="derived")
def downstream() -> None: ...


@dg.asset(partitions_def=DAYS, deps=[executions], group_name="derived")
def fill_archive() -> None: ...


FILLS = dg.AssetSpec("fills", partitions_def=DAYS, group_name="landed")
DEFS = dg.Definitions(assets=[FILLS, *automated([executions, downstream, fill_archive])], asset_checks=[sound])


class World:
    """An instance, and the automation sensor's ticks over it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._cursor = None
        self._now = NOW

    def derived(self, day: str, *, passed: bool | None = True, by_sensor: bool = False) -> None:
        dg.materialize(
            [FILLS, executions, sound],
            instance=self.instance,
            partition_key=day,
            selection=[executions] if passed is None else [executions, sound],
            tags={
                VERDICT: "passed" if passed else "failed",
                **({REASON_TAG: "late arrivals"} if by_sensor else {}),
            },
            raise_on_error=False,
        )

    def tick(
        self, asset: dg.AssetsDefinition = downstream, *, after: timedelta = timedelta(seconds=30)
    ) -> set[str]:
        self._now += after
        result = dg.evaluate_automation_conditions(
            DEFS, self.instance, dg.AssetSelection.groups("derived"), self._now, cursor=self._cursor
        )
        self._cursor = result.cursor
        return set(result.get_requested_partitions(asset.key))


@pytest.fixture
def world():  # type: ignore[no-untyped-def]  # noqa: ANN201
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(instance)
        instance.report_runless_asset_event(dg.AssetMaterialization("fills", partition="2026-11-01"))
        assert world.tick() == set()
        yield world


def test_a_day_that_is_derived_and_checked_is_followed_once(world: World) -> None:
    world.derived("2026-11-22")
    assert world.tick() == {"2026-11-22"}
    assert world.tick() == set()


def test_an_old_day_that_is_derived_again_is_followed_too(world: World) -> None:
    """The usual condition looks at the latest partition alone."""
    world.derived((NOW - LOOKBACK + timedelta(days=2)).date().isoformat())
    assert world.tick() == {(NOW - LOOKBACK + timedelta(days=2)).date().isoformat()}


def test_a_late_fill_of_a_day_long_ago_is_followed_by_all_that_is_made_of_it(world: World) -> None:
    """What people backfill of such days is theirs to choose."""
    assert ASKED_TAG == REASON_TAG
    world.derived("2026-03-02", by_sensor=True)
    world.derived("2026-03-03")
    assert world.tick() == {"2026-03-02"}
    assert world.tick() == set()
    world.derived("2026-03-04", passed=False, by_sensor=True)
    assert world.tick() == set()
    world.derived("2026-03-04")  # a person mended it; it was asked for
    assert world.tick() == {"2026-03-04"}
    assert world.tick(fill_archive, after=timedelta(hours=1)) == {"2026-03-02", "2026-03-04"}


def test_a_blocking_check_that_failed_holds_a_day_back_until_it_passes(world: World) -> None:
    world.derived("2026-11-22", passed=False)
    assert world.tick() == set()
    assert world.tick() == set()
    world.derived("2026-11-22")
    assert world.tick() == {"2026-11-22"}


def test_a_day_is_held_back_by_its_own_verdict_and_by_no_other(world: World) -> None:
    world.derived("2026-11-20", passed=False)
    assert world.tick() == set()
    world.derived("2026-11-22")
    assert world.tick() == {"2026-11-22"}
    assert world.tick() == set()
    world.derived("2026-11-20")
    assert world.tick() == {"2026-11-20"}


def test_the_checks_have_the_days_of_what_they_judge() -> None:
    assert {spec.partitions_def for check in CHECKS for spec in check.check_specs} == {TRADING_DAYS}


def test_fills_that_keep_landing_ask_for_nothing(world: World) -> None:
    world.instance.report_runless_asset_event(dg.AssetMaterialization("fills", partition="2026-11-23"))
    assert world.tick() == set()


def test_what_an_asset_says_itself_stays_and_the_others_get_condition_and_freshness() -> None:
    own = dg.AutomationCondition.on_missing()

    @dg.asset(partitions_def=DAYS, automation_condition=own)
    def decided() -> None: ...

    [one, two] = automated([decided, downstream])
    [first], [second] = one.specs, two.specs
    assert first.automation_condition == own
    assert second.automation_condition == AFTER_CHECKS
    assert second.freshness_policy is not None
    [sensors_own] = automated([executions])[0].specs
    assert sensors_own.automation_condition is None


def test_a_day_is_archived_once_it_is_over_and_at_most_once_an_hour(world: World) -> None:
    """What is locked stays for years: the day under trade is derived again every minute."""
    world.derived("2026-11-22")
    world.derived("2026-11-23")
    assert world.tick(fill_archive) == set()
    assert world.tick(fill_archive, after=timedelta(minutes=15)) == {"2026-11-22"}
    world.instance.report_runless_asset_event(dg.AssetMaterialization("fill_archive", partition="2026-11-22"))
    assert world.tick(fill_archive) == set()
    world.derived("2026-11-22")  # late fills, one after the other
    assert world.tick(fill_archive) == set()
    world.derived("2026-11-22")
    assert world.tick(fill_archive) == set()
    assert world.tick(fill_archive, after=timedelta(hours=1)) == {"2026-11-22"}
    assert world.tick(fill_archive, after=timedelta(hours=11)) == {"2026-11-23"}  # past midnight


def test_a_day_whose_blocking_check_failed_is_not_archived(world: World) -> None:
    world.derived("2026-11-22", passed=False)
    assert world.tick(fill_archive, after=timedelta(hours=1)) == set()
