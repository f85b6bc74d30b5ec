"""What must hold of the rows and messages of a campaign, as pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from operations.main_job.balance import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Made(msgspec.Struct, frozen=True):
    """A report that a venue made: numbers in plain notation without trailing zeros."""

    venue: str
    kind: str
    exec_id: str
    last_qty: str
    last_px: str


class Row(msgspec.Struct, frozen=True):
    """A row of ``fills`` and the transaction that wrote it. Two wordings of a report have one ``report_id``."""

    xid: int
    kind: str
    last_qty: str
    last_px: str
    report_id: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message of a topic; in a list, each partition's stand in the order of their offsets."""

    partition: int
    offset: int
    key: str
    event_id: str


Landed = dict[tuple[str, str], list[Row]]  # by venue and ExecID


def reports(made: Iterable[Made], landed: Landed) -> list[Line]:
    """Every report that was made is there once, as it was made, and no other."""
    known = {(report.venue, report.exec_id): report for report in made}
    lost = sum(key not in landed for key in known)
    twice = sum(len({row.report_id for row in rows}) > 1 for rows in landed.values())
    other = sum(
        (report.kind, report.last_qty, report.last_px) != (row.kind, row.last_qty, row.last_px)
        for key, report in known.items()
        for row in landed.get(key, [])
    )
    return [
        Line("reports", "lost", lost, "none", 0),
        Line("reports", "in Postgres twice", twice, "none", 0),
        Line("reports", "landed with other values", other, "none", 0),
        Line("reports", "landed and never made", len(landed.keys() - known.keys()), "none", 0),
    ]


def lost(made: Iterable[Made], landed: Landed) -> list[str]:
    """Name the reports that were made and are not there."""
    return [f"{one.venue} {one.kind} {one.exec_id}" for one in made if (one.venue, one.exec_id) not in landed]


def unpublished(topic: str, events: Mapping[str, str], messages: Iterable[Message]) -> list[str]:
    """Name the landed events that are not on their topic."""
    there = {message.event_id for message in messages}
    return [f"{topic}: {event_id} of {key}" for event_id, key in events.items() if event_id not in there]


def beyond_rows(stream: str, numbered: Iterable[tuple[int, int]], seen: Sequence[tuple[int, int]]) -> Line:
    """Count the positions that were ahead of their rows when they were seen.

    ``numbered`` are (number in the stream, transaction that landed it), ``seen`` are (position, the first
    transaction that had not begun): all up to the position must have landed in earlier ones.
    """
    upto = sorted(numbered)
    ahead = at = last = 0
    for position, below_xid in sorted(seen):
        while at < len(upto) and upto[at][0] <= position:
            last = max(last, upto[at][1])
            at += 1
        ahead += last >= below_xid
    return Line("positions", f"{stream}: of {len(seen)} seen, beyond the rows", ahead, "none", 0)


def published(topic: str, events: Mapping[str, str], messages: Sequence[Message]) -> list[Line]:
    """Each landed event once on the topic, and a key's in one partition in the order in which they were landed.

    ``events`` gives the key of each event id, in the order of landing.
    """
    place = {event_id: number for number, event_id in enumerate(events)}
    there = len(place.keys() & {message.event_id for message in messages})
    misplaced = disordered = 0
    partition_of: dict[str, int] = {}
    last: dict[str, int] = {}
    for message in messages:
        misplaced += partition_of.setdefault(message.key, message.partition) != message.partition
        misplaced += events.get(message.event_id, message.key) != message.key
        number = place.get(message.event_id)
        if number is not None:
            disordered += number < last.get(message.key, 0)
            last[message.key] = number
    return [
        Line(topic, "events landed", len(place), "of them on Kafka", there),
        Line(topic, "messages", len(messages), "distinct and landed", there),
        Line(topic, "out of order for their key", disordered, "none", 0),
        Line(topic, "with another key or partition", misplaced, "none", 0),
    ]
