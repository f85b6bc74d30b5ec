"""What happens to a life of the campaign while it lives, every 0.8 s of it.

Secrets are replaced, or taken back and written anew; its sessions with PostgreSQL are ended; snapshots are in the
ledger before it lands them; its identity is renewed; a venue's feeds bring nothing.
"""

from __future__ import annotations

import json
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import hvac
import psycopg
from confluent_kafka import Producer

from ledger.domain.times import format_utc, utc_date
from operations.embedded.workload_api import WorkloadApi
from operations.main_job.programs import LEDGER_DATABASE
from streaming.topics import MARKET_DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from chaos.plan import Scene
    from chaos.scenery import Secrets
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder

_EVERY_SECONDS = 0.8
_AGENT = "spiffe://chaos.test/execution-agent"
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'execution-agent stream'
"""
# of a symbol that nobody trades: no figure is measured against it
_SNAPSHOT = """
INSERT INTO execution.benchmark_snapshots (snapshot_id, taken_on, symbol, bid, ask, bid_size, ask_size, at_ns)
VALUES (%s, %s, 'DRILL', 100, 101, 1, 1, %s)
"""
_FLUSH_SECONDS = 5.0
# ALPHA's feeds lead nowhere, and its list of fills is there
_DEAF = {
    "EXECUTION_AGENT_VENUES__ALPHA__FEED__PORT": "1",
    "EXECUTION_AGENT_VENUES__ALPHA__BACKUP__FEED__URL": "ws://127.0.0.1:1",
}


class Happenings:
    """Lets things happen to one life at a time: ``begin`` before it is born, ``end`` when it is over."""

    def __init__(self, endpoints: Endpoints, state: StateFolder, secrets: Secrets) -> None:
        self._endpoints, self._secrets = endpoints, secrets
        self._socket = state.folder("chaos-identity") / "api.sock"
        self._identity: WorkloadApi | None = None
        self._producer = Producer({"bootstrap.servers": endpoints.kafka_bootstrap, "log_level": 2})
        self._numbers = count(1)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, scenes: Collection[Scene]) -> dict[str, str]:
        """Begin with what happens; give what the life needs to see of it in its environment."""
        actions: list[Callable[[], None]] = []
        more: dict[str, str] = {}
        if "secrets" in scenes:
            actions.append(self._secrets.replace)
        if "taken back" in scenes:
            actions.append(self._secrets.take_back)
        if "lost" in scenes:
            actions.append(self._end_sessions)
        if "overtaken" in scenes:
            self._overtake()  # of a symbol that the book does not know at all, the ledger is asked
            actions.append(self._overtake)
        if "deaf" in scenes:
            more |= _DEAF
        if "identity" in scenes:
            identity = self._served()
            actions.append(identity.rotate)
            more["EXECUTION_AGENT_IDENTITY"] = json.dumps({"socket": identity.socket, "spiffe_id": _AGENT})
        if actions:
            self._over.clear()
            self._thread = threading.Thread(target=self._happen, args=(actions,), name="happenings")
            self._thread.start()
        return more

    def end(self) -> None:
        """The life is over: nothing happens any more, and all that counts is there."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._secrets.settle()

    def close(self) -> None:
        """End the servers of it."""
        self.end()
        if self._identity is not None:
            self._identity.stop()

    def _happen(self, actions: list[Callable[[], None]]) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            for action in actions:
                action()

    def _served(self) -> WorkloadApi:
        if self._identity is None:
            client = hvac.Client(url=self._endpoints.vault_addr, token=self._endpoints.vault_token)
            self._identity = WorkloadApi(client, self._socket, _AGENT)
            self._identity.start()
        return self._identity

    def _end_sessions(self) -> None:
        with psycopg.connect(self._endpoints.postgres_url(LEDGER_DATABASE), autocommit=True) as connection:
            connection.execute(_END_SESSIONS.encode())

    def _overtake(self) -> None:
        """Have a snapshot in the ledger that the life's book cannot know, and then on Kafka."""
        at_ns = time.time_ns()
        name = f"drill-{next(self._numbers)}-{at_ns}"
        with psycopg.connect(self._endpoints.postgres_url(LEDGER_DATABASE), autocommit=True) as connection:
            connection.execute(_SNAPSHOT.encode(), (name, utc_date(at_ns), at_ns))
        prices = {"bid": "100", "ask": "101", "bid_size": "1", "ask_size": "1"}
        value = json.dumps({"snapshot_id": name, "symbol": "DRILL", "at": format_utc(at_ns), **prices}).encode()
        said = {"ce_specversion": "1.0", "ce_type": MARKET_DATA, "ce_source": "chaos", "ce_id": name}
        headers: list[tuple[str, str | bytes | None]] = [*said.items(), ("content-type", "application/json")]
        self._producer.produce(MARKET_DATA, value, "DRILL", headers=headers)
        self._producer.flush(_FLUSH_SECONDS)
