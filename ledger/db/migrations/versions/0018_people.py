"""Persons who add persons: their own login goes into the audit trail."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# As record_act says who by session_user, an administrator needs no right to write events of other kinds.
_FUNCTION = """
CREATE FUNCTION execution.record_person(event text, name text) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF event NOT IN ('person_added', 'person_removed') THEN
        RAISE EXCEPTION 'event %: person_added or person_removed is required', event USING ERRCODE = '22023';
    END IF;
    IF NOT (SELECT r.rolsuper OR r.rolcreaterole FROM pg_roles r WHERE r.rolname = session_user) THEN
        RAISE EXCEPTION '% may not add or remove persons', session_user USING ERRCODE = '42501';
    END IF;
    RETURN execution.record_act(event, md5('execution.person:' || name)::uuid, name, NULL,
                                jsonb_build_object('login', name));
END
$$
"""


def upgrade() -> None:
    op.execute(_FUNCTION)
    op.execute("REVOKE ALL ON FUNCTION execution.record_person(text, text) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION execution.record_person(text, text)")
