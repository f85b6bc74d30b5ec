"""The figures of a running main job: asked of the streaming process, the simulator and Postgres."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import msgspec

from operations.main_job.balance import DEAD, DUPLICATES

if TYPE_CHECKING:
    import psycopg

    from operations.main_job.programs import Ports

_TIMEOUT = 2.0
_COUNT_EVERY = 20


class Figures(msgspec.Struct):
    """One look at everything; a part that did not answer is empty."""

    stream: dict[str, Any]
    simulator: dict[str, Any]
    pending: dict[str, int]
    breaks: dict[str, int]
    dead_letters: dict[str, int]
    landed: dict[str, int]
    duplicates: dict[str, int]


class Observer:
    """Asks everyone. What Postgres counts is of all runs with the same data."""

    def __init__(self, ports: Ports, connection: psycopg.Connection[Any]) -> None:
        self._ports = ports
        self._connection = connection
        self._landed: dict[str, int] = {}
        self._count_again = 0.0

    def look(self) -> Figures:
        """Take one look."""
        connection = self._connection
        return Figures(
            ask(f"http://127.0.0.1:{self._ports.http}/status"),
            ask(f"http://127.0.0.1:{self._ports.control}/books"),
            _counts(connection, "SELECT venue, count(*) FROM execution.fills_pending GROUP BY venue"),
            _counts(
                connection,
                "SELECT o.venue, count(DISTINCT b.break_id) FROM execution.breaks b "
                "JOIN execution.orders o USING (correlation_id) WHERE b.ended_at IS NULL GROUP BY o.venue",
            ),
            _counts(connection, DEAD),
            self._count_landed(),
            _counts(connection, DUPLICATES),
        )

    def _count_landed(self) -> dict[str, int]:
        """Count the reports; of many, seldom: the counting takes a twentieth of the time at most."""
        began = time.monotonic()
        if began >= self._count_again:
            self._landed = _counts(self._connection, "SELECT venue, count(*) FROM execution.fills GROUP BY venue")
            ended = time.monotonic()
            self._count_again = ended + _COUNT_EVERY * (ended - began)
        return self._landed


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
