"""Databases that a benchmark measures in: fresh ones, with the ledger's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from ledger.db.migrate import migrate

if TYPE_CHECKING:
    from operations.embedded import Endpoints


def fresh_database(endpoints: Endpoints, name: str) -> str:
    """Make a database with the ledger's schema; give its URL."""
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = endpoints.postgres_url(name)
    migrate(url)
    return url
