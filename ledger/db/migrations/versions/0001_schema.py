"""The schema as it began."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parents[1] / "0001_schema.sql").read_text("utf-8")
    # the driver itself: many statements at once, and a % in them is no placeholder
    driver = op.get_bind().connection.driver_connection
    assert driver is not None, "migrations run online"
    driver.execute(sql)


def downgrade() -> None:
    message = "The first migration is not undone: drop the database, or `execution-agent reset` locally."
    raise NotImplementedError(message)
