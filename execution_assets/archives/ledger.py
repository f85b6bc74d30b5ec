"""Connections to Postgres that end when whoever is at the other end does not answer any more."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_SECONDS: Final = 10
# libpq waits for an answer for as long as the connection is there, and a machine that was switched off or cut off
# ends none: after 25 s without a sign of its kernel the reader gets an error. A slow query may take its time.
_SIGNS_OF_LIFE: Final = {
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


def conninfo(url: str, connect_seconds: int = CONNECT_SECONDS) -> str:
    """Give what libpq is to connect by; what the URL itself says of keepalives and timeouts counts."""
    given = {"connect_timeout": str(connect_seconds), **_SIGNS_OF_LIFE}
    return make_conninfo("", **{**given, **conninfo_to_dict(url)})


def connect(url: str, connect_seconds: int = CONNECT_SECONDS) -> psycopg.Connection[Any]:
    """Connect. Raises ``psycopg.Error``."""
    return psycopg.connect(conninfo(url, connect_seconds))
