"""The asset ``executions``: the day's fills tied to their orders, derived again, compared with the live rows."""

import time
from datetime import date
from typing import Any

import dagster as dg

from execution_assets.comparison import Difference
from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.derivation import Derivation, derive_day
from execution_assets.lineage import EXECUTIONS
from execution_assets.resources import LedgerResource
from execution_assets.sources import DERIVED, OWNER, table_metadata
from ledger.domain.numbers import text

CODE_VERSION = "2"  # raise it with a change of the rules: then every day shows as outdated
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
_SHOWN = 20  # differences shown on the asset's page; the table has up to SAMPLE_LIMIT


@dg.asset(
    deps=["fills", "orders", "benchmark_snapshots"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"postgres", "python"},
    code_version=CODE_VERSION,
    metadata={**table_metadata("executions"), "dagster/column_lineage": EXECUTIONS},
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.executions",
    description=(
        "The reconciled fills: one row an execution, as it stands after every bust and correct. The live process "
        "writes them within milliseconds; this derives the day again from the landed reports by the same rules, "
        "counts every row that differs, and corrects it. A difference fails a check until a later run finds none."
    ),
)
def executions(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Derive the run's trading dates."""
    each_day(context, lambda day: _derive(context, ledger, day))


def _derive(context: dg.AssetExecutionContext, ledger: LedgerResource, day: date) -> dict[str, Any]:
    started = time.monotonic()
    derivation = derive_day(ledger.engine(), day, ledger.policy(), log=context.log.info)
    seconds = time.monotonic() - started
    context.log.info(
        "%s: %d reports -> %d executions, %d slippages in %.1f s; %d live rows differed",
        day,
        derivation.report_count,
        derivation.execution_count,
        derivation.metric_count,
        seconds,
        derivation.differences.count,
    )
    return _metadata(derivation, seconds)


def _metadata(derivation: Derivation, seconds: float) -> dict[str, Any]:
    differences = derivation.differences
    return {
        "dagster/row_count": derivation.execution_count,
        "reports": derivation.report_count,
        "slippages": derivation.metric_count,
        "derived_digest": derivation.derived_digest,
        "live_digest": derivation.live_digest,
        "differences_found": differences.count,
        "executions_corrected": differences.executions,
        "slippages_corrected": differences.slippages,
        "differences": dg.MetadataValue.md(difference_table(differences.sample[:_SHOWN])),
        # a count of nanoseconds does not fit the JavaScript of the page as a number
        "high_water_ns": str(derivation.high_water),
        "seconds": seconds,
        "worst_slippage_difference_bps": text(differences.worst_bps),
    }


def difference_table(sample: list[Difference]) -> str:
    """Show differences as a Markdown table: what was found and what the landed reports say."""
    if not sample:
        return "none"
    lines = ["| execution | figure | live row | values: live -> derived |", "| --- | --- | --- | --- |"]
    for found in sample:
        values = "; ".join(f"{name}: {live} -> {ours}" for name, (live, ours) in found.fields.items())
        lines.append(f"| `{found.execution_id}` | {found.kind or 'execution'} | {found.found} | {values} |")
    return "\n".join(lines)
