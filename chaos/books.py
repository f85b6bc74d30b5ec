"""The books of a campaign: the venues' journal against Postgres against Kafka, report by report.

Nothing here is shared with the way in: the journal is the simulator's, Postgres is read by SQL, Kafka by a
consumer of its own.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import redis

from chaos.backups import FEEDS, venue_of
from chaos.comparing import Landed, Made, Row, beyond_rows, published, reports
from chaos.topics import read_topic
from operations.main_job.balance import DUPLICATES, Line, balance
from streaming.topics import MARKET_DATA, ORDER_INTENT, OUTBOUND, topics_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import psycopg

    from operations.embedded.endpoints import Endpoints

MADE = """
SELECT id, venue, kind, exec_id, last_qty, last_px FROM reports WHERE kind IN ('fill', 'bust', 'correct')
"""
_NUMBERED = "SELECT venue, sequence, reports FROM messages WHERE sequence IS NOT NULL AND epoch = 1"
_NUMBERED_FEEDS = {"ALPHA": "ALPHA.fix", "BRAVO": "BRAVO.ws", **FEEDS}
_POSITIONS = """
SELECT feed, stream, position, pg_snapshot_xmax(pg_current_snapshot())::text::bigint FROM execution.feed_positions
"""
_LANDED = """
SELECT venue, exec_id, xmin::text::bigint, kind, trim_scale(last_qty)::text, trim_scale(last_px)::text,
       report_id::text
FROM execution.fills
"""
INBOUND = (
    (ORDER_INTENT, "order-intents", "SELECT msg_id, xmin::text::bigint FROM execution.orders"),
    (MARKET_DATA, "market-data", "SELECT snapshot_id, xmin::text::bigint FROM execution.benchmark_snapshots"),
)
EVENTS = "SELECT event_id, event_type, key FROM execution.audit_events ORDER BY xid, position"
_OPEN = "SELECT correlation_id FROM execution.order_states WHERE leaves_qty > 0"
_KEPT = "execution:order:"


class Sample(msgspec.Struct, frozen=True):
    """The positions that Postgres held after a kill, and the first transaction that had not begun then."""

    below_xid: int
    positions: dict[tuple[str, str], int]


def sample(connection: psycopg.Connection[Any]) -> Sample:
    """Read the positions in one snapshot."""
    found = connection.execute(_POSITIONS.encode()).fetchall()
    return Sample(max((row[3] for row in found), default=0), {(row[0], row[1]): row[2] for row in found})


def compare(
    books: dict[str, Any],
    journal: Path,
    connection: psycopg.Connection[Any],
    endpoints: Endpoints,
    samples: Sequence[Sample],
) -> list[Line]:
    """Compare all that can be compared, once the venues have delivered everything."""
    # what a venue sends again after a kill it does not count, so its own lines are others here
    lines = _venues(books, connection)
    found = balance(books, connection, endpoints.kafka_bootstrap)
    lines += [line for line in found if line.subject not in books["venues"]]
    landed = _landed(connection)
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as venues:
        made = made_of(venues.execute(MADE))
        lines += reports(made.values(), landed)
        lines.append(_executions(made.values(), connection))
        lines += _positions(made, venues, landed, samples)
    lines += _inbound(connection, endpoints, samples)
    events = [(row[0].hex, row[1], row[2]) for row in connection.execute(EVENTS.encode()).fetchall()]
    for topic in OUTBOUND:
        due = {event_id: key for event_id, event_type, key in events if topic in topics_of(event_type)}
        lines += published(topic, due, read_topic(endpoints.kafka_bootstrap, topic))
    lines.append(_in_flight(connection, endpoints))
    return lines


def made_of(rows: Iterable[tuple[int, str, str, str, str, str]]) -> dict[int, Made]:
    """Give the reports of the venues' journal, by their numbers there."""
    return {
        number: Made(venue_of(venue), kind, exec_id, _plain(last_qty), _plain(last_px))
        for number, venue, kind, exec_id, last_qty, last_px in rows
    }


def _venues(books: dict[str, Any], connection: psycopg.Connection[Any]) -> list[Line]:
    """Each venue's own counts.

    At least the duplicates that it counted were recognised; of a WebSocket venue, which counts what a life has
    read, that is not so where the life died before that landed. A malformed WebSocket frame has no sequence:
    nobody can ask for it again, so of those at most as many are dead letters as were sent.
    """

    def counts(query: str) -> dict[str, int]:
        return dict(connection.execute(query.encode()).fetchall())

    # two feeds may tell one report in two wordings, which are two rows of one identity
    landed = counts("SELECT venue, count(DISTINCT report_id) FROM execution.fills GROUP BY venue")
    letters = counts("SELECT source, count(*) FROM execution.dead_letters GROUP BY source")
    duplicates = counts(DUPLICATES)
    lines = []
    for name, venue in books["venues"].items():
        if venue_of(name) != name:  # a second feed: what it sends is its venue's, and it may not be listened to
            continue
        sent, dead, extra = venue["malformed_sent"], letters.get(name, 0), venue["duplicates_sent"]
        lines += [
            Line(name, "reports sent", venue["reports_sent"], "landed", landed.get(name, 0)),
            Line(name, "dead letters", dead, "malformed sent, at most", min(dead, sent))
            if venue["kind"] == "websocket"
            else Line(name, "malformed sent", sent, "dead letters", dead),
        ]
        if venue["kind"] != "websocket":
            recognised = min(extra, duplicates.get(name, 0))
            lines.append(Line(name, "duplicates sent", extra, "of them recognised", recognised))
    return lines


def _landed(connection: psycopg.Connection[Any]) -> Landed:
    rows: Landed = {}
    with connection.transaction(), connection.cursor(name="landed") as cursor:
        cursor.itersize = 20_000
        cursor.execute(_LANDED.encode())
        for venue, exec_id, *rest in cursor:
            rows.setdefault((venue, exec_id), []).append(Row(*rest))
    return rows


def _executions(made: Iterable[Made], connection: psycopg.Connection[Any]) -> Line:
    """However often and in how many wordings a fill was told: it is counted once."""
    fills = len({(report.venue, report.exec_id) for report in made if report.kind == "fill"})
    row = connection.execute("SELECT count(*) FROM execution.executions").fetchone()
    assert row is not None, "a count is one row"
    return Line("reports", "fills made", fills, "executions", row[0])


def _plain(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _positions(
    made: dict[int, Made], venues: sqlite3.Connection, landed: Landed, samples: Sequence[Sample]
) -> list[Line]:
    """Of the feeds that number their messages."""
    numbered: dict[str, list[tuple[int, int]]] = {venue: [] for venue in _NUMBERED_FEEDS}
    for venue, number, joined in venues.execute(_NUMBERED):
        for report in (made[one] for one in map(int, joined.split(",")) if one in made):
            rows = landed.get((report.venue, report.exec_id), [])
            numbered[venue].append((number, min((row.xid for row in rows), default=1 << 62)))
    return [
        beyond_rows(
            feed,
            numbered[venue],
            [(value, s.below_xid) for s in samples for (name, _), value in s.positions.items() if name == feed],
        )
        for venue, feed in _NUMBERED_FEEDS.items()
    ]


def _inbound(connection: psycopg.Connection[Any], endpoints: Endpoints, samples: Sequence[Sample]) -> list[Line]:
    """Order intents and snapshots: all of Kafka's are rows, no others, and the offsets never beyond them."""
    lines = []
    for topic, feed, query in INBOUND:
        messages = read_topic(endpoints.kafka_bootstrap, topic)
        landed: dict[str, int] = dict(connection.execute(query.encode()).fetchall())
        ids = {message.event_id for message in messages}
        there = len(ids & landed.keys())
        lines += [
            Line(topic, "distinct messages", len(ids), "landed", there),
            Line(topic, "rows", len(landed), "of them on Kafka", there),
        ]
        for stream in sorted({stream for s in samples for name, stream in s.positions if name == feed}):
            numbered = [
                (m.offset, landed.get(m.event_id, 1 << 62)) for m in messages if f"{topic}/{m.partition}" == stream
            ]
            seen = [(s.positions[feed, stream], s.below_xid) for s in samples if (feed, stream) in s.positions]
            lines.append(beyond_rows(stream, numbered, seen))
    return lines


def _in_flight(connection: psycopg.Connection[Any], endpoints: Endpoints) -> Line:
    open_orders = {row[0] for row in connection.execute(_OPEN.encode()).fetchall()}
    client = redis.Redis.from_url(endpoints.redis_url, decode_responses=True)
    try:
        kept = {key.removeprefix(_KEPT) for key in client.scan_iter(f"{_KEPT}*", count=1000)}
    finally:
        client.close()
    return Line("Redis", "orders open or kept", len(open_orders | kept), "both", len(open_orders & kept))
