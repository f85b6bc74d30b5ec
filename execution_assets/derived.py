"""The assets that are derived a day, in the order in which they follow from each other."""

from execution_assets.archives.assets import audit_archive, fill_archive
from execution_assets.executions import executions
from execution_assets.parquet import slippage_parquet
from execution_assets.report.asset import execution_report
from execution_assets.slippage import slippage_metrics
from execution_assets.venues import reconciliation_breaks, venue_quality

DERIVED_ASSETS = [
    executions,
    slippage_metrics,
    reconciliation_breaks,
    venue_quality,
    slippage_parquet,
    execution_report,
    fill_archive,
    audit_archive,
]
