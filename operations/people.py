"""``execution-agent people``: logins of persons, and who of them may do what.

A person is a Postgres role that may log in and is a member of one of ``GROUPS`` (docs/security.md): the database
itself says who did what. A site with certificates, LDAP or Kerberos makes such roles by its own means.
"""

from __future__ import annotations

import contextlib
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
    from collections.abc import Collection, Sequence

_SQL = load_queries("people")
OPERATOR, AUDITOR, ANALYST, BACKFILL = "operator", "auditor", "analyst", "backfill"
GROUPS = {
    OPERATOR: "execution_operator",
    AUDITOR: "execution_auditor",
    ANALYST: "execution_analyst",
    # not inherited: only a command that says so (SET ROLE) writes what Dagster may write
    BACKFILL: "execution_dagster",
}
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_PASSWORD_BYTES = 24
_CONNECT_SECONDS = 5


class PeopleError(Exception):
    """A person cannot be added or removed, or it takes a person; the message says why and what to do."""


def add(url: str, name: str, roles: Collection[str] = (OPERATOR,), *, administrator: bool = False) -> str:
    """Make a person's login with a new password; give the URL with which they log in.

    ``roles`` are keys of ``GROUPS``; an administrator may add and remove persons. Raises ``PeopleError`` and
    ``psycopg.Error``.
    """
    if not _NAME.fullmatch(name) or name.startswith("pg_"):
        raise PeopleError(f"NAME {name!r}: a lower-case letter, then letters, digits, _ . or - are required")
    for role in roles:
        if role not in GROUPS:
            raise PeopleError(f"--role {role!r}: one of {', '.join(GROUPS)} is required")
    password = secrets.token_urlsafe(_PASSWORD_BYTES)
    with _connected(url) as connection:
        _require_administrator(connection)
        known = _one(connection, name)
        if known is not None:
            state = "is there" if known["may_log_in"] else "was there and is locked"
            raise PeopleError(f"login {name} {state}: a name stands for one person for good, choose another")
        # hashed here: the statement may be logged
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                sql.Identifier(name),
                sql.SQL("CREATEROLE" if administrator else "NOCREATEROLE"),
                sql.Literal(verifier.decode()),
            )
        )
        for role, group in GROUPS.items():
            _grant(connection, name, group, member=role in roles, inherited=role != BACKFILL, admin=administrator)
        _tell(connection, "person_added", name)
    return make_url(plain_url(url)).set(username=name, password=password).render_as_string(hide_password=False)


def listed(url: str) -> list[dict[str, Any]]:
    """Give the persons by name: ``name``, ``may_log_in``, ``roles``. Raises ``psycopg.Error``."""
    with _connected(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["listed"].encode()).fetchall()


def remove(url: str, name: str) -> None:
    """Lock a person's login and take their roles away; the name stays taken, for what they did stays theirs.

    Raises ``PeopleError`` and ``psycopg.Error``.
    """
    with _connected(url) as connection:
        _require_administrator(connection)
        known = _one(connection, name)
        if known is None or not known["is_person"] or known["is_superuser"]:
            raise PeopleError(f"there is no person {name}: execution-agent people list names them")
        role = sql.Identifier(name)
        try:
            connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN NOCREATEROLE PASSWORD NULL").format(role))
        except psycopg.errors.InsufficientPrivilege as error:
            raise PeopleError(
                f"{name} cannot be removed by this login: whoever added them, or the database's administrator, can"
            ) from error
        for group in GROUPS.values():
            connection.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), role))
        _tell(connection, "person_removed", name)
    _end_sessions(url, name)


def _end_sessions(url: str, name: str) -> None:
    """End what a person has open, where this login may: without their roles those sessions can do nothing."""
    with _connected(url) as connection, contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])


def require_person(url: str, what: str, role: str | None = None) -> str:
    """Give the name of the person that ``url`` logs in as. Raises ``PeopleError`` and ``psycopg.Error``.

    ``what`` they want to do begins the message that refuses; with ``role`` they must have it.
    """
    with _connected(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_SQL["logged_in"].encode()).fetchone()
    assert found is not None, "whoever is connected is a role"
    if not found["is_person"]:
        kind = "the database administrator's" if found["is_superuser"] else "no person's"
        raise PeopleError(
            f"{what} is a person's to do, and the login {found['name']} is {kind}: log in as yourself with --url "
            "or EXECUTION_AGENT_POSTGRES_URL; execution-agent people add NAME makes a login"
        )
    if role is not None and role not in found["roles"]:
        raise PeopleError(
            f"{what} needs the role {role}, and {found['name']} has {', '.join(found['roles'])}: an administrator "
            f"grants it with GRANT {GROUPS[role]} TO {found['name']}"
            + (" WITH INHERIT FALSE" if role == BACKFILL else "")
        )
    return str(found["name"])


def with_role(url: str, role: str) -> str:
    """The URL whose sessions act with a role's rights from the start; who is logged in stays the person."""
    options = f"-c role={GROUPS[role]}"
    return make_url(plain_url(url)).update_query_dict({"options": options}).render_as_string(hide_password=False)


def as_lines(people: Sequence[dict[str, Any]]) -> str:
    """One line a person: the name, and what they may do."""
    return "\n".join(
        person["name"] + ("" if person["may_log_in"] else "  (may not log in)")
        if person["roles"] == [OPERATOR] or not person["may_log_in"]
        else f"{person['name']}  {', '.join(person['roles'])}"
        for person in people
    )


def _connected(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url, connect_timeout=_CONNECT_SECONDS)


def _require_administrator(connection: psycopg.Connection[Any]) -> None:
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_SQL["logged_in"].encode()).fetchone()
    if found is None or not found["may_add_persons"]:
        name = "this login" if found is None else f"the login {found['name']}"
        raise PeopleError(
            f"{name} may not add or remove persons: log in with --url as the database's administrator, or as a "
            "person added with --administrator"
        )


def _grant(
    connection: psycopg.Connection[Any], name: str, group: str, *, member: bool, inherited: bool, admin: bool
) -> None:
    """Give a group's rights; to an administrator the right to give them on, too."""
    if not member and not admin:
        return
    options = f"INHERIT {member and inherited}, SET {member}, ADMIN {admin}"
    connection.execute(
        sql.SQL("GRANT {} TO {} WITH {}").format(sql.Identifier(group), sql.Identifier(name), sql.SQL(options))
    )


def _tell(connection: psycopg.Connection[Any], event: str, name: str) -> None:
    """Write it into the audit trail, with the change."""
    connection.execute(_SQL["tell"].encode(), {"event": event, "name": name})


def _one(connection: psycopg.Connection[Any], name: str) -> dict[str, Any] | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["one"].encode(), {"name": name}).fetchone()
