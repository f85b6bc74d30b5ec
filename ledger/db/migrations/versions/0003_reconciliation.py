"""Reconciliation: order states, references that reports give, matched totals, releases and rejections."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parents[1] / "0003_reconciliation.sql").read_text("utf-8")
    # the driver itself: many statements at once, and a % in them is no placeholder
    driver = op.get_bind().connection.driver_connection
    assert driver is not None, "migrations run online"
    driver.execute(sql)


def downgrade() -> None:
    message = "Facts would be lost: restore a backup instead, or `execution-agent reset` locally."
    raise NotImplementedError(message)
