"""Order reports by when they landed: the sensor that asks for days looks every few seconds."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX order_reports_landed ON execution.order_reports USING brin (landed_at)")


def downgrade() -> None:
    op.execute("DROP INDEX execution.order_reports_landed")
