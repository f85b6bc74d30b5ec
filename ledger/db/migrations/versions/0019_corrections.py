"""Dagster tells of its corrections, and of nothing else in the ledger's name."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_FUNCTION = """
CREATE FUNCTION execution.record_correction(
    day date, executions bigint, slippages bigint, live_digest text, derived_digest text
) RETURNS uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT execution.record_act(
        'executions_corrected', md5('execution.executions:' || day)::uuid, 'day ' || day, NULL,
        jsonb_build_object('trade_date', day, 'executions', executions, 'slippages', slippages,
                           'live_digest', live_digest, 'derived_digest', derived_digest))
$$
"""
_SIGNATURE = "execution.record_correction(date, bigint, bigint, text, text)"


def upgrade() -> None:
    op.execute(_FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION {_SIGNATURE} FROM PUBLIC")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION {_SIGNATURE}")
