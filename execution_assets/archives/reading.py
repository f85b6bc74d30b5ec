"""How a day's rows come out of Postgres: as Arrow tables, by ADBC's binary ``COPY``, in a bounded memory.

Every value is kept exactly: numbers with their digits as text (``numeric`` has no limit that a Parquet decimal
could promise), bytes as bytes, nanoseconds and dates as such, the rest as Postgres writes it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import psycopg

from execution_assets.archives.ledger import conninfo
from execution_assets.archives.records import ONE_MOMENT, READABLY, SQL, TABLES

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import pyarrow as pa

    from execution_assets.archives.records import Part

_BLOCK_BYTES = 24 << 20  # a row group each, which bounds the memory of writer and reader
_BOOL, _BYTES, _DATE, _INTEGERS = 16, 17, 1082, (20, 21, 23)  # types' numbers (pg_type.oid)


class Reader:
    """Reads what a transaction sees. One table at a time, from one thread at a time."""

    def __init__(self, transaction: psycopg.Connection[Any], cursor: Any) -> None:
        self._transaction = transaction
        self._cursor = cursor
        self._given: list[Generator[Any]] = []

    def close(self) -> None:
        """End what was begun to be read, and wait for the thread that reads ahead: it uses the cursor."""
        for begun in self._given:
            begun.close()

    def tables(self, part: Part) -> Generator[tuple[str, Iterator[pa.Table]]]:
        """Give the tables of a part by name, the rows of each in Arrow tables; at least one, which may be empty.

        One of these is read ahead, the next table's first, too: Postgres scans, sorts and sends while this process
        encrypts and hashes. Take a table's rows before asking for the next table. Raises ``psycopg.Error``.
        """
        begun = self._tables(part)
        self._given.append(begun)
        return begun

    def _tables(self, part: Part) -> Generator[tuple[str, Iterator[pa.Table]]]:
        with closing(self._blocks(part)) as blocks, closing(_one_ahead(blocks)) as ahead:
            for name, group in groupby(ahead, key=itemgetter(0)):
                yield name, (block for _, block in group)

    def _blocks(self, part: Part) -> Generator[tuple[str, pa.Table]]:
        for table in TABLES[part.record_class]:
            for block in self._rows(table, part):
                yield table, block

    def _rows(self, table: str, part: Part) -> Iterator[pa.Table]:
        import adbc_driver_manager as adbc  # noqa: PLC0415  0.3 s that loading the definitions must not cost
        import pyarrow as pa  # noqa: PLC0415

        statement, columns = self._statement(SQL[table], part.parameters())
        schema = pa.schema([(name, _type(kind)) for name, kind in columns])
        is_first = True
        try:
            self._cursor.execute(statement)
            with self._cursor.fetch_record_batch() as batches:
                for batch in batches:
                    is_first = False
                    yield pa.Table.from_arrays(batch.columns, schema=schema)
        except (adbc.Error, OSError, pa.ArrowException) as error:  # OSError: what fails in the midst of the rows
            raise psycopg.OperationalError(f"{table} of {part.day}, {part.venue}: {error}") from error
        if is_first:
            yield schema.empty_table()

    def _statement(self, query: str, asked: dict[str, Any]) -> tuple[str, list[tuple[str, int]]]:
        """Give a query's text with its values in it, for ``COPY`` takes none, and its columns."""
        probe = self._transaction.execute(f"SELECT * FROM ({query}) q LIMIT 0".encode(), asked)  # noqa: S608  our own
        columns = [(column.name, column.type_code) for column in probe.description or ()]
        chosen = ", ".join(_exactly(name, kind) for name, kind in columns)
        with psycopg.ClientCursor(self._transaction) as cursor:
            return cursor.mogrify(f"SELECT {chosen} FROM ({query}) q".encode(), asked), columns  # noqa: S608


@contextmanager
def reading(transaction: psycopg.Connection[Any], url: str) -> Generator[Reader]:
    """Read what a transaction that ``prepare`` set up sees, through a connection of its own, which ends here.

    What the transaction itself has written is not seen. Whatever is still being read when an error leaves this is
    ended first: the error's traceback would keep it going on a cursor that is closed. Raises ``psycopg.Error``.
    """
    import adbc_driver_manager as adbc  # noqa: PLC0415
    from adbc_driver_postgresql import StatementOptions, dbapi  # noqa: PLC0415

    row = transaction.execute("SELECT pg_export_snapshot()").fetchone()
    assert row is not None, "a function gives a row"
    try:
        with dbapi.connect(conninfo(url)) as own, own.cursor() as cursor:
            for statement in (ONE_MOMENT, f"SET TRANSACTION SNAPSHOT '{row[0]}'", *READABLY):
                cursor.execute(statement)
            cursor.adbc_statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BLOCK_BYTES)})
            with closing(Reader(transaction, cursor)) as reader:
                yield reader
    except adbc.Error as error:
        raise psycopg.OperationalError(str(error)) from error


def _exactly(name: str, kind: int) -> str:
    """Give the expression of a column: what has no exact type in a file becomes the text that Postgres writes."""
    if kind in {_BYTES, _DATE}:
        return name
    if kind == _BOOL:
        return f"CASE {name} WHEN true THEN 't' WHEN false THEN 'f' END AS {name}"
    return f"{name}::{'bigint' if kind in _INTEGERS else 'text'} AS {name}"


def _type(kind: int) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if kind == _BYTES:
        return pa.binary()
    if kind == _DATE:
        return pa.date32()
    return pa.int64() if kind in _INTEGERS else pa.string()


def _one_ahead(blocks: Iterator[tuple[str, pa.Table]]) -> Generator[tuple[str, pa.Table]]:
    """Give the blocks while a thread makes the next one; never more than that one."""
    with ThreadPoolExecutor(1, "archive-reader") as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block
