"""Persons at a test's desk: logins of the run's Postgres, which are gone after the test."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from operations.people import OPERATOR, add

if TYPE_CHECKING:
    from collections.abc import Iterator


class Person:
    """Someone with a login of their own."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url


@contextmanager
def person(ledger_url: str, name: str, *roles: str) -> Iterator[Person]:
    """A person whose login begins with ``name``: roles are the cluster's, and tests run beside each other."""
    login = f"{name}_{uuid.uuid4().hex[:12]}"
    made = Person(login, add(ledger_url, login, roles or (OPERATOR,)))
    try:
        yield made
    finally:
        with psycopg.connect(ledger_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [login])
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))
