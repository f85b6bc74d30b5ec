"""The assets ``reconciliation_breaks`` and ``venue_quality``: what a desk and a venue manager look at."""

from datetime import date
from typing import Any

import dagster as dg

from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.executions import CODE_VERSION, RETRY, executions
from execution_assets.lineage import same_columns
from execution_assets.resources import LedgerResource
from execution_assets.settings import slo_us
from execution_assets.sheets import Changes
from execution_assets.sources import DERIVED, OWNER, table_metadata
from ledger.domain.ageing import Age

_AGES = """
SELECT venue, kind, age, count(*) AS breaks, count(*) FILTER (WHERE state = 'open') AS open
FROM execution.reconciliation_breaks WHERE trade_date = %(day)s GROUP BY venue, kind, age
"""
_VENUES = "SELECT * FROM execution.venue_quality WHERE trade_date = %(day)s ORDER BY venue"


def changes_metadata(changes: Changes) -> dict[str, Any]:
    """Show what a derivation changed: equal digests of two runs are equal rows."""
    return {
        "dagster/row_count": changes.rows,
        "digest": changes.digest,
        "rows_added": changes.added,
        "rows_changed": changes.changed,
        "rows_removed": changes.removed,
        "changed_keys": {what: list(keys) for what, keys in changes.sample.items()},
    }


@dg.asset(
    deps=[executions, "fills", "orders"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"postgres", "python"},
    code_version=CODE_VERSION,
    metadata={
        **table_metadata("reconciliation_breaks"),
        "dagster/column_lineage": same_columns("orders", "venue", "symbol", "correlation_id"),
    },
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.reconciliation_breaks",
    description=(
        "Every disagreement between a venue's reports and our orders that was open at any time of the day, as it "
        "stood when the day ended: what it is about, who has it, and how old it was, by the buckets of a desk."
    ),
)
def reconciliation_breaks(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Write the breaks of the run's trading dates."""
    each_day(context, lambda day: _breaks(context, ledger, day))


def _breaks(context: dg.AssetExecutionContext, ledger: LedgerResource, day: date) -> dict[str, Any]:
    changes = derive_breaks(ledger.engine(), day, log=context.log.warning)
    with ledger.reading() as connection:
        rows = list(connection.exec_driver_sql(_AGES, {"day": day}).mappings())
    by_age = {str(age): sum(row["breaks"] for row in rows if row["age"] == age) for age in Age}
    lines = ["| venue | break | age | breaks | still open |", "| --- | --- | --- | ---: | ---: |"]
    ages = list(Age)
    rows.sort(key=lambda row: (-ages.index(Age(row["age"])), row["venue"], row["kind"]))
    lines += [f"| {r['venue']} | {r['kind']} | {r['age']} | {r['breaks']} | {r['open']} |" for r in rows]
    return {
        **changes_metadata(changes),
        "breaks_by_age": by_age,
        "open_at_end": sum(row["open"] for row in rows),
        "breaks": dg.MetadataValue.md("\n".join(lines) if rows else "no break was open on this day"),
    }


@dg.asset(
    deps=[executions, "fills", "orders"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"postgres", "python"},
    code_version=CODE_VERSION,
    metadata={**table_metadata("venue_quality"), "dagster/column_lineage": same_columns("fills", "venue")},
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.venue_quality",
    description=(
        "How each venue served the day: how fast it confirmed fills and how fast they were in Postgres, against "
        "the SLO; whether the quantities it counts are ours; gaps, duplicates, dead letters, breaks and halts."
    ),
)
def venue_quality(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Write the quality of venues of the run's trading dates."""
    each_day(context, lambda day: _quality(context, ledger, day))


def _quality(context: dg.AssetExecutionContext, ledger: LedgerResource, day: date) -> dict[str, Any]:
    changes = derive_quality(ledger.engine(), day, slo_us(), log=context.log.warning)
    with ledger.reading() as connection:
        rows = list(connection.exec_driver_sql(_VENUES, {"day": day}).mappings())
    # heard: from traded to received; landed: from received to landed, which is what the SLO is of
    head = "heard p50 ms | heard p95 ms | heard p99 ms | landed p95 ms | in SLO | complete | duplicates"
    lines = [
        f"| venue | reports | {head} | dead letters | halts |",
        "| --- |" + " ---: |" * 10,
    ]
    lines += [
        f"| {r['venue']} | {r['reports']:,} | {_ms(r['latency_p50_us'])} | {_ms(r['latency_p95_us'])} "
        f"| {_ms(r['latency_p99_us'])} | {_ms(r['commit_p95_us'])} | {_share(r['within_slo'], r['reports'])} "
        f"| {_share(r['orders_complete'], r['orders_claimed'])} | {r['duplicates']} | {r['dead_letters']} "
        f"| {r['halts']} |"
        for r in rows
    ]
    shown = "\n".join(lines) if rows else "nothing was routed or reported on this day"
    return {**changes_metadata(changes), "venues": dg.MetadataValue.md(shown)}


def _ms(microseconds: int | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1000:,.1f}"


def _share(part: int, whole: int) -> str:
    return "-" if not whole else f"{100 * part / whole:.2f} %"
