"""One Postgres URL in settings, and how each driver wants to read it."""

from __future__ import annotations

from sqlalchemy import make_url


def psycopg_url(url: str) -> str:
    """Name psycopg 3: with SQLAlchemy a bare ``postgresql://`` means another driver by version."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def plain_url(url: str) -> str:
    """Name no driver: what asyncpg and libpq read."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
