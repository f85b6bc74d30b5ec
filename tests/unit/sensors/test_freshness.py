"""Which assets are stale, case by case; and the sensor on a real Dagster instance."""

import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from sensors.alerting import Notice, State
from sensors.freshness import Cursor, Made, read_cursor, stale, stale_assets

NOW = 1_795_000_000.0
DAY = 86_400.0


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param(None, False, id="never made"),
        pytest.param(NOW, False, id="made now"),
        pytest.param(NOW - DAY, False, id="made a day ago: the last moment"),
        pytest.param(NOW - DAY - 1, True, id="made more than a day ago"),
        pytest.param(NOW + 5, False, id="a clock that is ahead"),
    ],
)
def test_stale(last: float | None, *, expected: bool) -> None:
    found = stale([Made("executions", last, DAY)], NOW)
    assert [alert.subject for alert in found] == (["executions"] if expected else [])
    for alert in found:
        assert (alert.figure, alert.limit, alert.since) == ("24.0 h", "24 h", NOW - 1)


def test_each_stale_asset_is_an_alert_of_its_own() -> None:
    found = stale([Made(name, NOW - 2 * DAY, DAY) for name in "ab"] + [Made("c", NOW, DAY)], NOW)
    assert [alert.key for alert in found] == ["asset-stale/a", "asset-stale/b"]


def test_the_remedy_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/alerts.md").read_text("utf-8")
    [alert] = stale([Made("a", 0.0, DAY)], NOW)
    assert f"## {alert.docs.split('#')[1]}" in page.splitlines()


def test_a_cursor_of_another_shape_is_said_and_started_over() -> None:
    assert read_cursor(None) == (Cursor(), None)
    cursor, problem = read_cursor('{"known": 5}')
    assert cursor == Cursor()
    assert "told again" in str(problem)


class Recording:
    def __init__(self) -> None:
        self.told: list[Notice] = []

    def send(self, notice: Notice) -> None:
        self.told.append(notice)


@dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=24)))
def watched() -> None: ...


@dg.asset(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=24)))
def never_made() -> None: ...


@dg.asset
def unwatched() -> None: ...


def test_a_stale_asset_is_told_once_and_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts, cursor = Recording(), None
    location = dg.Definitions([watched, never_made, unwatched])
    made = time.time()
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(later: float) -> None:
            nonlocal cursor
            monkeypatch.setattr("sensors.freshness.time.time", lambda: made + later)
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=location, resources={"alerts": alerts}
            )
            result = stale_assets(context)
            assert isinstance(result, dg.SensorResult)
            cursor = result.cursor

        assert dg.materialize([watched, unwatched], instance=instance).success
        tick(0)
        assert alerts.told == []
        tick(25 * 3600)
        tick(26 * 3600)
        monkeypatch.undo()
        assert dg.materialize([watched], instance=instance).success
        tick(1)
    assert [(n.state, n.alert.subject) for n in alerts.told] == [
        (State.RAISED, "watched"), (State.RESOLVED, "watched"),
    ]  # fmt: skip
