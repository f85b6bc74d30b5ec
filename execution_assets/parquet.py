"""The asset ``slippage_parquet``: a day's slippage as one file that analysts open with what they like.

A row an execution, a column a figure; prices, quantities and bps are decimals, never floats. The file has no raw
messages, no credentials and no people. It is written beside its name and moved there whole: a reader finds the old
file or the new one. The file keeps the digest of its rows: of a day that did not change it stays as it was, and
what follows files by their times has nothing to copy.
"""

import os
from datetime import date
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from execution_assets.daily import DAILY
from execution_assets.day_by_day import BACKFILL, each_day
from execution_assets.days import TRADING_DAYS
from execution_assets.executions import CODE_VERSION, RETRY, executions
from execution_assets.lineage import PARQUET
from execution_assets.resources import LedgerResource
from execution_assets.settings import parquet_folder
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import DERIVED, OWNER

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection

_BLOCK_BYTES = 16 << 20
_DIGEST = "execution_agent.digest"  # in the file's metadata: of its rows
_NUMBERS = frozenset(
    {"last_qty", "last_px", "fee", "arrival_mid", "decision_price", "fill_mid", "interval_twap", "interval_vwap"}
)


@dg.asset(
    deps=[slippage_metrics, executions],
    partitions_def=TRADING_DAYS,
    group_name=DERIVED,
    owners=[OWNER],
    kinds={"parquet", "python"},
    code_version=CODE_VERSION,
    metadata={"dagster/column_lineage": PARQUET},
    retry_policy=RETRY,
    backfill_policy=BACKFILL,
    pool="execution.slippage_parquet",
    description=(
        "The day's executions with every slippage figure, one row each, as a Parquet file for analysts: open it "
        "with pandas, DuckDB or a spreadsheet's importer. Decimals are decimals; nothing in it is secret."
    ),
)
def slippage_parquet(context: dg.AssetExecutionContext, ledger: LedgerResource) -> None:
    """Write the files of the run's trading dates."""
    folder = parquet_folder()
    each_day(context, lambda day: _derive(ledger, day, folder))


def _derive(ledger: LedgerResource, day: date, folder: Path) -> dict[str, Any]:
    with ledger.reading() as connection:
        path, rows, schema, digest = write_day(connection, day, folder)
    columns = [dg.TableColumn(name, kind) for name, kind in schema]
    return {
        "dagster/row_count": rows,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "path": dg.MetadataValue.path(str(path)),
        "bytes": path.stat().st_size,
        "digest": digest,
    }


def write_day(connection: "Connection", day: date, folder: Path) -> tuple[Path, int, list[tuple[str, str]], str]:
    """Write the file of a day; give its path, how many rows, its columns with types, and the digest of its rows.

    A file that has these rows and columns already stays untouched. Rows are streamed through blocks of 16 MB, so
    memory stays flat however large the day. Raises ``pyarrow.ArrowInvalid`` where a number has more digits than a
    column of 38 can keep: nothing is rounded.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  0.3 s that loading the definitions must not cost

    path = folder / f"trade_date={day.isoformat()}" / "slippage.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    hasher = sha256()
    rows = 0
    writer: Any = None
    try:
        for table in _tables(connection, day, hasher.update):
            if writer is None:
                writer = pq.ParquetWriter(fresh, table.schema, compression="zstd", store_decimal_as_integer=True)
            writer.write_table(table)
            rows += table.num_rows
            schema = [(field.name, str(field.type)) for field in table.schema]
        assert writer is not None, "a day without rows has a header"
        writer.add_key_value_metadata({_DIGEST: hasher.hexdigest()})
        writer.close()
        if _told(path) != _told(fresh):
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path, rows, schema, hasher.hexdigest()


def _told(path: Path) -> tuple[Any, str] | None:
    """Give a file's columns and the digest of its rows; None where there is no such file."""
    import pyarrow.parquet as pq  # noqa: PLC0415
    from pyarrow import ArrowInvalid  # noqa: PLC0415

    try:
        found = pq.read_metadata(path)
    except (FileNotFoundError, ArrowInvalid):  # a damaged file is written anew
        return None
    digest = (found.metadata or {}).get(_DIGEST.encode())
    return None if digest is None else (found.schema, digest.decode())


def _tables(connection: "Connection", day: date, seen: Any) -> "Any":
    """Give the day's rows in tables of some megabytes; at least one, which may be empty."""
    query = str(DAILY["slippage_by_analyst"]).replace("%", "%%").replace(":day", "%(day)s")
    driver: Any = connection.connection.driver_connection
    names = [d.name for d in driver.execute(f"{query} LIMIT 0", {"day": day}).description]
    ordered = f"COPY ({query} ORDER BY e.venue, e.transact_ns, e.execution_id) TO STDOUT (FORMAT csv)"
    buffer = BytesIO()
    is_empty = True
    with driver.cursor() as cursor, cursor.copy(ordered, {"day": day}) as copy:
        for data in copy:  # a row each
            block = bytes(data)
            seen(block)
            buffer.write(block)
            if buffer.tell() >= _BLOCK_BYTES:
                yield _table(buffer.getvalue(), names)
                buffer, is_empty = BytesIO(), False
    if buffer.tell() or is_empty:
        yield _table(buffer.getvalue(), names)


def _table(lines: bytes, names: list[str]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    types = {name: _type(name) for name in names}
    if not lines:
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    return csv.read_csv(
        pa.BufferReader(lines),
        csv.ReadOptions(column_names=names, use_threads=False, block_size=len(lines) + 1),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False),
    )


def _type(name: str) -> "pa.DataType":
    import pyarrow as pa  # noqa: PLC0415

    if name == "trade_date":
        return pa.date32()
    if name == "transact_ns":
        return pa.int64()
    if name.endswith("_bps"):
        return pa.decimal128(38, 12)
    if name in _NUMBERS:
        return pa.decimal128(38, 18)
    return pa.string()
