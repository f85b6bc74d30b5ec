"""The asset ``slippage_metrics``: the day's final figures, and how far the live ones were from them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import msgspec

from execution_assets.comparison import Differences
from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.derivation import LIVE_KINDS
from execution_assets.executions import RETRY, executions
from execution_assets.facts import rows_of
from execution_assets.final_day import derive_finals
from execution_assets.lineage import SLIPPAGE
from execution_assets.resources import LedgerResource
from execution_assets.sources import DERIVED, OWNER, table_metadata
from ledger.domain.numbers import EXACT, ZERO, exact_ratio, text

CODE_VERSION = "3"  # raise it with a change of the rules: then every day shows as outdated

_SHOWN_PLACES = Decimal("0.0001")


class VenueSlippage(msgspec.Struct, frozen=True):
    """One venue's slippage of one kind in one currency; means are None where nothing was measured."""

    venue: str
    kind: str
    currency: str
    count: int
    best_effort: int
    mean_bps: Decimal | None
    weighted_bps: Decimal | None


@dg.asset(
    deps=[executions, "benchmark_snapshots"],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"postgres", "python"},
    code_version=CODE_VERSION,
    metadata={**table_metadata("slippage_metrics"), "dagster/column_lineage": SLIPPAGE},
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.slippage_metrics",
    description=(
        "What each execution cost in basis points (positive = cost) against the mid price when its order arrived "
        "at the venue, the price at which it was decided, and the mid price when it filled; then, once the future "
        "is known, against the mid 1 s, 10 s, 60 s and 5 min later and the time-weighted mid while its order "
        "worked (table slippage_finals), and each order's implementation shortfall with delay, trading, "
        "opportunity cost and fees (table order_costs). What the market data cannot say is null, with the reason "
        "beside it. The live figures are compared with the final ones: they agree within 2 bps or a check fails."
    ),
)
def slippage_metrics(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Work out the final figures of the run's trading dates."""
    each_day(context, lambda day: _derive(context, ledger, day))


def _derive(context: dg.AssetExecutionContext, ledger: LedgerResource, day: date) -> dict[str, Any]:
    """Work out one trading date's final figures and sum it up."""
    with ledger.reading() as connection:
        venues = [
            summarise(row) for row in rows_of(connection, "slippage_by_venue", {"day": day, "kinds": LIVE_KINDS})
        ]
        derivation = next(rows_of(connection, "derivation", {"day": day}), None)
    if derivation is None:
        raise dg.Failure(
            f"slippage_metrics of {day}: executions of that day were never derived; materialize executions first"
        )
    finals, costs = derive_finals(ledger.engine(), day, ledger.policy(), log=context.log.info)
    differences = msgspec.json.decode(derivation["differences"], type=Differences)
    return {
        "dagster/row_count": sum(venue.count for venue in venues),
        "best_effort": sum(venue.best_effort for venue in venues),
        "live_figures_corrected": differences.slippages,
        "worst_slippage_difference_bps": text(differences.worst_bps),
        "derived_digest": derivation["derived_digest"],
        "final_rows": finals.rows,
        "final_rows_changed": finals.count,
        "final_digest": finals.digest,
        "order_rows": costs.rows,
        "order_rows_changed": costs.count,
        "order_digest": costs.digest,
        "by_venue": dg.MetadataValue.md(venue_table(venues)),
    }


def summarise(row: Mapping[str, Any]) -> VenueSlippage:
    """Divide a group's exact sums, once."""
    measured = int(row["measured_count"])
    notional = Decimal(row["notional"])
    return VenueSlippage(
        row["venue"],
        row["kind"],
        row["currency"],
        row["metric_count"],
        row["best_effort_count"],
        exact_ratio(row["bps_sum"], Decimal(measured)) if measured else None,
        exact_ratio(row["bps_notional"], notional) if EXACT.compare(notional, ZERO) else None,
    )


def venue_table(venues: list[VenueSlippage]) -> str:
    """Show the venues as a Markdown table."""
    if not venues:
        return "nothing was executed"
    lines = [
        "| venue | against | currency | count | best effort | mean bps | notional-weighted bps |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {v.venue} | {v.kind} | {v.currency or '-'} | {v.count} | {v.best_effort} "
        f"| {_bps(v.mean_bps)} | {_bps(v.weighted_bps)} |"
        for v in venues
    ]
    return "\n".join(lines)


def _bps(value: Decimal | None) -> str:
    return "-" if value is None else text(value.quantize(_SHOWN_PLACES))
