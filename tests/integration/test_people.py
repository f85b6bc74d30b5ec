"""Logins that are taken back, from the database's own view."""

from __future__ import annotations

import uuid

import psycopg
import pytest
from psycopg import sql

from operations.people import OPERATOR, add, remove


def test_a_person_who_stays_connected_is_locked_out_by_another(ledger_url: str) -> None:
    """An administrator-person may not end others' sessions: the roles go all the same, and the login."""
    ann, bob = (f"{name}_{uuid.uuid4().hex[:12]}" for name in ("ann", "bob"))
    by_ann = add(ledger_url, ann, (OPERATOR,), administrator=True)
    try:
        by_bob = add(by_ann, bob, (OPERATOR,))
        with psycopg.connect(by_bob, autocommit=True) as session:
            session.execute("SELECT count(*) FROM execution.halt_requests")
            remove(by_ann, bob)
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.OperationalError)):
                session.execute("SELECT count(*) FROM execution.halt_requests")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(by_bob)
    finally:
        with psycopg.connect(ledger_url, autocommit=True) as admin:
            for name in (bob, ann):
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
