"""Which rows make up an archive, and how they come out of Postgres as Arrow tables.

Every value is kept exactly: numbers with their digits as text (``numeric`` has no limit that a Parquet decimal
could promise), bytes as bytes, nanoseconds and dates as such, the rest as Postgres writes it.
"""

from __future__ import annotations

from binascii import unhexlify
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ledger.db.sql import load_queries
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import date

    import psycopg
    import pyarrow as pa

SQL = load_queries("archives")
SCHEMA_VERSION = 1  # of the files' columns; add columns at the end, and raise it
FILLS, AUDIT = "fills", "audit"
ALL_VENUES = "all"  # the audit events of a day are one sequence
TABLES: Final = {
    FILLS: ("fills", "order_reports", "executions", "slippage_metrics", "orders", "dead_letters"),
    AUDIT: ("audit_events",),
}
CLASS_OF = {table: record_class for record_class, tables in TABLES.items() for table in tables}
BLOCK_BYTES = 24 << 20  # of text: a row group each, which bounds the memory of writer and reader
_OIDS = {16: "bool", 17: "bytes", 20: "int", 21: "int", 23: "int", 1082: "date"}
_WORK_MEM = "256MB"


class Part(msgspec.Struct, frozen=True):
    """What an archive is of: a record class, a day (trading date, or date of record), a venue."""

    record_class: str
    day: Any  # a date: msgspec would check it again
    venue: str

    def parameters(self) -> dict[str, Any]:
        """Give what the queries ask for."""
        start = day_start(self.day.year, self.day.month, self.day.day)
        return {"day": self.day, "venue": self.venue, "start_ns": start, "end_ns": start + 86_400 * NANOS}


def parts_of(connection: psycopg.Connection[Any], record_class: str, day: date) -> list[Part]:
    """Give what there is to archive of a day, by venue."""
    asked = Part(record_class, day, "").parameters()
    if record_class == AUDIT:
        row = connection.execute(SQL["has_audit_events"].encode(), asked).fetchone()
        return [Part(AUDIT, day, ALL_VENUES)] if row is not None and row[0] else []
    return [Part(FILLS, day, venue) for (venue,) in connection.execute(SQL["venues"].encode(), asked)]


def day_before(connection: psycopg.Connection[Any], record_class: str, day: date) -> date | None:
    """Give the last day before ``day`` of which there is something to archive; None where a month has nothing."""
    query = "audit_day_before" if record_class == AUDIT else "day_before"
    row = connection.execute(SQL[query].encode(), {"day": day}).fetchone()
    return None if row is None else row[0]


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Set up a transaction to read a day by: one moment, times in UTC, room to sort."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute(
        f"SET LOCAL timezone = 'UTC'; SET LOCAL jit = off; SET LOCAL work_mem = '{_WORK_MEM}'".encode()
    )


def read_rows(connection: psycopg.Connection[Any], table: str, part: Part) -> Iterator[pa.Table]:
    """Give a table's rows of a part in Arrow tables of some megabytes; at least one, which may be empty.

    One block is read ahead: Postgres sorts and sends while this process parses, encrypts and hashes.
    """
    query, asked = SQL[table], part.parameters()
    probe = connection.execute(f"SELECT * FROM ({query}) q LIMIT 0".encode(), asked)  # noqa: S608  our own
    columns = {column.name: _OIDS.get(column.type_code, "text") for column in probe.description or ()}
    statement = f"COPY ({query}) TO STDOUT (FORMAT csv)".encode()
    # the thread ends before the generator that it runs is closed
    with closing(_blocks(connection, statement, asked)) as blocks, closing(_one_ahead(blocks)) as ahead:
        for lines in ahead:
            yield as_table(lines, columns)


def _blocks(connection: psycopg.Connection[Any], statement: bytes, asked: dict[str, Any]) -> Generator[bytes]:
    """Give whole lines, so many that they are a row group; at least once, which may be none."""
    buffer = BytesIO()
    is_first = True
    with connection.cursor() as cursor, cursor.copy(statement, asked) as copy:
        for data in copy:
            buffer.write(data)
            if buffer.tell() >= BLOCK_BYTES:
                yield buffer.getvalue()
                buffer, is_first = BytesIO(), False
    if buffer.tell() or is_first:
        yield buffer.getvalue()


def _one_ahead(blocks: Iterator[bytes]) -> Generator[bytes]:
    """Give the blocks while a thread makes the next one; never more than that one."""
    with ThreadPoolExecutor(1, "archive-reader") as pool:
        coming = pool.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = pool.submit(next, blocks, None)
            yield block


def as_table(lines: bytes, columns: dict[str, str]) -> pa.Table:
    """Make a table of CSV as Postgres writes it: null is empty, an empty text is quoted."""
    import pyarrow as pa  # noqa: PLC0415  0.3 s that loading the definitions must not cost
    from pyarrow import csv  # noqa: PLC0415

    types = {
        "bool": pa.string(),
        "bytes": pa.string(),
        "int": pa.int64(),
        "date": pa.date32(),
        "text": pa.string(),
    }
    if lines:
        table = csv.read_csv(
            pa.BufferReader(lines),
            csv.ReadOptions(column_names=list(columns), use_threads=False, block_size=len(lines) + 1),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                column_types={name: types[kind] for name, kind in columns.items()},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    else:
        table = pa.table({name: pa.array([], types[kind]) for name, kind in columns.items()})
    for place, (name, kind) in enumerate(columns.items()):
        if kind == "bytes":
            table = table.set_column(place, name, _from_hex(table.column(place)))
    return table


def _from_hex(column: pa.ChunkedArray) -> pa.Array:
    r"""Make bytes of ``\x00ff``, all values at once: one by one took half of the reading."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    texts = column.combine_chunks()
    if not len(texts):
        return pa.array([], pa.binary())
    _, places, data = texts.buffers()
    ends = np.frombuffer(places, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    digits = b"" if data is None else bytes(memoryview(data)[ends[0] : ends[-1]]).replace(b"\\x", b"")
    sizes = np.maximum(np.diff(ends) - 2, 0) // 2  # a null has no prefix
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(unhexlify(digits))]
    values = pa.Array.from_buffers(pa.binary(), len(texts), buffers)
    return pc.if_else(pc.is_valid(texts), values, pa.scalar(None, pa.binary()))
