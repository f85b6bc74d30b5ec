"""SQL over archives that are decrypted into memory as they are read: no plain copy, no temporary file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.archives.access import QUERIED, Receipt, complete, record_access
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.library import objects_of
from operations.archive.choosing import choose, dataset_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import Listed
    from operations.archive.choosing import Choice

MOST_ROWS = 100_000
MEMORY = "1GB"
# columns that are numbers; their exact text is in the archive's own table
_NUMBERS = frozenset(
    {
        "last_qty", "last_px", "cum_qty", "leaves_qty", "avg_px", "fee", "fee_bps", "bps", "benchmark",
        "order_qty", "limit_price", "decision_price",
    }
)  # fmt: skip
_PLACES = 12  # so that a product of two still fits into DuckDB's 38 digits, up to 10^14


class Answer(msgspec.Struct, frozen=True):
    """The names of the columns, the rows, and the receipt."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool
    receipt: Receipt


def query(
    library: Library, choice: Choice, statement: str, reason: str, *, url: str | None, claimed: str | None = None
) -> Answer:
    """Answer SQL over the chosen archives' tables; it is recorded before anything is decrypted.

    Raises ``ArchiveError`` where the statement is wrong, ``TrustError``.
    """
    import duckdb  # noqa: PLC0415  --help stays fast

    listed = choose(library, choice)
    names = choice.tables(())
    asked = {**choice.asked, "sql": statement, **library.left_out()}
    files = [held for table in names for held in objects_of(listed, table)]
    with database(library, listed, names, choice) as connection:
        try:
            connection.extract_statements(statement)
        except duckdb.Error as error:
            raise ArchiveError(f"SQL: {error}") from error
        receipt = record_access(library, url, QUERIED, reason, asked, files, claimed)
        try:
            result = connection.execute(statement)
            columns = tuple(str(column[0]) for column in result.description or ())
            rows = result.fetchmany(MOST_ROWS + 1)
        except duckdb.Error as error:
            raise ArchiveError(f"SQL: {error}") from error
    complete(library, receipt, [{"rows": str(min(len(rows), MOST_ROWS))}])
    return Answer(columns, tuple(rows[:MOST_ROWS]), len(rows) > MOST_ROWS, receipt)


@contextmanager
def database(
    library: Library, listed: list[Listed], tables: tuple[str, ...], choice: Choice
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database in memory whose tables are the archives: without disk, files, network or extensions."""
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect(":memory:")
    try:
        # what does not fit into memory fails rather than being spilled to a file
        connection.execute(f"SET temp_directory = ''; SET memory_limit = '{MEMORY}'; SET threads = 2")
        connection.execute("CREATE SCHEMA stored")
        connection.execute("CREATE MACRO exact(t) AS " + _exact("t"))
        for table in tables:
            files = objects_of(listed, table)
            if files:
                data = dataset_of(library, files)
                connection.register(f"{table}_stored", data)
                _views(connection, table, data.schema.names, choice.wanted(table))
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _exact(value: str) -> str:
    """SQL that makes a number of exact text, and fails where it has more places than a DECIMAL can keep."""
    return (
        f"CASE WHEN length(rtrim(split_part({value}, '.', 2), '0')) > {_PLACES} "
        f"THEN error('{_PLACES} places are the most here, was ' || {value} || ': use its text in stored.*') "
        f"ELSE {value}::DECIMAL(38, {_PLACES}) END"
    )


def _views(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str], wanted: dict[str, str]) -> None:
    """``stored.TABLE`` has the texts as they are archived, ``TABLE`` numbers to reckon with."""
    conditions = " AND ".join(f"{name} = {_quoted(value)}" for name, value in wanted.items()) or "true"
    connection.execute(f"CREATE VIEW stored.{table} AS SELECT * FROM {table}_stored WHERE {conditions}")  # noqa: S608
    shown = ", ".join(f'exact("{name}") AS "{name}"' if name in _NUMBERS else f'"{name}"' for name in columns)
    connection.execute(f"CREATE VIEW {table} AS SELECT {shown} FROM stored.{table}")  # noqa: S608  our own names


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
