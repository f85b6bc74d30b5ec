"""A day's rows come out of Postgres as they are: every type, in one moment, and its errors are Postgres's."""

from __future__ import annotations

import os
import socket
import threading
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pytest

from execution_assets.archives.ledger import connect, conninfo
from execution_assets.archives.reading import reading
from execution_assets.archives.records import AUDIT, FILLS, SQL, TABLES, Part, prepare
from trust.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

DAY = date(2026, 11, 20)
PART = Part(FILLS, DAY, "100% 'V\"")
VALUES = """
SELECT * FROM (VALUES
  (1::smallint, '-9223372036854775808'::bigint, 'a,"b"' || chr(10) || '\\N', '\\x00ff2c'::bytea, DATE '1970-01-01',
   true, -0.10::numeric, '00000000-0000-0000-0000-00000000000a'::uuid, '{"b": [1.0, "é"]}'::jsonb,
   ARRAY['00000000-0000-0000-0000-00000000000b'::uuid], timestamptz '2026-11-20 12:00:00.123456+03', %(venue)s),
  (NULL, 2, '', ''::bytea, DATE '0001-01-01', false, 1e-30, NULL, NULL, ARRAY[]::uuid[], NULL, NULL),
  (3, NULL, NULL, NULL, NULL, NULL, 'NaN', NULL, NULL, NULL, 'infinity', NULL)
) AS t(small, big, text, raw, day, bool, number, uuid, json, uuids, at, venue)
"""


def tables_of(url: str, part: Part) -> dict[str, pa.Table]:
    with psycopg.connect(url) as connection, connection.transaction():
        prepare(connection)
        with reading(connection, url) as reader:
            return {name: pa.concat_tables(blocks) for name, blocks in reader.tables(part)}


def test_every_value_is_exact(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SQL, "fills", VALUES)
    found = tables_of(ledger_url, PART)["fills"]
    assert [list(row.values()) for row in found.to_pylist()] == [
        [1, -(2**63), 'a,"b"\n\\N', b"\x00\xff,", date(1970, 1, 1), "t", "-0.10",
         "00000000-0000-0000-0000-00000000000a", '{"b": [1.0, "é"]}', "{00000000-0000-0000-0000-00000000000b}",
         "2026-11-20 09:00:00.123456+00", PART.venue],
        [None, 2, "", b"", date(1, 1, 1), "f", "0.000000000000000000000000000001", None, None, "{}", None, None],
        [3, None, None, None, None, None, "NaN", None, None, None, "infinity", None],
    ]  # fmt: skip


def test_a_table_without_rows_has_its_columns(ledger_url: str) -> None:
    found = tables_of(ledger_url, PART)
    assert tuple(found) == TABLES[FILLS]
    assert {table.num_rows for table in found.values()} == {0}
    assert found["fills"].schema.field("raw").type == pa.binary()
    assert found["orders"].column_names[:2] == ["venue", "msg_id"]
    assert not any(field.metadata for field in found["fills"].schema)


def test_what_lands_meanwhile_is_not_seen(ledger_url: str) -> None:
    with psycopg.connect(ledger_url) as connection, connection.transaction():
        prepare(connection)
        with reading(connection, ledger_url) as reader:
            with psycopg.connect(ledger_url, autocommit=True) as other:
                other.execute(
                    "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
                    "VALUES (%s, gen_random_uuid(), 'fill.v1', 'k', 'x')",
                    [DAY],
                )
            rows = [block.num_rows for _, blocks in reader.tables(Part(AUDIT, DAY, "all")) for block in blocks]
    assert rows == [0]


def test_many_rows_come_in_blocks(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SQL, "fills", "SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 60000) n")
    with psycopg.connect(ledger_url) as connection, connection.transaction():
        prepare(connection)
        with reading(connection, ledger_url) as reader:
            sizes = [
                (b.num_rows, b.nbytes) for name, blocks in reader.tables(PART) for b in blocks if name == "fills"
            ]
    assert sum(rows for rows, _ in sizes) == 60_000
    assert len(sizes) >= 2
    assert max(size for _, size in sizes) < 64 << 20


def test_what_postgres_refuses_is_its_error(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SQL, "executions", "SELECT 1 / (n - 5) AS broken FROM generate_series(1, 9) n")
    with pytest.raises(psycopg.Error, match=r"executions of 2026-11-20.*division by zero"):
        tables_of(ledger_url, PART)


def refused(name: str, blocks: Iterable[pa.Table]) -> int:
    """Take a table's rows, as who writes them does; the store takes the first table only."""
    count = sum(int(block.num_rows) for block in blocks)
    if name != "fills":
        raise StoreError("the store is away")
    return count


def test_the_thread_that_reads_ahead_is_over_when_an_error_arrives(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error's traceback keeps the iterator; its thread, amid a statement, must not outlive the connection."""
    many = "SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 60000) n"
    monkeypatch.setitem(SQL, "fills", many)
    monkeypatch.setitem(SQL, "order_reports", many)
    monkeypatch.setitem(SQL, "executions", "SELECT pg_sleep(1)::text AS slept")
    with psycopg.connect(ledger_url) as connection, connection.transaction():
        prepare(connection)
        with pytest.raises(StoreError) as error, reading(connection, ledger_url) as reader:
            assert [refused(name, blocks) for name, blocks in reader.tables(PART)] == []
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith("archive-reader")]
    assert (left, error.value.__traceback__ is None) == ([], False)


def patience() -> dict[int, tuple[int, int]]:
    """Whether each TCP connection of this process asks for signs of life, and how long it waits for one (ms)."""
    found = {}
    for number in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        try:
            with socket.socket(fileno=os.dup(number)) as held:
                if held.family in {socket.AF_INET, socket.AF_INET6} and held.type == socket.SOCK_STREAM:
                    alive = held.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    found[number] = alive, held.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        except OSError:  # no socket, or gone
            continue
    return found


def test_a_reader_gives_up_a_machine_that_shows_no_sign_of_life(ledger_url: str) -> None:
    before = patience().keys()
    with connect(ledger_url) as connection, connection.transaction():
        prepare(connection)
        with reading(connection, ledger_url):
            new = [told for number, told in patience().items() if number not in before]
    assert new == [(1, 25_000)] * 2


def test_what_the_url_says_of_timeouts_counts() -> None:
    told = conninfo("postgresql://who@host/name?tcp_user_timeout=9000&connect_timeout=3")
    assert {"tcp_user_timeout=9000", "connect_timeout=3", "keepalives_idle=10", "dbname=name"} <= {*told.split()}
