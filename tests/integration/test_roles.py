"""What each role may do to each table: tried, and compared with the table that docs/security.md shows."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from ledger.db.migrate import MIGRATIONS
from operations.cli import app
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES = ("writer", "publisher", "dagster", "analyst", "auditor", "operator")
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
APPEND_ONLY = "EA005"
AFTERWARDS = MIGRATIONS / "roles.sql"
_TABLES = """
SELECT c.relname, array_agg(a.attname ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'execution'::regnamespace AND c.relkind = ANY(%s) AND c.relispartition = %s
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
GROUP BY c.relname ORDER BY c.relname
"""


def tables(connection: psycopg.Connection[Any], *, partitions: bool = False) -> dict[str, list[str]]:
    kinds = ["r", "p", "v"]
    return dict(connection.execute(_TABLES, [kinds, partitions]).fetchall())


def allowed(connection: psycopg.Connection[Any], statement: sql.Composable) -> bool:
    """Run a statement that finds no row and take it back; whether the role may."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.Error as error:
        if error.sqlstate != APPEND_ONLY:  # the trigger's refusal comes behind the right
            raise
    return True


def may(connection: psycopg.Connection[Any], verb: str, table: str, columns: list[str]) -> str:
    """The verb's letter: upper case for all columns, lower case for some of them, else nothing."""
    name = sql.Identifier("execution", table)
    match verb:
        case "SELECT":
            return "S" if allowed(connection, sql.SQL("SELECT * FROM {} WHERE false").format(name)) else ""
        case "DELETE":
            return "D" if allowed(connection, sql.SQL("DELETE FROM {} WHERE false").format(name)) else ""
        case "TRUNCATE":
            return "T" if allowed(connection, sql.SQL("TRUNCATE {}").format(name)) else ""
        case "INSERT":
            form = "INSERT INTO {0} ({1}) SELECT NULL WHERE false"
        case _:
            form = "UPDATE {0} SET {1} = NULL WHERE false"
    tried = [
        allowed(connection, _cast(connection, sql.SQL(form).format(name, sql.Identifier(column)), table, column))
        for column in columns
    ]
    return verb[0] if all(tried) else verb[0].lower() if any(tried) else ""


def _cast(connection: psycopg.Connection[Any], statement: sql.Composed, table: str, column: str) -> sql.Composable:
    kind = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
        [f"execution.{table}", column],
    ).fetchone()
    assert kind is not None
    return sql.SQL(statement.as_string(connection).replace("NULL", f"NULL::{kind[0]}", 1))


@pytest.fixture
def owner(ledger_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("SELECT execution.ensure_partitions('2026-11-23')")
        yield connection


def _as(connection: psycopg.Connection[Any], role: str) -> None:
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"execution_{role}")))


def matrix(connection: psycopg.Connection[Any]) -> list[str]:
    """The table of docs/security.md, as it is tried here."""
    lines = [f"| table | {' | '.join(ROLES)} |", "| --- |" + " --- |" * len(ROLES)]
    named = tables(connection)
    views = set(tables_of_kind(connection, "v"))
    found: dict[str, list[str]] = {name: [] for name in named}
    for role in ROLES:
        _as(connection, role)
        for name, columns in named.items():
            verbs = VERBS[:1] if name in views else VERBS
            found[name].append("".join(may(connection, verb, name, columns) for verb in verbs))
        connection.execute("RESET ROLE")
    return lines + [f"| `{name}` | {' | '.join(cell or '-' for cell in cells)} |" for name, cells in found.items()]


def tables_of_kind(connection: psycopg.Connection[Any], kind: str) -> list[str]:
    return list(dict(connection.execute(_TABLES, [[kind], False]).fetchall()))


def documented() -> list[str]:
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    return [line for line in text[text.index("| table | writer") :].split("\n\n", 1)[0].splitlines() if line]


def test_each_role_may_what_the_documented_table_says_and_nothing_else(
    owner: psycopg.Connection[Any],
) -> None:
    assert matrix(owner) == documented()


def test_a_right_that_is_not_documented_is_noticed(owner: psycopg.Connection[Any]) -> None:
    owner.execute("GRANT DELETE ON execution.fills TO execution_writer")
    owner.execute("GRANT UPDATE (body) ON execution.audit_events TO execution_dagster")
    assert len(set(matrix(owner)) - set(documented())) == 2


def test_no_role_has_anything_on_a_partition(owner: psycopg.Connection[Any]) -> None:
    found = tables(owner, partitions=True)
    assert "fills_20261123" in found
    for role in ROLES:
        _as(owner, role)
        assert not [n for n, columns in found.items() if may(owner, "SELECT", n, columns)]
        assert not [n for n, columns in found.items() if may(owner, "DELETE", n, columns)]
        owner.execute("RESET ROLE")


def test_partitions_made_for_the_writer_belong_to_the_schemas_owner(owner: psycopg.Connection[Any]) -> None:
    _as(owner, "writer")
    owner.execute("SELECT execution.ensure_partitions('2026-11-24')")
    owner.execute("RESET ROLE")
    found = owner.execute(
        "SELECT DISTINCT relowner = (SELECT nspowner FROM pg_namespace WHERE nspname = 'execution') "
        "FROM pg_class WHERE relname LIKE '%\\_20261124'"
    ).fetchall()
    assert found == [(True,)]


def test_a_table_in_the_callers_path_does_not_lead_the_owners_function_astray(
    owner: psycopg.Connection[Any],
) -> None:
    _as(owner, "writer")
    owner.execute("CREATE TEMP TABLE pg_class (relname text)")
    owner.execute("CREATE FUNCTION pg_temp.to_char(date, text) RETURNS text LANGUAGE sql RETURN 'x''; DROP TABLE'")
    owner.execute("SET search_path = pg_temp, pg_catalog")
    owner.execute("SELECT execution.ensure_partitions('2026-11-25')")
    owner.execute("RESET ROLE")
    assert owner.execute("SELECT to_regclass('execution.fills_20261125') IS NOT NULL").fetchone() == (True,)


@pytest.mark.parametrize("role", ["owner", *ROLES])
@pytest.mark.parametrize("table", ["audit_events", "audit_events_20261123", "audit_checkpoints"])
def test_nobody_changes_or_deletes_what_was_recorded(
    owner: psycopg.Connection[Any], role: str, table: str
) -> None:
    owner.execute(
        "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
        "VALUES ('2026-11-23', gen_random_uuid(), 'fill', 'k', 'b')"
    )
    if role != "owner":
        _as(owner, role)
    column = "note" if table == "audit_checkpoints" else "key"
    name = sql.Identifier("execution", table)
    for statement in ("DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET {} = 'x'"):
        with pytest.raises(psycopg.Error) as refused:
            owner.execute(sql.SQL(statement).format(name, sql.Identifier(column)))
        assert refused.value.sqlstate in {APPEND_ONLY, "42501"}
    owner.execute("RESET ROLE")
    assert owner.execute("SELECT key FROM execution.audit_events").fetchall() == [("k",)]


def test_where_roles_may_not_be_made_it_says_what_to_run(
    owner: psycopg.Connection[Any], urls: dict[str, str]
) -> None:
    name = f"execution_{uuid.uuid4().hex}"
    script = AFTERWARDS.read_text("utf-8").replace("'execution_analyst'", f"'{name}'", 1)
    with (
        psycopg.connect(urls["writer"]) as limited,
        pytest.raises(psycopg.errors.InsufficientPrivilege) as refused,
    ):
        limited.execute(script.encode())
    assert f"have an administrator run  CREATE ROLE {name} NOLOGIN;  and migrate again" in str(refused.value)
    assert owner.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None


def test_migrating_as_somebody_else_is_refused_in_one_line(urls: dict[str, str]) -> None:
    refused = CliRunner().invoke(app, ["migrate", "--url", urls["writer"]])
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
    assert "the schema could not be migrated" in refused.stderr


def test_the_writer_does_not_say_who_recorded_an_event_or_when(owner: psycopg.Connection[Any]) -> None:
    insert = (
        "INSERT INTO execution.audit_events (event_id, event_type, key, body{}) "
        "VALUES (gen_random_uuid(), 'fill', 'k', ''{})"
    )
    _as(owner, "writer")
    for column, value in (("recorded_by", "'alice'"), ("recorded_on", "'2020-01-01'"), ("xid", "'1'")):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute(insert.format(f", {column}", f", {value}").encode())
    owner.execute(insert.format("", "").encode())


def test_functions_of_the_schema_are_nobodys_by_default(owner: psycopg.Connection[Any]) -> None:
    found = owner.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'execution'::regnamespace "
        "AND has_function_privilege('execution_analyst', p.oid, 'EXECUTE')"
    ).fetchall()
    assert found == [("execution.record_person(text,text)",)]  # which asks for more than a role
