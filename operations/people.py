"""``execution-agent people``: logins of the persons at the desk.

A person is a Postgres role that may log in and is a member of ``execution_operator`` (migration 0005): the
database itself says who voted. A site with certificates, LDAP or Kerberos makes such roles by its own means.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy import make_url

from ledger.db.sql import load_queries
from ledger.db.urls import plain_url

if TYPE_CHECKING:
    from collections.abc import Sequence

_SQL = load_queries("people")
_GROUP = "execution_operator"
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_PASSWORD_BYTES = 24
_CONNECT_SECONDS = 5


class PeopleError(Exception):
    """A person cannot be added or removed; the message says why and what to do."""


def add(url: str, name: str) -> str:
    """Make a person's login with a new password; give the URL with which they log in.

    Raises ``PeopleError`` and ``psycopg.Error``.
    """
    if not _NAME.fullmatch(name) or name.startswith("pg_"):
        raise PeopleError(f"NAME {name!r}: a lower-case letter, then letters, digits, _ . or - are required")
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with _connected(url) as connection:
        known = _one(connection, name)
        if known is not None:
            state = "is there" if known["may_log_in"] else "was there and is locked"
            raise PeopleError(f"login {name} {state}: a name stands for one person for good, choose another")
        # hashed here: the statement may be logged
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                sql.Identifier(name), sql.Literal(verifier.decode()), sql.Identifier(_GROUP)
            )
        )
        _tell(connection, "person_added", name)
    return make_url(plain_url(url)).set(username=name, password=password).render_as_string(hide_password=False)


def listed(url: str) -> list[dict[str, Any]]:
    """Give the persons by name: ``name``, ``may_log_in``. Raises ``psycopg.Error``."""
    with _connected(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["listed"].encode()).fetchall()


def remove(url: str, name: str) -> None:
    """Lock a person's login and take the membership away; the name stays taken, for their votes stay theirs.

    Raises ``PeopleError`` and ``psycopg.Error``.
    """
    with _connected(url) as connection:
        known = _one(connection, name)
        if known is None or not known["is_person"] or known["is_superuser"]:
            raise PeopleError(f"there is no person {name}: execution-agent people list names them")
        role = sql.Identifier(name)
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(role))
        connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(_GROUP), role))
        _tell(connection, "person_removed", name)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])


def as_lines(people: Sequence[dict[str, Any]]) -> str:
    """One line a person."""
    return "\n".join(person["name"] + ("" if person["may_log_in"] else "  (may not log in)") for person in people)


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, connect_timeout=_CONNECT_SECONDS)


def _tell(connection: psycopg.Connection[Any], event: str, name: str) -> None:
    """Write it into the audit trail, with the change."""
    connection.execute(_SQL["tell"].encode(), {"event": event, "name": name})


def _one(connection: psycopg.Connection[Any], name: str) -> dict[str, Any] | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["one"].encode(), {"name": name}).fetchone()
