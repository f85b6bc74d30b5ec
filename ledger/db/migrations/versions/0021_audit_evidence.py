"""Leaves of dropped partitions, and verifications of the audit log."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parents[1] / "0021_audit_evidence.sql").read_text("utf-8")
    # the driver itself: many statements at once, and a % in them is no placeholder
    driver = op.get_bind().connection.driver_connection
    assert driver is not None, "migrations run online"
    driver.execute(sql)


def downgrade() -> None:
    message = (
        "What is known of dropped audit events would be lost: restore a backup instead, or "
        "`execution-agent reset` locally."
    )
    raise NotImplementedError(message)
