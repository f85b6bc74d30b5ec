"""The balance of the events: by their ids, whatever the day."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from confluent_kafka import KafkaException, Producer

from chaos.topics import read_topic
from operations.main_job.balance import analyze, events
from streaming.topics import FILL_EVENT, Broker
from tests.integration.topics import kafka_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded import Endpoints

OLD, NEW, OTHER = (uuid.UUID(int=number) for number in (1, 2, 3))


class Stage:
    def __init__(self, connection: psycopg.Connection[Any], endpoints: Endpoints, prefix: str) -> None:
        self.connection = connection
        self.endpoints = endpoints
        self.prefix = prefix
        Broker(kafka_settings(endpoints, prefix)).partitions(FILL_EVENT)

    def land(self, event_id: uuid.UUID, days_ago: int = 0) -> None:
        self.connection.execute(
            "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
            "VALUES ((now() AT TIME ZONE 'UTC')::date - %s, %s, 'bust', 'C1', '')",
            [days_ago, event_id],
        )

    def publish(self, *event_ids: uuid.UUID) -> None:
        producer = Producer({"bootstrap.servers": self.endpoints.kafka_bootstrap})
        for event_id in event_ids:
            producer.produce(self.prefix + FILL_EVENT, value=b"", headers=[("ce_id", event_id.hex.encode())])
        assert producer.flush(20) == 0

    def estimated(self) -> int:
        """What the server believes the audit trail's days to hold."""
        query = """
        SELECT sum(greatest(c.reltuples, 0))::int FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'execution.audit_events'::regclass
        """
        row = self.connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def unbalanced(self) -> list[tuple[str, int, str, int]]:
        lines = events(self.connection, self.endpoints.kafka_bootstrap, 24.0, self.prefix)
        return [(x.left_name, x.left, x.right_name, x.right) for x in lines if not x.balances]


@pytest.fixture
def stage(ledger_url: str, endpoints: Endpoints, topic_prefix: str) -> Iterator[Stage]:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        yield Stage(connection, endpoints, topic_prefix)


def test_events_of_before_the_refill_may_be_on_kafka_or_not(stage: Stage) -> None:
    stage.land(OLD, days_ago=2)
    stage.land(NEW)
    stage.publish(NEW)
    assert stage.unbalanced() == []
    stage.publish(OLD)  # the refill began before a midnight that has passed since
    assert stage.unbalanced() == []


def test_an_event_that_is_missing_and_one_too_many_do_not_balance_each_other(stage: Stage) -> None:
    stage.land(NEW)
    stage.publish(OTHER)
    assert stage.unbalanced() == [
        ("fills, busts, corrects", 1, "of them on Kafka", 0),
        ("events on Kafka", 1, "of them landed", 0),
    ]


def test_the_planner_knows_the_tables_as_they_are_when_the_books_are_balanced(stage: Stage) -> None:
    """Of tables that were analyzed when they had three rows it joined millions of rows as if they were three."""
    stage.land(NEW)
    stage.connection.execute("ANALYZE execution.audit_events")
    stage.connection.execute(
        "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
        "SELECT (now() AT TIME ZONE 'UTC')::date, gen_random_uuid(), 'fill', 'C1', '' "
        "FROM generate_series(1, 4999)"
    )
    assert stage.estimated() < 4000
    analyze(stage.connection)
    assert stage.estimated() == 5000


def test_a_topic_whose_messages_trickle_is_not_read_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.publish(NEW)
    bootstrap, topic = stage.endpoints.kafka_bootstrap, stage.prefix + FILL_EVENT
    assert [message.event_id for message in read_topic(bootstrap, topic)] == [NEW.hex]
    monkeypatch.setattr("chaos.topics._LONGEST_SECONDS", 0.0)
    with pytest.raises(KafkaException):
        read_topic(bootstrap, topic)


def test_a_message_twice_does_not_balance(stage: Stage) -> None:
    stage.land(NEW)
    stage.publish(NEW, NEW)
    assert stage.unbalanced() == [("events on Kafka", 1, "messages on Kafka", 2)]
