"""The figures of a running main job: asked of the streaming process, the simulator and Postgres."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import msgspec

if TYPE_CHECKING:
    import psycopg

    from operations.main_job.programs import Ports

_TIMEOUT = 2.0


class Figures(msgspec.Struct):
    """One look at everything; a part that did not answer is empty."""

    stream: dict[str, Any]
    simulator: dict[str, Any]
    pending: dict[str, int]
    breaks: dict[str, int]
    dead_letters: dict[str, int]


def look(ports: Ports, connection: psycopg.Connection[Any]) -> Figures:
    """Ask everyone."""
    return Figures(
        ask(f"http://127.0.0.1:{ports.http}/status"),
        ask(f"http://127.0.0.1:{ports.control}/books"),
        _counts(connection, "SELECT venue, count(*) FROM execution.fills_pending GROUP BY venue"),
        _counts(
            connection,
            "SELECT o.venue, count(DISTINCT b.break_id) FROM execution.breaks b "
            "JOIN execution.orders o USING (correlation_id) WHERE b.ended_at IS NULL GROUP BY o.venue",
        ),
        _counts(connection, "SELECT source, count(*) FROM execution.dead_letters GROUP BY source"),
    )


def ask(url: str, *, post: bool = False) -> dict[str, Any]:
    """GET (or POST to) one of our own loopback pages; {} when it does not answer with JSON."""
    request = urllib.request.Request(url, method="POST" if post else "GET")  # noqa: S310  our own loopback URL
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            found = json.load(answer)
    except (URLError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _counts(connection: psycopg.Connection[Any], query: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    counts.update(connection.execute(query.encode()).fetchall())
    return counts
