"""The migrations end at the declared schema, and can be run again."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from ledger.db.migrate import MIGRATIONS, migrate
from ledger.db.tables import PARTITIONED, SCHEMA, Xid8, metadata
from ledger.db.urls import psycopg_url

DAY = date(2026, 11, 23)
_PARTITION = re.compile(rf"({'|'.join(PARTITIONED)})_(default|\d{{8}})")


def _is_declared(name: str | None, kind: str) -> bool:
    return not (kind == "table" and _PARTITION.fullmatch(name or ""))


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    if kind == "index" and reflected:
        return _is_declared(item.table.name, "table")
    return _is_declared(name, kind)


def differences(url: str) -> list[Any]:
    engine = create_engine(psycopg_url(url))
    try:
        with engine.connect() as connection:
            options = {
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
                "include_object": include_object,
                "version_table_schema": SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
            }
            return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))
    finally:
        engine.dispose()


def partitions(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT inhparent::regclass::text, count(*) FROM pg_inherits "
            "WHERE inhparent::regclass::text LIKE 'execution.%' AND inhrelid IN "
            "(SELECT oid FROM pg_class WHERE relkind = 'r') GROUP BY 1"
        ).fetchall()
    return dict(found)


# Alembic compares the expressions of computed columns as text; the test after this one compares their meaning.
COMPUTED = pytest.mark.filterwarnings("ignore:Computed default on")


def computed(url: str) -> set[tuple[str, str, str]]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT table_name, column_name, generation_expression FROM information_schema.columns "
            "WHERE table_schema = 'execution' AND is_generated = 'ALWAYS'"
        ).fetchall()
    return {(table, column, expression) for table, column, expression in found if _is_declared(table, "table")}


@COMPUTED
def test_migrations_end_at_the_declared_metadata(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ischema_names, "xid8", Xid8)
    with psycopg.connect(ledger_url) as connection:
        connection.execute("SELECT execution.ensure_partitions(%s)", [DAY])
    assert differences(ledger_url) == []


def test_computed_columns_are_computed_as_declared(ledger_url: str, database_url: str) -> None:
    engine = create_engine(psycopg_url(database_url))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        metadata.create_all(connection)
    engine.dispose()
    assert computed(ledger_url) == computed(database_url)
    assert ("fills", "received_at") in {found[:2] for found in computed(ledger_url)}


@COMPUTED
def test_a_column_that_is_not_declared_is_noticed(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ischema_names, "xid8", Xid8)
    with psycopg.connect(ledger_url) as connection:
        connection.execute("ALTER TABLE execution.fills ADD stray text")
        connection.execute("DROP INDEX execution.orders_routed")
    assert {change[0] for change in differences(ledger_url)} == {"remove_column", "add_index"}


def test_migrating_twice_is_harmless_and_keeps_the_rows(database_url: str) -> None:
    first = migrate(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO execution.feed_positions VALUES ('f', 's', 'i', 7)")
    assert migrate(database_url) == first
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT position FROM execution.feed_positions").fetchall() == [(7,)]
        assert connection.execute("SELECT version_num FROM execution.alembic_version").fetchall() == [(first,)]


def test_partitions_of_a_day_are_made_once(ledger_url: str) -> None:
    before = partitions(ledger_url)
    assert set(before) == {f"{SCHEMA}.{name}" for name in PARTITIONED}
    with psycopg.connect(ledger_url) as connection:
        for _ in range(2):
            connection.execute("SELECT execution.ensure_partitions(%s)", [DAY])
    assert partitions(ledger_url) == {name: number + 1 for name, number in before.items()}


def test_two_sessions_make_the_same_day_one_after_the_other(ledger_url: str) -> None:
    with psycopg.connect(ledger_url) as first, psycopg.connect(ledger_url) as second:
        first.execute("SELECT execution.ensure_partitions(%s)", [DAY])
        second.execute("SET lock_timeout = '100ms'")
        try:
            second.execute("SELECT execution.ensure_partitions(%s)", [DAY])
        except psycopg.errors.LockNotAvailable:
            second.rollback()
        else:
            raise AssertionError("the second session waits for the first")
        first.commit()
        second.execute("SELECT execution.ensure_partitions(%s)", [DAY])


def test_a_day_that_began_in_the_default_partition_goes_on_there(ledger_url: str) -> None:
    insert = "INSERT INTO execution.benchmark_snapshots (snapshot_id, taken_on, symbol, bid, ask, at_ns) VALUES "
    before = partitions(ledger_url)
    with psycopg.connect(ledger_url) as connection:
        connection.execute(f"{insert} ('S1', %s, 'X', 1, 2, 3)", [DAY])
        for _ in range(2):
            connection.execute("SELECT execution.ensure_partitions(%s)", [DAY])
        connection.execute(f"{insert} ('S2', %s, 'X', 1, 2, 3)", [DAY])
        found = connection.execute("SELECT DISTINCT tableoid::regclass::text FROM execution.benchmark_snapshots")
        assert found.fetchall() == [("execution.benchmark_snapshots_default",)]
    assert {name for name, number in partitions(ledger_url).items() if number == before[name]} == {
        "execution.benchmark_snapshots"
    }


def test_volumes_are_of_every_partition_those_from_before_too(ledger_url: str) -> None:
    with psycopg.connect(ledger_url) as connection:
        # as the ledger was before 0015, with a day in a partition of its own and one in the default
        connection.execute(
            "ALTER TABLE execution.benchmark_snapshots DROP COLUMN traded_qty, DROP COLUMN traded_notional"
        )
        connection.execute("SELECT execution.ensure_partitions(%s)", [DAY])
        for name, day in (("S1", DAY), ("S2", date(2025, 1, 1))):
            connection.execute(
                "INSERT INTO execution.benchmark_snapshots (snapshot_id, taken_on, symbol, bid, ask, at_ns) "
                "VALUES (%s, %s, 'X', 1, 2, 3)",
                [name, day],
            )
        connection.execute("UPDATE execution.alembic_version SET version_num = '0014'")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = psycopg_url(ledger_url)
    command.upgrade(config, "0015")
    with psycopg.connect(ledger_url) as connection:
        found = connection.execute(
            "SELECT tableoid::regclass::text, traded_qty, traded_notional FROM execution.benchmark_snapshots "
            "ORDER BY snapshot_id"
        ).fetchall()
    assert found == [
        ("execution.benchmark_snapshots_20261123", None, None),
        ("execution.benchmark_snapshots_default", None, None),
    ]


def test_every_instant_of_a_day_belongs_to_its_partition(ledger_url: str) -> None:
    with psycopg.connect(ledger_url) as connection:
        connection.execute("SELECT execution.ensure_partitions(%s)", [DAY])
        connection.execute(
            "INSERT INTO execution.benchmark_snapshots (snapshot_id, taken_on, symbol, bid, ask, at_ns) "
            "VALUES ('S', %s, 'X', 1, 2, 3)",
            [DAY],
        )
        found = connection.execute("SELECT tableoid::regclass::text FROM execution.benchmark_snapshots")
        assert found.fetchall() == [("execution.benchmark_snapshots_20261123",)]
