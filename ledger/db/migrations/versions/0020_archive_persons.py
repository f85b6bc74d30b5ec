"""Who opened an archive is the session's login."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    sql = (Path(__file__).parents[1] / "0020_archive_persons.sql").read_text("utf-8")
    # the driver itself: many statements at once, and a % in them is no placeholder
    driver = op.get_bind().connection.driver_connection
    assert driver is not None, "migrations run online"
    driver.execute(sql)


def downgrade() -> None:
    message = "Whoever may record an access could name another person again: restore a backup instead."
    raise NotImplementedError(message)
