"""The books of a run, balanced: what was sent against what is there, figure by figure."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from streaming.topics import FILL_EVENT

if TYPE_CHECKING:
    from decimal import Decimal

    import psycopg

_TICK = Fraction(1, 10**12)
_READ_SECONDS = 60.0
FETCH_MS = 1_000  # see streaming.topics.FETCH_MS: here nobody waits for the last message

# A feed is named VENUE.KIND, and a venue's name may have dots of its own.
# what came too late for its grace time has landed all the same
DEAD = "SELECT source, count(*) FROM execution.dead_letters WHERE reason <> 'out_of_order' GROUP BY source"
DUPLICATES = r"""
SELECT regexp_replace(feed, '\.[^.]*$', ''), sum(duplicates)::bigint FROM execution.feed_counts GROUP BY 1
"""
_SLIPPAGES = """
SELECT m.kind, m.bps, m.benchmark, m.snapshot_id, e.side, e.last_px, b.snapshot_id AS expected_id, b.bid, b.ask
FROM execution.slippage_metrics m
JOIN execution.executions e USING (execution_id, trade_date)
JOIN LATERAL (
    SELECT o.routed_ns FROM execution.orders o WHERE o.correlation_id = e.correlation_id
    ORDER BY (o.action <> 'new'), o.routed_ns, o.msg_id LIMIT 1
) root ON true
LEFT JOIN LATERAL (
    SELECT s.snapshot_id, s.bid, s.ask FROM execution.benchmark_snapshots s
    WHERE s.symbol = e.symbol
      AND s.at_ns <= CASE m.kind WHEN 'arrival_mid' THEN root.routed_ns ELSE e.transact_ns END
    ORDER BY s.at_ns DESC, s.snapshot_id COLLATE "C" DESC LIMIT 1
) b ON m.kind <> 'decision_price'
WHERE m.kind <> 'fee'
"""
# Of tables that were analyzed when they had a few rows the planner sorts all of a symbol's snapshots for each
# figure: over 88,000 figures that does not end within minutes, and else it takes 2 s.
_ANALYZED = ["executions", "slippage_metrics", "orders", "benchmark_snapshots", "audit_events"]
# what no longer counts for another reason than a bust, and was never told
_UNTOLD = """
SELECT count(*) FROM execution.executions e
WHERE e.status IN ('voided', 'superseded') AND NOT EXISTS (
    SELECT 1 FROM execution.audit_events a WHERE a.event_type = 'fill' AND a.event_id = e.execution_id)
"""
_FILL_EVENTS = """
SELECT replace(event_id::text, '-', ''),
       recorded_on >= (now() AT TIME ZONE 'UTC' - make_interval(secs => %s))::date
FROM execution.audit_events WHERE event_type IN ('fill', 'bust', 'correct')
"""


class Line(msgspec.Struct, frozen=True):
    """One comparison. ``left`` and ``right`` must be equal."""

    subject: str
    left_name: str
    left: int
    right_name: str
    right: int

    @property
    def balances(self) -> bool:
        """Whether the two sides agree."""
        return self.left == self.right


def balance(
    books: dict[str, Any], connection: psycopg.Connection[Any], bootstrap: str, refill_hours: float = 24.0
) -> list[Line]:
    """Compare all that can be compared without Dagster."""
    analyze(connection)
    lines: list[Line] = []
    landed = _counts(connection, "SELECT venue, count(*) FROM execution.fills GROUP BY venue")
    dead = _counts(connection, DEAD)
    duplicates = _counts(connection, DUPLICATES)
    for name, venue in books["venues"].items():
        lines.append(
            Line(
                name,
                "sent",
                venue["reports_sent"] + venue["malformed_sent"],
                "landed + dead letters",
                landed.get(name, 0) + dead.get(name, 0),
            )
        )
        lines.append(
            Line(
                name,
                "duplicates sent",
                venue["duplicates_sent"],
                "duplicates recognised",
                duplicates.get(name, 0),
            )
        )
    lines += events(connection, bootstrap, refill_hours)
    lines.append(_slippages(connection))
    return lines


def analyze(connection: psycopg.Connection[Any]) -> None:
    """Have the planner know the tables as they are now; without the right to it the server only warns."""
    connection.execute(f"ANALYZE {', '.join(f'execution.{table}' for table in _ANALYZED)}".encode())


def events(
    connection: psycopg.Connection[Any], bootstrap: str, refill_hours: float, prefix: str = ""
) -> list[Line]:
    """Compare the landed events with the executions, and by their ids with what is on Kafka."""
    executions = _number(connection, "SELECT count(*) FROM execution.executions")
    decided = _number(connection, "SELECT count(*) FROM execution.audit_events WHERE event_type = 'fill'")
    withheld = _number(connection, "SELECT count(*) FROM execution.executions WHERE execution_id = ANY(withheld)")
    untold = _number(connection, _UNTOLD)
    landed, refilled = _fill_events(connection, refill_hours)
    messages, published = read_fill_events(bootstrap, prefix)
    return [
        Line("events", "executions", executions, "fill events + held", decided + withheld + untold),
        Line("events", "fills, busts, corrects", len(refilled), "of them on Kafka", len(refilled & published)),
        Line("events", "events on Kafka", len(published), "of them landed", len(published & landed)),
        Line("events", "events on Kafka", len(published), "messages on Kafka", messages),
    ]


def _fill_events(connection: psycopg.Connection[Any], refill_hours: float) -> tuple[set[str], set[str]]:
    """Give the landed fills, busts and corrects by their ids: all, and those that a refill begun now publishes.

    Ids and not counts: Kafka has more than the second when a midnight has passed since the refill began.
    """
    landed: set[str] = set()
    refilled: set[str] = set()
    with connection.transaction(), connection.cursor(name="fill_events") as cursor:
        cursor.itersize = 20_000
        cursor.execute(_FILL_EVENTS.encode(), [refill_hours * 3600])
        for event_id, is_refilled in cursor:
            landed.add(event_id)
            if is_refilled:
                refilled.add(event_id)
    return landed, refilled


def read_fill_events(bootstrap: str, prefix: str = "") -> tuple[int, set[str]]:
    """Read the fill topic from its beginning, as a consumer would: how many messages, and the event ids."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "execution-agent.balance",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_MS,
        }
    )
    try:
        topic = prefix + FILL_EVENT
        found = consumer.list_topics(topic, timeout=5.0).topics[topic]
        open_ends = set(found.partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in open_ends])
        ids: set[str] = set()
        total = quiet = 0
        while open_ends and quiet < _READ_SECONDS / 0.5:
            messages = consumer.consume(1000, 0.5)
            quiet = 0 if messages else quiet + 1
            for message in messages:
                error = message.error()
                if error is None:
                    total += 1
                    ids.add(_text(dict(message.headers() or ()).get("ce_id")))
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's local codes
                    open_ends.discard(message.partition() or 0)
        return total, ids
    finally:
        consumer.close()


def _text(header: bytes | str | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""


def _slippages(connection: psycopg.Connection[Any]) -> Line:
    """Work every slippage out again, by SQL for the benchmark and fractions for the figure."""
    total = equal = 0
    with connection.transaction(), connection.cursor(name="slippages") as cursor:
        cursor.itersize = 5_000
        cursor.execute(_SLIPPAGES.encode())
        for kind, bps, benchmark, snapshot_id, side, last_px, expected_id, bid, ask in cursor:
            total += 1
            if kind != "decision_price":
                benchmark = None if bid is None else (bid + ask) / 2  # noqa: PLW2901
                if snapshot_id != expected_id:
                    continue
            equal += bps == recompute(side, last_px, benchmark)
    return Line("slippage", "live figures", total, "equal when recomputed", equal)


def recompute(side: str, price: Decimal, benchmark: Decimal | None) -> Decimal | None:
    """Slippage in bps by exact fractions, rounded half to even to 12 places: no code shared with the domain."""
    if benchmark is None:
        return None
    sign = 1 if side == "buy" else -1
    exact = sign * (Fraction(price) - Fraction(benchmark)) / Fraction(benchmark) * 10_000
    return type(price)(f"{round(exact / _TICK)}E-12")


def _counts(connection: psycopg.Connection[Any], query: str) -> dict[str, int]:
    return dict(connection.execute(query.encode()).fetchall())


def _number(connection: psycopg.Connection[Any], query: str, *arguments: object) -> int:
    row = connection.execute(query.encode(), arguments or None).fetchone()
    assert row is not None, "a count is one row"
    return int(row[0])
