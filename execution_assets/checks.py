"""The checks of the derived assets: every outcome, passed or failed, says what was looked at and what to do.

They are not partitioned themselves (Dagster 1.13 calls that a preview): in a run of a day they look at that day,
started alone at the last one derived, and their metadata names it.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from execution_assets.comparison import Differences
from execution_assets.derivation import LIVE_KINDS
from execution_assets.executions import difference_table, executions
from execution_assets.expectations import SAMPLE, Outcome, evaluate
from execution_assets.facts import rows_of
from execution_assets.resources import LedgerResource
from execution_assets.slippage import slippage_metrics
from ledger.domain.numbers import EXACT
from ledger.domain.records import Quality
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

TOLERANCE_BPS = 2.0  # live and final figure of one execution (DESIGN section 7)
PENDING_SECONDS = 120

Frame = Callable[["Connection", date], "pd.DataFrame"]
Suite = Callable[[Any], Sequence[Any]]


def expectations_check(
    *,
    asset: dg.AssetsDefinition,
    name: str,
    frame: Frame,
    suite: Suite,
    identity: str,
    remedy: str,
    description: str,
    blocking: bool = False,
) -> dg.AssetChecksDefinition:
    """Make a check of a Great Expectations suite over a frame of one day."""

    @dg.asset_check(asset=asset, name=name, description=description, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, ledger: LedgerResource) -> dg.AssetCheckResult:
        with ledger.reading() as connection:
            day = day_of(context, connection)
            rows = frame(connection, day)
        return outcome_result(evaluate(rows, suite, identity), day, remedy)

    return check


def outcome_result(outcome: Outcome, day: date, remedy: str) -> dg.AssetCheckResult:
    """Turn a suite's outcome into a check's."""
    lines = [
        f"| {e.rule} | {'ok' if e.success else 'FAILED'} | {e.checked} | {e.failing} | {e.error or ''} |"
        for e in outcome.expected
    ]
    table = "\n".join(["| expectation | | rows | failing | |", "| --- | --- | ---: | ---: | --- |", *lines])
    return dg.AssetCheckResult(
        passed=outcome.success,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "day": day.isoformat(),
            "rows": outcome.row_count,
            "failing": outcome.failing,
            "sample": outcome.sample(),
            "expectations": dg.MetadataValue.md(table),
            "remedy": remedy,
        },
    )


def day_of(context: dg.AssetCheckExecutionContext, connection: "Connection") -> date:
    """Give the day of the run, or the last one derived where the check is started alone."""
    if context.has_partition_key:
        return date.fromisoformat(context.partition_key)
    day = next(rows_of(connection, "last_derived_day", {}))["day"]
    if not isinstance(day, date):
        raise dg.Failure("no day was derived yet: materialize a partition of executions first")
    return day


def execution_frame(connection: "Connection", day: date) -> "pd.DataFrame":
    """Give the day's executions."""
    return _frame(rows_of(connection, "execution_columns", {"day": day}))


def execution_suite(expect: Any) -> Sequence[Any]:
    """Say what every execution must be."""
    required = ("execution_id", "correlation_id", "msg_id", "venue", "symbol", "last_qty", "last_px")
    return [
        expect.ExpectColumnValuesToBeUnique(column="execution_id"),
        *(expect.ExpectColumnValuesToNotBeNull(column=column) for column in required),
        *(
            expect.ExpectColumnValuesToBeBetween(column=column, min_value=0, strict_min=True)
            for column in ("last_qty", "last_px")
        ),
    ]


def slippage_frame(connection: "Connection", day: date) -> "pd.DataFrame":
    """Give the day's figures of every live kind with how far the live one was from the final one.

    ``apart_bps`` is null where the benchmark is best effort (nothing is promised of it) and infinite where
    the live figure was missing. ``fee_apart_bps`` is the same of the execution's own ``fee_bps``, which needs no
    benchmark; a fee in a third currency is a figure of the kind ``fee``.
    """
    derivation = next(rows_of(connection, "derivation", {"day": day}), None)
    found: dict[tuple[str, str | None], float] = {}
    if derivation is not None:
        found = apart(msgspec.json.decode(derivation["differences"], type=Differences))
    return _frame(
        {
            **row,
            "unmeasured": row["benchmark"] is not None and row["bps"] is None,
            "apart_bps": found.get((row["execution_id"], row["kind"]), 0.0)
            if row["quality"] == Quality.EXACT
            else None,
            "fee_apart_bps": found.get((row["execution_id"], None), 0.0),
        }
        for row in rows_of(connection, "metric_columns", {"day": day, "kinds": LIVE_KINDS})
    )


def apart(differences: Differences) -> dict[tuple[str, str | None], float]:
    """Give the bps between live and final figure of each row that differed.

    The key is execution and kind; without a kind it is the execution, and the figure its ``fee_bps``.
    The subtraction is exact; the float that GX compares is only of its result.
    """
    distances: dict[tuple[str, str | None], float] = {}
    for found in differences.sample:
        figure = "fee_bps" if found.kind is None else "bps"
        live, final = found.fields.get(figure, ("0", "0"))
        distances[found.execution_id, found.kind] = (
            inf if live is None or final is None else float(abs(EXACT.subtract(Decimal(live), Decimal(final))))
        )
    return distances


def slippage_suite(expect: Any) -> Sequence[Any]:
    """Say how close live and final figures must be."""
    return [
        *(
            expect.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=TOLERANCE_BPS)
            for column in ("apart_bps", "fee_apart_bps")
        ),
        expect.ExpectColumnValuesToBeInSet(column="unmeasured", value_set=[False]),
    ]


def _frame(rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415  1-2 s that loading the definitions must not cost

    frame = pd.DataFrame.from_records([dict(row) for row in rows])
    if "apart_bps" in frame:
        frame["apart_bps"] = frame["apart_bps"].astype("float64")  # all None would be objects
    return frame


executions_are_sound = expectations_check(
    asset=executions,
    name="executions_are_sound",
    frame=execution_frame,
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

slippage_is_final = expectations_check(
    asset=slippage_metrics,
    name="slippage_is_final",
    frame=slippage_frame,
    suite=slippage_suite,
    identity="execution_id",
    description=(
        "Every slippage and fee that was published live is within 2 bps of the day's final figure, "
        "and there is one wherever there is a benchmark."
    ),
    remedy=(
        "The sampled executions were published with a slippage or fee that has changed by more than 2 bps since. "
        "Compare benchmark and snapshot_id under differences on the page of executions: a snapshot that came late "
        "or was changed is the usual cause, and of a fee_bps a row of execution.instruments. The live rows are "
        "corrected already; a second run passes."
    ),
)


@dg.asset_check(
    asset=executions,
    description="What streaming wrote live and what the landed reports amount to are the same, row by row.",
)
def streaming_equals_derived(
    context: dg.AssetCheckExecutionContext, ledger: LedgerResource
) -> dg.AssetCheckResult:
    """Compare the digests of the live and of the derived rows, as found before any correction."""
    with ledger.reading() as connection:
        day = day_of(context, connection)
        derivation = next(rows_of(connection, "derivation", {"day": day}), None)
    if derivation is None:
        return dg.AssetCheckResult(
            passed=False,
            metadata={"remedy": f"executions of {day} were never derived: materialize that partition."},
        )
    differences = msgspec.json.decode(derivation["differences"], type=Differences)
    return dg.AssetCheckResult(
        passed=not differences.count and derivation["derived_digest"] == derivation["live_digest"],
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "day": day.isoformat(),
            "executions": derivation["execution_count"],
            "differences": derivation["difference_count"],
            "sample": [found.execution_id for found in differences.sample[:SAMPLE]],
            "table": dg.MetadataValue.md(difference_table(differences.sample[:SAMPLE])),
            "streaming_digest": derivation["live_digest"],
            "derived_digest": derivation["derived_digest"],
            "remedy": (
                "The live rows were changed by something other than the landing of reports, or a fact came late "
                "without the live process noticing. They are corrected already: find out who wrote them "
                "(audit.event.execution names every decision of the live process), then run the day again."
            ),
        },
    )


@dg.asset_check(
    asset=executions,
    description="No report waits longer than two minutes for its order or for the report it refers to.",
)
def nothing_pends(context: dg.AssetCheckExecutionContext, ledger: LedgerResource) -> dg.AssetCheckResult:
    """Count the reports of the day that have waited too long."""
    before_ns = time.time_ns() - PENDING_SECONDS * NANOS
    with ledger.reading() as connection:
        day = day_of(context, connection)
        waiting = list(rows_of(connection, "pending_too_long", {"day": day, "before_ns": before_ns}))
    by_reason = Counter(f"{row['venue']} {row['reason']}" for row in waiting)
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "day": day.isoformat(),
            "pending": len(waiting),
            "by_reason": dict(by_reason),
            "sample": [row["report_id"] for row in waiting[:SAMPLE]],
            "remedy": (
                "awaiting_intent: the order never came on order.intent.route.v1, ask the OrderAgent for it. "
                "awaiting_reference: the fill that a bust or correct names never came, ask the venue to resend it."
            ),
        },
    )


CHECKS = [executions_are_sound, streaming_equals_derived, nothing_pends, slippage_is_final]
