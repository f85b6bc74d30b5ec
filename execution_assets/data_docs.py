"""The asset ``data_docs``: Great Expectations' pages of a day's checks, as HTML in a folder."""

from datetime import date
from typing import Any

import dagster as dg

from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.executions import RETRY
from execution_assets.expectations import build_data_docs
from execution_assets.settings import DATA_DOCS_VARIABLE, data_docs_folder
from execution_assets.sources import DERIVED, OWNER


@dg.asset(
    deps=["executions", "slippage_metrics"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"html", "greatexpectations"},
    code_version="1",
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="data_docs",
    description=(
        "Every expectation of the day's data quality checks and what it found, as web pages to browse: what was "
        "expected of which column, how many rows failed it, and which."
    ),
)
def data_docs(context: dg.AssetExecutionContext) -> None:
    """Build the pages of the run's trading dates."""
    each_day(context, lambda day: _build(context, day))


def _build(context: dg.AssetExecutionContext, day: date) -> dict[str, Any]:
    folder = data_docs_folder()
    if folder is None:
        context.log.warning("%s: no data docs are kept: set %s or DAGSTER_HOME", day, DATA_DOCS_VARIABLE)
        return {"kept": False}
    index = build_data_docs(folder / day.isoformat())
    return {
        "path": dg.MetadataValue.path(str(index)),
        "pages": len(list(index.parent.glob("validations/**/*.html"))),
    }
