"""When derived assets are made by themselves, and when they are stale.

``executions`` is asked for by the sensor ``landed_days``, which knows what has landed; what comes after it follows
by the conditions here. A condition looks back some days: the usual "latest partition only" would leave out a day
whose late fills were derived again. Of older days it follows what the sensor asked for, so that a late fill of any
day reaches every page, and not what people backfill: that is theirs to choose, and years of it would hold up the
day under trade. Blocking checks hold back what is downstream of them also across runs: inside
a run Dagster sees to that, between runs only this gate does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster import AutomationCondition as When

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKBACK = timedelta(days=14)
ASKED_TAG = "execution_agent/reason"  # the sensor sets it on each run it asks for
DOCS_CRON = "*/10 * * * *"
ARCHIVE_CRON = "10 * * * *"
# Stale: a day on which nothing lands at all is worth a look, venues trade around the clock
FRESH = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=6), fail_window=timedelta(hours=24))
# what is made once a day that is over
DAILY = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(hours=48))
_FRESHNESS = {"fill_archive": DAILY, "audit_archive": DAILY}

_NOT_DERIVED = dg.AssetSelection.groups("topics", "landed")
_CHECKED = When.all_deps_match(When.all_checks_match(When.check_passed(), blocking_only=True)).with_label(
    "the blocking checks of what it is made from have passed"
)
# The sources change with every fill; what is derived from them is what counts. One ``since`` for both questions:
# two ``any_deps_match(…).since(…)`` of an asset have the same memory in Dagster 1.13, whatever they match.
_UPDATED = (
    (
        When.any_deps_updated().ignore(_NOT_DERIVED)
        & (
            When.in_latest_time_window(LOOKBACK)
            | When.any_deps_match(When.any_new_update_has_run_tags(tag_keys={ASKED_TAG})).ignore(_NOT_DERIVED)
        )
    )
    .since(When.newly_requested() | When.newly_updated())
    .with_label("what it is made from was derived since")
)
_QUIET = ~When.in_progress() & ~When.any_deps_in_progress()

AFTER_CHECKS = (_UPDATED & _CHECKED & _QUIET).with_label("derived and checked")

# A page that says what the checks found waits until all of them have looked, whatever they found
_JUDGED = When.all_deps_match(When.all_checks_match(When.check_passed() | When.check_failed())).with_label(
    "all checks of what it is made from have looked"
)
AFTER_ALL_CHECKS = (AFTER_CHECKS & _JUDGED).with_label("derived, checked and every check has looked")

# No gate: the pages are wanted most where a check has failed. Not with every run: building them takes 15 s of CPU.
WITH_OR_WITHOUT_CHECKS = (
    _UPDATED & When.cron_tick_passed(DOCS_CRON).since(When.newly_requested() | When.newly_updated()) & _QUIET
).with_label("derived, at most every ten minutes")

# Only days that are over: what is locked stays for years, and the day under trade is derived again every minute.
# At most once an hour, for late fills come one after the other, and each revision is locked, too.
WHEN_OVER = (
    ~When.in_latest_time_window()
    & _UPDATED
    & _CHECKED
    & _QUIET
    & When.cron_tick_passed(ARCHIVE_CRON).since(When.newly_requested() | When.newly_updated())
).with_label("over, derived and checked, at most once an hour")

_CONDITIONS: dict[str, dg.AutomationCondition[dg.AssetKey] | None] = {
    "executions": None,  # the sensor's
    "execution_report": AFTER_ALL_CHECKS,
    "data_docs": WITH_OR_WITHOUT_CHECKS,
    "fill_archive": WHEN_OVER,
    "audit_archive": None,  # by the calendar: archives.calendar
}


def automated(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Give derived assets their conditions and freshness policies; what an asset says itself stays."""
    return [asset.map_asset_specs(_with_automation) for asset in assets]


def _with_automation(spec: dg.AssetSpec) -> dg.AssetSpec:
    name = spec.key.to_user_string()
    condition = spec.automation_condition or _CONDITIONS.get(name, AFTER_CHECKS)
    fresh = spec.freshness_policy or _FRESHNESS.get(name, FRESH)
    return spec.replace_attributes(automation_condition=condition, freshness_policy=fresh)
