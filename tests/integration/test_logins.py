"""The programs' own logins of the embedded servers: made once, renewed, each with its role and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from operations.embedded.state import StateFolder
from operations.main_job.logins import GROUPS, Login, as_login, give_database, make_logins
from tests.conftest import fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from operations.embedded import Endpoints


@pytest.fixture(autouse=True)
def _one_at_a_time(endpoints: Endpoints) -> Iterator[None]:
    """The logins are the cluster's, and their names are given."""
    with psycopg.connect(endpoints.postgres_url("postgres")) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('tests.logins'))")
        yield


def folder(path: Path) -> StateFolder:
    (path / "secrets").mkdir(parents=True)
    return StateFolder(path)


def test_each_program_logs_in_with_its_role(endpoints: Endpoints, ledger_url: str, tmp_path: Path) -> None:
    database = ledger_url.rpartition("/")[2]
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second")
    for state in (first, second, second):  # another folder's passwords are renewed; a second start changes nothing
        make_logins(endpoints, state)
    for login, group in GROUPS.items():
        with psycopg.connect(as_login(login, second, endpoints).postgres_url(database)) as connection:
            found = connection.execute(
                "SELECT session_user, pg_has_role(%s, 'USAGE'), rolsuper OR rolcreaterole OR rolcreatedb "
                "FROM pg_roles WHERE rolname = session_user",
                [group],
            ).fetchone()
            assert found == (login, True, False)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(as_login(login, first, endpoints).postgres_url(database))


def test_dagsters_login_owns_what_the_superuser_once_made(
    endpoints: Endpoints, ledger_url: str, tmp_path: Path
) -> None:
    state = folder(tmp_path)
    make_logins(endpoints, state)
    with fresh_database(endpoints) as name:
        with psycopg.connect(endpoints.postgres_url(name)) as admin:
            admin.execute("CREATE TABLE runs (id serial PRIMARY KEY, n bigint GENERATED ALWAYS AS IDENTITY)")
            admin.execute("CREATE VIEW shown AS SELECT id FROM runs")
        for _ in range(2):
            give_database(endpoints, name, Login.DAGSTER)
        url = as_login(Login.DAGSTER, state, endpoints).postgres_url(name)
        with psycopg.connect(url) as dagster:
            dagster.execute("ALTER TABLE runs ADD what text")
            dagster.execute("INSERT INTO runs (what) VALUES ('x')")
            dagster.execute("DROP VIEW shown")
            dagster.execute("CREATE TABLE more ()")
