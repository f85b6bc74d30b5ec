"""The checks of ``slippage_metrics``: final against live, and nothing that points at nothing."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from execution_assets.checks.making import all_hold, expectations_check, from_query
from execution_assets.comparison import Difference, Differences
from execution_assets.derivation import LIVE_KINDS
from execution_assets.facts import rows_of
from execution_assets.slippage import slippage_metrics
from ledger.domain.numbers import EXACT, text
from ledger.domain.records import Quality

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

TOLERANCE_BPS = Decimal(2)  # live and final figure of one execution (docs/architecture.md)

Key = tuple[str, str | None]


def slippage_frame(connection: "Connection", day: date) -> "pd.DataFrame":
    """Give the day's figures of every live kind, and what is wrong with each.

    ``apart`` is of the figure, where its benchmark is exact (nothing is promised of another); ``fee_apart`` of the
    execution's own ``fee_bps``, which needs no benchmark; a fee in a third currency is a figure of the kind
    ``fee``.
    """
    import pandas as pd  # noqa: PLC0415  1-2 s that loading the definitions must not cost

    derivation = next(rows_of(connection, "derivation", {"day": day}), None)
    found: dict[Key, str] = {}
    if derivation is not None:
        found = dict(too_far_apart(msgspec.json.decode(derivation["differences"], type=Differences)))
    columns = ["execution_id", "kind", "apart", "fee_apart", "unmeasured"]
    rows = (
        (
            row["execution_id"],
            row["kind"],
            found.get((row["execution_id"], row["kind"])) if row["quality"] == Quality.EXACT else None,
            found.get((row["execution_id"], None)),
            "there is a benchmark and no figure" if row["benchmark"] is not None and row["bps"] is None else None,
        )
        for row in rows_of(connection, "metric_columns", {"day": day, "kinds": LIVE_KINDS}, stream=True)
    )
    return pd.DataFrame.from_records(rows, columns=columns)


def too_far_apart(differences: Differences) -> Iterator[tuple[Key, str]]:
    """Give each figure whose live value was further from the final one than the tolerance, in exact decimals.

    The key is execution and kind; without a kind it is the execution, and the figure its ``fee_bps``.
    """
    for found in differences.sample:
        said = _apart(found)
        if said is not None:
            yield (found.execution_id, found.kind), said


def _apart(found: Difference) -> str | None:
    live, final = found.fields.get("fee_bps" if found.kind is None else "bps", ("0", "0"))
    if live is None or final is None:
        return None if live == final else f"live {live or 'none'}, final {final or 'none'}"
    distance = abs(EXACT.subtract(Decimal(live), Decimal(final)))
    return f"live {live}, final {final}: {text(distance)} bps apart" if distance > TOLERANCE_BPS else None


slippage_is_final = expectations_check(
    asset=slippage_metrics,
    name="slippage_is_final",
    frame=slippage_frame,
    suite=all_hold("apart", "fee_apart", "unmeasured"),
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

references_hold = expectations_check(
    asset=slippage_metrics,
    name="references_hold",
    frame=from_query("references"),
    suite=all_hold("routed_order", "snapshot", "execution", "report"),
    identity="row_id",
    blocking=True,
    description=(
        "Everything points at something: an execution at its routed message and its benchmark's snapshot, a "
        "slippage at its execution, a waiting report at its report."
    ),
    remedy=(
        "Rows were removed by hand, or a day of a table was dropped while it was needed: restore it (or land "
        "it again: `execution-agent dlq replay`, a feed's resend), then materialize the day again. The report "
        "of the day is not published until this passes."
    ),
)

CHECKS = [slippage_is_final, references_hold]
