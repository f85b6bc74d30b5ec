"""What executions and orders cost against the market's own average price while the order worked."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE execution.slippage_finals ADD COLUMN interval_vwap_bps NUMERIC",
    "COMMENT ON COLUMN execution.slippage_finals.interval_vwap_bps IS 'against the order''s interval_vwap'",
    "ALTER TABLE execution.order_costs ADD COLUMN interval_vwap_bps NUMERIC, ADD COLUMN interval_twap_bps NUMERIC",
    "COMMENT ON COLUMN execution.order_costs.interval_vwap_bps IS 'avg_px against interval_vwap'",
    "COMMENT ON COLUMN execution.order_costs.interval_twap_bps IS 'avg_px against interval_twap'",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    message = "Final figures would be lost: restore a backup instead, or `execution-agent reset` locally."
    raise NotImplementedError(message)
