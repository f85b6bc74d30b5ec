"""What a life of the campaign may find when it starts, made while no streaming process lives.

Thousands of reports that wait at the venues, requests of people, a topic of ours that was deleted and made again.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import hvac
import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from chaos.backups import venue_of
from operations import people
from operations.main_job.figures import ask
from operations.main_job.programs import LEDGER_DATABASE
from streaming.topics import HEDGES

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.main_job.programs import Ports

MANY = 1_000
"""Messages that wait at the venues: a kill with so many undelivered fell into a backlog."""
_RATE, _SECONDS = 400.0, 2.5
_LONGEST_SECONDS = 15.0
_REQUESTED = """
INSERT INTO execution.replay_requests (dead_letter_id, again)
SELECT dead_letter_id, %s FROM execution.dead_letters ORDER BY random() LIMIT 3
"""
_HALTED = """
INSERT INTO execution.halt_requests (venue, action, reason)
VALUES ('CHARLIE', 'halt', 'a drill'), ('CHARLIE', 'resume', 'the drill is over'),
       ('NOWHERE', 'halt', 'a drill at a venue that we do not have')
"""
_LOOK_BACK = """
INSERT INTO execution.look_back_requests (venue, from_ns, until_ns)
SELECT 'ALPHA', now_ns - 30000000000, now_ns
FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1e9)::bigint AS now_ns) AS now
"""
_SECRETS = {"alpha": "password", "bravo": "token"}
_TOPIC = HEDGES  # of few events, and some in every life
_TOPIC_SECONDS = 20.0


def outstanding(ports: Ports) -> int:
    """Count the messages that the venues have not delivered; a REST venue's are bodies of several reports."""
    books = ask(f"http://127.0.0.1:{ports.control}/books")
    return sum(v["outstanding"] for name, v in books.get("venues", {}).items() if venue_of(name) == name)


def pile_up(ports: Ports, orders: float) -> None:
    """Have the venues trade much more for a while: thousands of reports, and a thousand orders' intents."""
    _set_rate(ports, _RATE)
    time.sleep(_SECONDS)
    _set_rate(ports, orders)
    deadline = time.monotonic() + _LONGEST_SECONDS
    while outstanding(ports) < MANY and time.monotonic() < deadline:
        time.sleep(0.1)


def make_person(endpoints: Endpoints) -> str:
    """Make a person's login; give the URL with which they log in."""
    return people.add(endpoints.postgres_url(LEDGER_DATABASE), f"drill-{os.getpid()}")


def make_requests(person: str) -> None:
    """Have dead letters handed in again, some for the second time, and a venue halted and resumed by hand.

    A halt of a venue that is none is asked for, too, and what a venue lists of the last half minute.
    """
    with psycopg.connect(person, autocommit=True) as connection:
        for again in (False, True):
            connection.execute(_REQUESTED.encode(), [again])
        connection.execute(_HALTED.encode())
        connection.execute(_LOOK_BACK.encode())


class Secrets:
    """Two venues' secrets in Vault; the practice venues let anybody in, so that any will do."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._client = hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token)
        self._is_back = False
        self.replace()

    def settings(self, endpoints: Endpoints) -> dict[str, str]:
        """Give the streaming process's environment for them."""
        base = "EXECUTION_AGENT_VENUES__{}__FEED__{}"
        references = {
            base.format(venue.upper(), field.upper()): f"vault:secret/venues/{venue}#{field}"
            for venue, field in _SECRETS.items()
        }
        return {
            "VAULT_ADDR": endpoints.vault_addr,
            "VAULT_TOKEN": endpoints.vault_token,
            "EXECUTION_AGENT_VAULT": json.dumps({"poll_seconds": 0.3}),
            **references,
        }

    def replace(self) -> None:
        """Write new versions; what was taken back is there again."""
        self._is_back = False
        for venue, field in _SECRETS.items():
            self._client.secrets.kv.v2.create_or_update_secret(
                f"venues/{venue}", {field: secrets.token_hex(16)}, mount_point="secret"
            )

    def take_back(self) -> None:
        """Delete what counts, or write it anew where that was done: by turns."""
        if self._is_back:
            self.replace()
            return
        self._is_back = True
        for venue in _SECRETS:
            self._client.secrets.kv.v2.delete_latest_version_of_secret(f"venues/{venue}", mount_point="secret")

    def settle(self) -> None:
        """Leave nothing taken back."""
        if self._is_back:
            self.replace()


def make_topic_again(endpoints: Endpoints) -> None:
    """Delete a topic of ours and make it again, empty."""
    admin = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap})
    found = admin.list_topics(timeout=5.0).topics.get(_TOPIC)
    if found is None:
        return
    for future in admin.delete_topics([_TOPIC]).values():
        future.result(_TOPIC_SECONDS)
    deadline = time.monotonic() + _TOPIC_SECONDS
    while _TOPIC in admin.list_topics(timeout=5.0).topics and time.monotonic() < deadline:
        time.sleep(0.05)
    for future in admin.create_topics([NewTopic(_TOPIC, len(found.partitions), 1)]).values():
        with suppress(KafkaException):
            future.result(_TOPIC_SECONDS)


def _set_rate(ports: Ports, orders: float) -> None:
    ask(f"http://127.0.0.1:{ports.control}/rate?orders={orders:g}", post=True)
