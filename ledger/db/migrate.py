"""Migrations, run by the embedded stack at its start and by ``execution-agent migrate`` elsewhere."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from ledger.db.urls import psycopg_url

MIGRATIONS = Path(__file__).with_name("migrations")


def migrate(url: str) -> str:
    """Bring the database at ``url`` (``postgresql://…``) to the newest revision; give that revision."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = psycopg_url(url)
    command.upgrade(config, "head")
    head = ScriptDirectory.from_config(config).get_current_head()
    assert head is not None, "there is at least one migration"
    return head
