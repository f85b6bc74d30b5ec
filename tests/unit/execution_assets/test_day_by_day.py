"""Runs over one day and over several, on a real Dagster instance without any ledger."""

from datetime import date
from typing import Any

import dagster as dg
import pytest

from execution_assets.day_by_day import BACKFILL, each_day

DAYS = dg.DailyPartitionsDefinition("2026-01-01", timezone="UTC", end_offset=1)
RANGE = {"dagster/asset_partition_range_start": "2026-11-16", "dagster/asset_partition_range_end": "2026-11-18"}
derived: list[date] = []


@dg.asset(partitions_def=DAYS, backfill_policy=BACKFILL)
def a_table(context: dg.AssetExecutionContext) -> None:
    each_day(context, derive)


def derive(day: date) -> dict[str, Any]:
    derived.append(day)
    return {"day": day.isoformat()}


@pytest.mark.parametrize(
    ("options", "days", "limit"),
    [
        pytest.param({"partition_key": "2026-11-16"}, 1, None, id="a day has the limit of the instance"),
        pytest.param({"tags": RANGE}, 3, "0", id="a range has none"),
        pytest.param({"tags": {**RANGE, dg.MAX_RUNTIME_SECONDS_TAG: "60"}}, 3, "60", id="or a person's"),
    ],
)  # fmt: skip
def test_a_run_of_several_days_is_not_ended_by_the_limit_of_one(
    options: dict[str, Any], days: int, limit: str | None
) -> None:
    derived.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = dg.materialize([a_table], instance=instance, **options).run_id
        run = instance.get_run_by_id(run_id)
    assert run is not None
    assert len(derived) == days
    assert run.tags.get(dg.MAX_RUNTIME_SECONDS_TAG) == limit
