"""The programs' own logins in the embedded Postgres: each has the rights of its part and no others.

What the parts may do is in ``ledger/db/migrations/roles.sql``; a site makes such logins by its own means.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder


class Login(StrEnum):
    """A program's login, by its name."""

    STREAM = "execution_stream"
    PUBLISHER = "execution_publish"
    DAGSTER = "execution_derive"


GROUPS = {
    Login.STREAM: "execution_writer",
    Login.PUBLISHER: "execution_publisher",
    Login.DAGSTER: "execution_dagster",
}
# Dagster's migrations of its own storage ask for ownership; earlier runs made it as the superuser.
_OWN_EVERYTHING = """
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT c.oid::regclass,
               CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
          AND c.relowner <> {0}::regrole
          AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i')
                          AND c.relkind = 'S')
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO %I', found.kind, found.oid, {0});
    END LOOP;
END
$$
"""


def as_login(login: Login, state: StateFolder, endpoints: Endpoints) -> Endpoints:
    """The same servers, seen with a program's login."""
    return msgspec.structs.replace(
        endpoints, postgres_user=str(login), postgres_password=state.secret(f"postgres-{login}")
    )


def make_logins(endpoints: Endpoints, state: StateFolder) -> None:
    """Make the programs' logins, or give them the passwords that this state folder remembers."""
    with psycopg.connect(endpoints.postgres_url("postgres")) as connection:
        for login, group in GROUPS.items():
            _make(connection, login, group, state.secret(f"postgres-{login}"))


def give_database(endpoints: Endpoints, database: str, login: Login) -> None:
    """Make a login the owner of a database and of all that is in it."""
    with psycopg.connect(endpoints.postgres_url(database)) as connection:
        name = sql.Identifier(login)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), name))
        connection.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(name))
        connection.execute(sql.SQL(_OWN_EVERYTHING).format(sql.Literal(login)))


def _make(connection: psycopg.Connection[Any], login: Login, group: str, password: str) -> None:
    """Make one login or renew its password; it is hashed here, since the statement may be logged."""
    name = sql.Identifier(login)
    known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login]).fetchone()
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256")
    statement = "CREATE ROLE {} LOGIN PASSWORD {}" if known is None else "ALTER ROLE {} LOGIN PASSWORD {}"
    connection.execute(sql.SQL(statement).format(name, sql.Literal(verifier.decode())))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), name))
