"""Letting a life go on: until it is ready, until nothing waits, until all is delivered and told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from operations.main_job.figures import ask

if TYPE_CHECKING:
    import psycopg

    from chaos.victim import Victim
    from operations.main_job.programs import Ports

_READY_SECONDS = 60.0
_CALM_SECONDS, _CALM_LOOKS = 60.0, 3
_STUCK_SECONDS = 60.0  # nothing has moved for so long, and not all is delivered: it never will be
_DRAIN_SECONDS = 600.0  # something still moves after so long, and it does not come to an end
_QUIET_LOOKS = 6
_LOOK_SECONDS, _REST_LOOK_SECONDS = 0.5, 0.02
_FEW = 250  # arrivals that wait at any moment of a calm life
_ALL = {"count": _FEW, "at_source": 0}  # as long as nobody says
_TOPICS = ("order-intents", "market-data")  # as /status names them
_BEHIND = """
SELECT extract(epoch FROM clock_timestamp()) - max(at_ns) / 1e9 FROM execution.benchmark_snapshots
WHERE taken_on >= current_date - 1 AND symbol <> 'DRILL'
"""
_LAST = "SELECT xid::text::bigint, position FROM execution.audit_events ORDER BY xid DESC, position DESC LIMIT 1"
_CURSOR = "SELECT xid::text::bigint, position FROM execution.publish_cursors"


class ChaosError(Exception):
    """The campaign cannot go on."""


def await_ready(ports: Ports, victim: Victim) -> None:
    """Wait until it lands. Raises ``ChaosError``."""
    deadline = time.monotonic() + _READY_SECONDS
    while not ask(f"http://127.0.0.1:{ports.http}/status").get("ready"):
        if not victim.alive or time.monotonic() > deadline:
            raise ChaosError(f"the streaming process did not get ready; {victim.log} ends with:\n{victim.words()}")
        time.sleep(0.05)


def behind(connection: psycopg.Connection[Any]) -> float:
    """Give how old the newest snapshot is that has landed."""
    row = connection.execute(_BEHIND.encode()).fetchone()
    return float(row[0] or 0.0) if row is not None else 0.0


def catch_up(ports: Ports, victim: Victim) -> None:
    """Let a life go on until nothing waits."""
    await_ready(ports, victim)
    calm, deadline = 0, time.monotonic() + _CALM_SECONDS
    while calm < _CALM_LOOKS and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS / 2)
        status = ask(f"http://127.0.0.1:{ports.http}/status")
        live = all(state == "live" for state in status.get("feeds", {"": "down"}).values())
        waits = sum(found["count"] + found["at_source"] for found in status.get("waiting", {"": _ALL}).values())
        calm = calm + 1 if live and waits < _FEW else 0


def drain(ports: Ports, victim: Victim, connection: psycopg.Connection[Any]) -> bool:
    """Have the venues make no more orders, wait until they have delivered all, and end the life at rest.

    False where nothing moves any more, or something does not come to an end; the life goes on then.
    """
    await_ready(ports, victim)
    ask(f"http://127.0.0.1:{ports.control}/stop-orders", post=True)
    quiet, last, moved = 0, (-1, -1), time.monotonic()
    deadline = moved + _DRAIN_SECONDS
    while time.monotonic() < min(moved + _STUCK_SECONDS, deadline):
        books = ask(f"http://127.0.0.1:{ports.control}/books")
        stream = ask(f"http://127.0.0.1:{ports.http}/status")
        left = sum(venue["outstanding"] for venue in books.get("venues", {}).values())
        now = (left, sum(stream.get("published", {}).values()))
        waiting = stream.get("waiting", {})
        unread = sum(waiting.get(feed, _ALL)["count"] + waiting.get(feed, _ALL)["at_source"] for feed in _TOPICS)
        still = books.get("state") == "drained" and stream.get("backlog", _FEW) < _FEW and not unread
        quiet = quiet + 1 if still else 0
        if quiet >= _QUIET_LOOKS:
            return _end_at_rest(ports, victim, connection)
        if now != last:
            last, moved = now, time.monotonic()
        time.sleep(_LOOK_SECONDS)
    return False


def _end_at_rest(ports: Ports, victim: Victim, connection: psycopg.Connection[Any]) -> bool:
    """Kill the life at a moment when all that has landed is published.

    It need not come to rest by itself: feeds that are switched, and checkpoints, are events too.
    """
    deadline = time.monotonic() + _STUCK_SECONDS
    while time.monotonic() < deadline:
        if _place(connection, _CURSOR) >= _place(connection, _LAST):
            victim.kill(group=True)
            if _place(connection, _CURSOR) >= _place(connection, _LAST):
                return True
            victim.start()  # something landed in between
            await_ready(ports, victim)
        time.sleep(_REST_LOOK_SECONDS)
    return False


def _place(connection: psycopg.Connection[Any], query: str) -> tuple[int, int]:
    """Give a place in the outbox."""
    row = connection.execute(query.encode()).fetchone()
    return (row[0], row[1]) if row is not None else (0, 0)
