"""The checks of ``slippage_metrics``: final against live, and nothing that points at nothing."""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.checks.making import all_hold, expectations_check, from_query
from execution_assets.comparison import Difference, Differences, said_apart, trimmed
from execution_assets.derivation import LIVE_KINDS
from execution_assets.facts import rows_of
from execution_assets.slippage import slippage_metrics
from ledger.domain.records import Quality

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

Judged = tuple[str, str | None, str | None, str | None, str | None, str | None]  # columns of the frame


def slippage_frame(connection: "Connection", day: date) -> "pd.DataFrame":
    """Give the day's figures of every live kind, and what is wrong with each.

    ``apart`` is of the figure, where it is exact, live or in the end (nothing is promised of another);
    ``fee_apart`` of the execution's own ``fee_bps``, which needs no benchmark; a fee in a third currency is a
    figure of the kind ``fee``. A figure that was published and is gone now has a row, too; ``unkept`` says what
    went beyond the tolerance and is not among the differences that are kept.
    """
    import pandas as pd  # noqa: PLC0415  1-2 s that loading the definitions must not cost

    derivation = next(rows_of(connection, "derivation", {"day": day}), None)
    differences = Differences()
    if derivation is not None:
        differences = msgspec.json.decode(derivation["differences"], type=Differences)
    figures = rows_of(connection, "metric_columns", {"day": day, "kinds": LIVE_KINDS}, stream=True)
    columns = ["execution_id", "kind", "apart", "fee_apart", "unmeasured", "unkept"]
    return pd.DataFrame.from_records(judged(figures, differences), columns=columns)


def judged(figures: Iterator[Mapping[str, Any]], differences: Differences) -> Iterator[Judged]:
    """Give the rows of the frame: of every figure that there is, and of those that are gone."""
    found = {(one.execution_id, one.kind): one for one in differences.sample}
    left = set(found)
    for row in figures:
        key, fee = (row["execution_id"], row["kind"]), (row["execution_id"], None)
        left -= {key, fee}
        yield (
            *key,
            _apart(found.get(key), row["quality"]),
            _apart(found.get(fee)),
            "there is a benchmark and no figure" if row["benchmark"] is not None and row["bps"] is None else None,
            None,
        )
    for key in sorted(left, key=lambda key: (key[0], key[1] or "")):
        said = _apart(found[key])
        yield (*key, None if key[1] is None else said, said if key[1] is None else None, None, None)
    unkept = differences.count - len(differences.sample)
    if unkept > 0 and differences.beyond:
        yield (
            *("not kept", None, None, None, None),
            (
                f"figures beyond the tolerance: {differences.beyond} in all, the furthest by "
                f"{trimmed(differences.worst_bps)} bps; of {differences.count} differences "
                f"{len(differences.sample)} are kept"
            ),
        )


def _apart(found: Difference | None, quality: str | None = None) -> str | None:
    """Say what is wrong with a figure; ``quality``: its own now, where live and final do not differ in it."""
    if found is None:
        return None
    if found.kind is not None:
        told = found.fields.get("quality", (quality, quality))
        # gone, and of unknown quality: as if it were exact
        if told != (None, None) and Quality.EXACT not in told:
            return None
    live, final = found.fields.get("fee_bps" if found.kind is None else "bps", ("0", "0"))
    return said_apart(*(None if figure is None else Decimal(figure) for figure in (live, final)))


slippage_is_final = expectations_check(
    asset=slippage_metrics,
    name="slippage_is_final",
    frame=slippage_frame,
    suite=all_hold("apart", "fee_apart", "unmeasured", "unkept"),
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
