"""The checks of ``executions``. What blocks: a wrong row would make every figure downstream wrong."""

import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from execution_assets.checks.making import all_hold, expectations_check, from_query
from execution_assets.comparison import Differences
from execution_assets.executions import difference_table, executions
from execution_assets.expectations import SAMPLE
from execution_assets.facts import rows_of
from execution_assets.settings import BAND_VARIABLE, positive
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

PENDING_SECONDS = 120
SKEW_SECONDS = 5  # by how much a venue's clock and ours may differ before a time is not plausible
_REQUIRED = ("execution_id", "correlation_id", "msg_id", "venue", "symbol")


def execution_suite(expect: Any) -> Sequence[Any]:
    """Say what every execution must be."""
    return [
        *(expect.ExpectColumnValuesToNotBeNull(column=column) for column in _REQUIRED),
        *all_hold("quantity", "price", "uniqueness")(expect),
    ]


executions_are_sound = expectations_check(
    asset=executions,
    name="executions_are_sound",
    frame=from_query("sound_executions"),
    suite=execution_suite,
    identity="execution_id",
    blocking=True,
    description="Every execution is there once, belongs to an order, and has a quantity and a price above zero.",
    remedy=(
        "Look the sampled executions up in execution.executions and their reports in execution.fills "
        "(report_id = execution_id); the raw column is what the venue sent. Nothing downstream is published "
        "until this passes: correct the cause, then materialize the day again."
    ),
)

quantity_is_conserved = expectations_check(
    asset=executions,
    name="quantity_is_conserved",
    frame=from_query("conserved_quantity"),
    suite=all_hold("lost", "invented", "changed", "status"),
    identity="report_id",
    blocking=True,
    description=(
        "Every landed fill is an execution or waits, every execution is a landed fill with the quantity and the "
        "price that its reports say: nothing is lost, invented or changed."
    ),
    remedy=(
        "Run `execution-agent explain ID` for the sampled reports: it tells what was decided of each. Materialize "
        "the day again, which derives the executions from the landed reports; what still fails then is a fault of "
        "the rules: keep the rows and report it. Nothing downstream is published until this passes."
    ),
)

totals_are_the_venues = expectations_check(
    asset=executions,
    name="totals_are_the_venues",
    frame=from_query("order_totals"),
    suite=all_hold("total"),
    identity="correlation_id",
    description="The executions of every order make up the CumQty that its venue claims: the day is complete.",
    remedy=(
        "Something is missing: ask the venue to resend, or hand in its own list of fills; what is too many: "
        "compare the order's reports with the venue's page (`execution-agent explain ORDER`). The order has a "
        "break cum_qty_differs, which ends by itself when the totals agree (docs/operations.md, Breaks are "
        "open)."
    ),
)

sequences_have_no_holes = expectations_check(
    asset=executions,
    name="sequences_have_no_holes",
    frame=from_query("feed_sequences", numbers=("newest_landed", "position")),
    suite=all_hold("hole"),
    identity="feed",
    description="No FIX message has landed beyond a hole in its session's sequence numbers.",
    remedy=(
        "Messages before the newest one are missing. Restart the streaming process: at logon it asks the venue "
        "to resend from the position that Postgres holds (execution.feed_positions). What the venue no longer "
        "has must come from its list of fills."
    ),
)

prices_are_within_limits = expectations_check(
    asset=executions,
    name="prices_are_within_limits",
    frame=from_query("limits_and_band", band=lambda: positive(BAND_VARIABLE)),
    suite=all_hold("order_limit", "band"),
    identity="execution_id",
    description="No execution is worse than its order's limit, or further from the mid at its time than the band.",
    remedy=(
        "Beyond the limit: the venue broke the order's terms, dispute the fill (its order has a break "
        "price_beyond_limit). Beyond the band: compare the price with the venue's tape; a wrong price is the "
        f"venue's to bust, a wrong snapshot the MarketDataAgent's. The band is {BAND_VARIABLE}."
    ),
)

times_are_plausible = expectations_check(
    asset=executions,
    name="times_are_plausible",
    frame=from_query("plausible_times", skew_ns=lambda: SKEW_SECONDS * NANOS),
    suite=all_hold("received", "landed", "routed", "trade_date"),
    identity="report_id",
    severity=dg.AssetCheckSeverity.WARN,
    description=(
        "Every report happened before it was received and after its order was routed, on its trade date: "
        f"times are in order, to within {SKEW_SECONDS} s between a venue's clock and ours."
    ),
    remedy=(
        "A venue's clock or its time zone is wrong (local time sent as UTC is the usual cause), or ours is: "
        "look at execution_clock_offset_seconds of the venue and at this machine's NTP. Benchmarks were taken "
        "at the wrong time: slippages of the sampled reports say nothing."
    ),
)

nothing_pends = expectations_check(
    asset=executions,
    name="nothing_pends",
    frame=from_query("pending_reports", before_ns=lambda: time.time_ns() - PENDING_SECONDS * NANOS),
    suite=all_hold("waiting"),
    identity="report_id",
    severity=dg.AssetCheckSeverity.WARN,
    description="No report waits longer than two minutes for its order or for the report it refers to.",
    remedy=(
        "awaiting_intent: the order never came on order.intent.route.v1, ask the OrderAgent for it. "
        "awaiting_reference: the fill that a bust or correct names never came, ask the venue to resend it. "
        "awaiting_gap: the venue counts a fill that is not here, ask it to resend."
    ),
)


def difference_frame(connection: "Connection", day: date) -> "pd.DataFrame":
    """Give the day's digests, and each row that differed as it was found, before any correction."""
    import pandas as pd  # noqa: PLC0415  1-2 s that loading the definitions must not cost

    row = next(rows_of(connection, "derivation", {"day": day}), None)
    if row is None:
        rows = [(day.isoformat(), None, f"executions of {day} were never derived: materialize that partition")]
        return pd.DataFrame(rows, columns=["row_id", "difference", "digest"])
    digests = (
        None
        if row["derived_digest"] == row["live_digest"]
        else f"streaming {row['live_digest']}, derived {row['derived_digest']}"
    )
    found = msgspec.json.decode(row["differences"], type=Differences).sample
    differing = [(f.execution_id, f"{f.kind or 'execution'} {f.found}: {_values(f.fields)}", None) for f in found]
    return pd.DataFrame(
        [(day.isoformat(), None, digests), *differing], columns=["row_id", "difference", "digest"], dtype=object
    )


def _values(fields: Mapping[str, tuple[str | None, str | None]]) -> str:
    return ", ".join(f"{name} {live} -> {derived}" for name, (live, derived) in fields.items())


def digest_details(connection: "Connection", day: date) -> Mapping[str, Any]:
    """Show the digests and the first differences."""
    row = next(rows_of(connection, "derivation", {"day": day}), None)
    if row is None:
        return {}
    sample = msgspec.json.decode(row["differences"], type=Differences).sample[:SAMPLE]
    return {
        "executions": row["execution_count"],
        "differences": row["difference_count"],
        "table": dg.MetadataValue.md(difference_table(sample)),
        "streaming_digest": row["live_digest"],
        "derived_digest": row["derived_digest"],
    }


streaming_equals_derived = expectations_check(
    asset=executions,
    name="streaming_equals_derived",
    frame=difference_frame,
    suite=all_hold("difference", "digest"),
    identity="row_id",
    details=digest_details,
    description="What streaming wrote live and what the landed reports amount to are the same, row by row.",
    remedy=(
        "The live rows were changed by something other than the landing of reports, or a fact came late "
        "without the live process noticing. They are corrected already: find out who wrote them "
        "(audit.event.execution names every decision of the live process), then run the day again."
    ),
)

CHECKS = [
    executions_are_sound,
    quantity_is_conserved,
    totals_are_the_venues,
    sequences_have_no_holes,
    prices_are_within_limits,
    times_are_plausible,
    nothing_pends,
    streaming_equals_derived,
]
