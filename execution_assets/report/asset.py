"""The asset ``execution_report``: the page of a day, for people."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.executions import CODE_VERSION, RETRY, executions
from execution_assets.resources import LedgerResource
from execution_assets.settings import reports_folder, reports_url, slo_us
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import DERIVED, OWNER
from execution_assets.venues import reconciliation_breaks, venue_quality


@dg.asset(
    deps=[executions, slippage_metrics, reconciliation_breaks, venue_quality],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"html", "matplotlib"},
    code_version=CODE_VERSION,
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution_report",
    description=(
        "The day on one page, to read, print and send on: whether its figures may be used, what was traded and "
        "what it cost by venue, symbol and hour, how fast and how complete it was, the breaks by age, the checks "
        "with what to do. A file that opens from disk and needs nothing else."
    ),
)
def execution_report(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Write the pages of the run's trading dates."""
    folder = reports_folder()
    each_day(context, lambda day: _write(ledger, day, folder))


def _write(ledger: LedgerResource, day: date, folder: Path) -> dict[str, Any]:
    from execution_assets.report.words import markdown, verdict  # noqa: PLC0415
    from execution_assets.report.writing import path_of, write_page  # noqa: PLC0415

    written = write_page(ledger, day, slo_us(), path_of(folder, day))
    more: dict[str, Any] = {}
    if (url := reports_url()) is not None:
        more["page"] = dg.MetadataValue.url(f"{url}/{written.path.parent.name}/{written.path.name}")
    return {
        "summary": dg.MetadataValue.md(markdown(written.facts)),
        **more,
        "path": dg.MetadataValue.path(str(written.path)),
        "verdict": verdict(written.facts).title,
        "digest": written.digest,
        "bytes": written.path.stat().st_size,
        "changed": written.changed,
    }
