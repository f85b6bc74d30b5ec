"""Busts by what they refer to: the second bust of a fill is in no chain, and must be found again."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX fills_busts ON execution.fills (venue, exec_ref_id) WHERE kind = 'bust'")


def downgrade() -> None:
    op.execute("DROP INDEX execution.fills_busts")
