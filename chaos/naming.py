"""What is missing, by name: for a campaign that does not come to rest, or whose books do not balance."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from chaos.backups import venue_of
from chaos.books import EVENTS, INBOUND, MADE, made_of
from chaos.comparing import Landed, lost, unpublished
from chaos.topics import read_topic
from operations.main_job.figures import ask
from streaming.topics import OUTBOUND, topics_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import psycopg

    from chaos.victim import Victim
    from operations.embedded.endpoints import Endpoints
    from operations.main_job.programs import Ports

_NAMED = 10
_STATUS = (
    "ready",
    "backlog",
    "publisher",
    "redis",
    "audit",
    "feeds",
    "failover",
    "waiting",
    "halted",
    "published",
)
_LANDED = "SELECT DISTINCT venue, exec_id FROM execution.fills"


def missing(journal: Path, connection: psycopg.Connection[Any], endpoints: Endpoints) -> list[str]:
    """Name what was made, or is on Kafka, and is not in Postgres; and what has landed and is not on Kafka."""
    landed: Landed = {(venue, exec_id): [] for venue, exec_id in connection.execute(_LANDED.encode()).fetchall()}
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as venues:
        lines = _some("made by the venue and not landed", lost(made_of(venues.execute(MADE)).values(), landed))
    for topic, _, query in INBOUND:
        rows: dict[str, int] = dict(connection.execute(query.encode()).fetchall())
        there = read_topic(endpoints.kafka_bootstrap, topic)
        gone = [f"{topic}/{m.partition}@{m.offset} {m.event_id}" for m in there if m.event_id not in rows]
        lines += _some("on Kafka and not landed", gone)
    events = [(row[0].hex, row[1], row[2]) for row in connection.execute(EVENTS.encode()).fetchall()]
    for topic in OUTBOUND:
        due = {event_id: key for event_id, event_type, key in events if topic in topics_of(event_type)}
        found = unpublished(topic, due, read_topic(endpoints.kafka_bootstrap, topic))
        lines += _some("landed and not on Kafka", found)
    return lines


def standing(ports: Ports, victim: Victim) -> list[str]:
    """Say how the process and the venues stand: what each waits for."""
    books = ask(f"http://127.0.0.1:{ports.control}/books")
    lines = [
        f"venue {name}: {venue['outstanding']} not delivered, connected: {venue['connected']}"
        for name, venue in books.get("venues", {}).items()
        if venue_of(name) == name
    ]
    lines.append(f"venues are {books.get('state', 'not to be asked')}, unpublished {books.get('unpublished')}")
    if not victim.alive:
        return [*lines, f"the streaming process has ended; its log ends with: {victim.words()}"]
    status = ask(f"http://127.0.0.1:{ports.http}/status")
    lines += [f"process {name}: {status[name]}" for name in _STATUS if name in status]
    if not status:
        lines.append("the process does not answer /status")
    return lines + [f"task {line.strip()}" for line in victim.stacks()]


def _some(what: str, names: Sequence[str]) -> list[str]:
    """Give the first names of each kind, and how many more there are."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[name.split(" ")[0]].append(name)
    lines = []
    for found in kinds.values():
        lines += [f"{what}: {name}" for name in found[:_NAMED]]
        if len(found) > _NAMED:
            lines.append(f"{what}: … and {len(found) - _NAMED:,} more like {found[-1]}")
    return lines
