"""Alembic's environment: the URL is handed over by ``ledger.db.migrate``; there is no alembic.ini."""

from __future__ import annotations

from pathlib import Path

from alembic import context
from sqlalchemy import create_engine, text

from ledger.db.tables import SCHEMA, metadata

AFTERWARDS = tuple(Path(__file__).with_name(name) for name in ("land.sql", "roles.sql"))


def run() -> None:
    """Run the migrations in one transaction, one migrator at a time."""
    url = context.config.attributes["url"]
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('execution.migrate'))"))
            context.configure(connection=connection, target_metadata=metadata, version_table_schema=SCHEMA)
            context.run_migrations()
            driver = connection.connection.driver_connection
            assert driver is not None, "migrations run online"
            for script in AFTERWARDS:
                driver.execute(script.read_text("utf-8"))
    finally:
        engine.dispose()


run()
