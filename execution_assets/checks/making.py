"""How a check is made: a frame of one day, a suite of expectations, an identity, a remedy.

The frames come from ``ledger/db/sql/checks.sql``, where every comparison is made, exactly; GX judges what they
say. Pandas frames and not GX's SQL source: numeric stays numeric in Postgres, one snapshot serves the whole suite,
and GX needs neither a login nor the right to make temporary tables. A frame travels by COPY: a million rows take
seconds.
"""

import io
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,  # Dagster exports the evaluation, not this part of it
)

from execution_assets.checks.keeping import Judge, keep
from execution_assets.day_by_day import without_limit
from execution_assets.days import TRADING_DAYS
from execution_assets.expectations import Outcome, evaluate
from execution_assets.resources import LedgerResource
from execution_assets.settings import data_docs_folder
from ledger.db.sql import load_queries
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

# of the one run of a backfill; public as tags of a run only
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"

_SQL = load_queries("checks")

# every check would say at each load that partitions of checks are new
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)

Frame = Callable[["Connection", date], "pd.DataFrame"]
Suite = Callable[[Any], Sequence[Any]]
Details = Callable[["Connection", date], Mapping[str, Any]]
Skip = Callable[["Connection", date], str | None]


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
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    details: Details | None = None,
    skip: Skip | None = None,
) -> dg.AssetChecksDefinition:
    """Make a check of a Great Expectations suite over a frame of one day.

    ``skip`` gives a reason for which there is nothing to check; ``details`` what the result shows besides.
    """
    judge = Judge(asset.key.to_user_string(), name, severity.value, blocking, description, remedy)

    # partitioned, or the gate between runs would take the last verdict on any day for that on every day
    @dg.asset_check(
        asset=asset, name=name, description=description, blocking=blocking, partitions_def=TRADING_DAYS
    )
    def check(context: dg.AssetCheckExecutionContext, ledger: LedgerResource) -> dg.AssetCheckResult:
        with ledger.reading() as connection:
            days = days_of(context, connection)
        without_limit(context.instance, context.run, days=len(days))
        results = {day: _of_day(ledger, day) for day in days}
        if not context.has_partition_key:
            for day, result in results.items():
                _tell_of_day(context, judge, day, result)
        return together(list(results.values()))

    def _of_day(ledger: LedgerResource, day: date) -> dg.AssetCheckResult:
        started = time.monotonic()
        with ledger.reading() as connection:
            digest = ask(connection, "derived_digest", day=day)["digest"]
            why = skip(connection, day) if skip is not None else None
            if why is not None:
                keep(ledger.engine(), judge, day, None, skipped=why, digest=digest)
                return dg.AssetCheckResult(passed=True, metadata={"day": day.isoformat(), "skipped": why})
            rows = frame(connection, day)
            more = details(connection, day) if details is not None else {}
        outcome = evaluate(rows, suite, identity, name=name, folder=docs_of(day))
        keep(ledger.engine(), judge, day, outcome, skipped=None, digest=digest)
        return outcome_result(outcome, day, remedy, severity, {**more, "seconds": time.monotonic() - started})

    return check


def _tell_of_day(
    context: dg.AssetCheckExecutionContext, judge: Judge, day: date, result: dg.AssetCheckResult
) -> None:
    """Report the verdict on one of a run's days: of a run without a partition key Dagster keeps one for all."""
    asset = dg.AssetKey.from_user_string(judge.asset)
    evaluation = dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=judge.name,
        passed=result.passed,
        severity=result.severity,
        metadata=result.metadata,
        blocking=judge.blocking,
        partition=day.isoformat(),
        target_materialization_data=_judged(context.instance, asset, day),
    )
    context.instance.report_dagster_event(
        dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
            job_name=context.run.job_name,
            event_specific_data=evaluation,
        ),
        run_id=context.run.run_id,
    )


def _judged(
    instance: dg.DagsterInstance, asset: dg.AssetKey, day: date
) -> AssetCheckEvaluationTargetMaterializationData | None:
    """Name the materialization that was judged: Dagster takes a verdict that names none for one on an older."""
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[day.isoformat()])
    newest = next(iter(instance.fetch_materializations(wanted, limit=1).records), None)
    if newest is None:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        run_id=newest.run_id, storage_id=newest.storage_id, timestamp=newest.timestamp
    )


def together(results: Sequence[dg.AssetCheckResult]) -> dg.AssetCheckResult:
    """Give the outcome of a run of several days: the first day that failed, else the last, and all that failed."""
    failed = [result for result in results if not result.passed]
    shown = failed[0] if failed else results[-1]
    if len(results) == 1:
        return shown
    names = [str(result.metadata["day"].value) for result in failed]
    more: dict[str, Any] = {"days": len(results), "days_failed": names}
    return dg.AssetCheckResult(
        passed=shown.passed, severity=shown.severity, metadata={**dict(shown.metadata), **more}
    )


def outcome_result(
    outcome: Outcome,
    day: date,
    remedy: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    more: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """Turn a suite's outcome into a check's."""
    rows = [
        (e.rule, "ok" if e.success else "FAILED", str(e.checked), str(e.failing), e.error or "")
        for e in outcome.expected
    ]
    metadata: dict[str, Any] = {
        "day": day.isoformat(),
        "rows": outcome.row_count,
        "failing": outcome.failing,
        "sample": outcome.sample(),
        "expectations": dg.MetadataValue.md(table(("expectation", "", "rows", "failing", ""), rows)),
        "remedy": remedy,
        **(more or {}),
    }
    if outcome.findings():
        metadata["findings"] = dg.MetadataValue.md(table(("row", "what is wrong"), outcome.findings()))
    return dg.AssetCheckResult(passed=outcome.success, severity=severity, metadata=metadata)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a Markdown table; what a venue wrote cannot end a cell."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def days_of(context: dg.AssetCheckExecutionContext, connection: "Connection") -> list[date]:
    """Give the days of the run, or the last one derived where the check is started alone."""
    if context.has_partition_key:
        return [date.fromisoformat(context.partition_key)]
    first, last = (context.run.tags.get(tag) for tag in (_RANGE_START, _RANGE_END))
    if first is not None and last is not None:
        keys = TRADING_DAYS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
        return [date.fromisoformat(key) for key in keys]
    day = ask(connection, "last_derived_day")["day"]
    if not isinstance(day, date):
        raise dg.Failure("no day was derived yet: materialize a partition of executions first")
    return [day]


def docs_of(day: date) -> Path | None:
    """Give the folder of a day's data docs, if they are kept."""
    folder = data_docs_folder()
    return None if folder is None else folder / day.isoformat()


def from_query(query: str, *, numbers: Sequence[str] = (), **parameters: Callable[[], object]) -> Frame:
    """Make a frame of a named query; ``parameters`` are asked for when it is read. The others are text."""

    def frame(connection: "Connection", day: date) -> "pd.DataFrame":
        given = {name: get() for name, get in parameters.items()}
        return read_frame(connection, query, {"day": day, **bounds(day), **given}, numbers)

    return frame


def bounds(day: date) -> dict[str, int]:
    """Give the first nanosecond of a day, and of the next."""
    start = day_start(day.year, day.month, day.day)
    return {"start_ns": start, "end_ns": start + 86_400 * NANOS}


def read_frame(
    connection: "Connection", query: str, parameters: Mapping[str, object], numbers: Sequence[str] = ()
) -> "pd.DataFrame":
    """Read a query's rows: ``numbers`` as whole numbers, null as missing, everything else as text."""
    import pandas as pd  # noqa: PLC0415  1-2 s that loading the definitions must not cost

    received = io.BytesIO()
    statement = f"COPY ({_SQL[query]}\n) TO STDOUT (FORMAT csv, HEADER)".encode()
    driver = connection.connection.driver_connection
    assert driver is not None, "the connection is open"
    with driver.cursor() as cursor, cursor.copy(statement, parameters) as copied:
        for part in copied:
            received.write(part)
    received.seek(0)
    kinds = dict.fromkeys(numbers, "int64")
    frame = pd.read_csv(received, dtype=str, keep_default_na=False, na_values=[""])
    return frame.astype(kinds)


def ask(connection: "Connection", query: str, **parameters: object) -> Mapping[str, Any]:
    """Run a query that gives one row."""
    driver = connection.connection.driver_connection
    assert driver is not None, "the connection is open"
    with driver.cursor() as cursor:
        row = cursor.execute(_SQL[query].encode(), parameters).fetchone()
        names = [column.name for column in cursor.description or ()]
    assert row is not None, f"{query} gives a row"
    return dict(zip(names, row, strict=True))


def all_hold(*rules: str) -> Suite:
    """Make the suite that expects nothing to be wrong: each rule is a column that says what is, or null."""

    def suite(expect: Any) -> Sequence[Any]:
        return [expect.ExpectColumnValuesToBeNull(column=rule) for rule in rules]

    return suite
