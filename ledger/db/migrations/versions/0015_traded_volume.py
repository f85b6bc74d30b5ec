"""What the market traded between two snapshots of a symbol."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default no row is written anew, in whatever partition.
    op.execute(
        "ALTER TABLE execution.benchmark_snapshots "
        "ADD COLUMN traded_qty NUMERIC, ADD COLUMN traded_notional NUMERIC"
    )


def downgrade() -> None:
    message = "Volumes would be lost: restore a backup instead, or `execution-agent reset` locally."
    raise NotImplementedError(message)
