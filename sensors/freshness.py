"""Assets that were not made for too long become alerts, until they are made again. ``stale`` decides.

The failures it prevents: an asset that follows by itself and stopped doing so, without a run that fails; a page of
Dagster that turned red over night, with nobody looking at it.
"""

import time
from collections.abc import Iterable

import dagster as dg
import msgspec
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from sensors.alerting import Alert, AlertSink, Known, deliver, plan_notices
from sensors.cursors import read_stored, write_cursor

_HOUR = 3600.0


class Made(msgspec.Struct, frozen=True):
    """An asset: when it was made last (UTC seconds, None: never), and how long ago that may be (seconds)."""

    asset: str
    last: float | None
    window: float


class Cursor(msgspec.Struct, frozen=True):
    """The alerts that were told."""

    known: Known = {}


def stale(assets: Iterable[Made], now: float) -> list[Alert]:
    """Decide which assets are stale: made once, and not within the time that their freshness policy gives.

    One that was never made is not: an archive, say, that nobody has set up.
    """
    return [
        Alert(
            "asset-stale", made.asset, f"{made.asset} was not made again", made.last + made.window,
            f"{(now - made.last) / _HOUR:.1f} h", f"{made.window / _HOUR:g} h",
            "Look at the asset's automation in Dagster: what it waits for, and whether the daemon runs.",
            "docs/alerts.md#asset-stale",
        )
        for made in assets
        if made.last is not None and now - made.last > made.window
    ]  # fmt: skip


def read_cursor(stored: str | None) -> tuple[Cursor, str | None]:
    """Read what the last tick wrote; where it cannot be read begin anew, and say so."""
    return read_stored(stored, Cursor(), "open alerts are told again")


def _made(context: dg.SensorEvaluationContext) -> list[Made]:
    assert context.repository_def is not None, "a code location has its definitions"
    graph = context.repository_def.asset_graph
    windows = {
        key: policy.fail_window.to_timedelta().total_seconds()
        for key in graph.get_all_asset_keys()
        if isinstance(policy := graph.get(key).freshness_policy, TimeWindowFreshnessPolicy)
    }
    made = context.instance.get_latest_materialization_events(sorted(windows))
    return [
        Made(key.to_user_string(), None if (event := made.get(key)) is None else event.timestamp, window)
        for key, window in sorted(windows.items())
    ]


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Tells the alerts' sink of assets that fail their freshness policy, and when they are made again.",
)
def stale_assets(context: dg.SensorEvaluationContext, alerts: dg.ResourceParam[AlertSink]) -> dg.SensorResult:
    """Look when each asset was made last, tell what has changed."""
    now = time.time()
    cursor, problem = read_cursor(context.cursor)
    if problem is not None:
        context.log.warning("%s", problem)
    found = stale(_made(context), now)
    known, undelivered = deliver(alerts, cursor.known, plan_notices(cursor.known, found, now))
    for problem in undelivered:
        context.log.error("an alert was not delivered, it is due again at the next tick: %s", problem)
    return dg.SensorResult(
        cursor=write_cursor(Cursor(known)),
        skip_reason=f"{len(found)} assets are stale" if found else "every asset is fresh",
    )
