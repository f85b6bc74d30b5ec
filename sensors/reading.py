"""How sensors ask Postgres: named queries over the ledger's read-only connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from ledger.db.sql import load_queries

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SQL = {**load_queries("watching"), **load_queries("dead_letters")}


def rows(connection: Connection, query: str, **parameters: object) -> list[dict[str, Any]]:
    """Give all rows of a query whose result is bounded by itself."""
    driver = connection.connection.driver_connection
    assert driver is not None, "the connection is open"
    with driver.cursor(row_factory=dict_row) as cursor:
        found: list[dict[str, Any]] = cursor.execute(_SQL[query].encode(), parameters).fetchall()
    return found
