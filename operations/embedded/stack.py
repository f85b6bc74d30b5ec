"""The embedded stack: all servers, or some of them, in one state folder."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Self, assert_never

from operations.embedded.broker import Broker
from operations.embedded.endpoints import Endpoints
from operations.embedded.errors import EmbeddedError
from operations.embedded.postgres import Postgres
from operations.embedded.s3 import S3
from operations.embedded.server import Server, ServerName
from operations.embedded.state import StateFolder
from operations.embedded.valkey import Valkey
from operations.embedded.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from operations.embedded.process import ServerProcess

ALL: frozenset[ServerName] = frozenset(ServerName)


class EmbeddedStack:
    """Real servers from installed wheels, on loopback, owned by this process.

    They stop with `stop`, and also when this process dies, however it dies. One process owns a state folder
    at a time; ports, passwords and data are found again by the next. `durable=False` is for tests.
    """

    def __init__(
        self,
        state: Path,
        servers: Collection[ServerName] = ALL,
        *,
        durable: bool = True,
        redis_databases: int = 16,
    ) -> None:
        self._state = StateFolder(state)
        self._servers = {
            name: _build(name, self._state, durable=durable, redis_databases=redis_databases)
            for name in ServerName
            if name in servers
        }

    @property
    def state(self) -> StateFolder:
        """The state folder, for what runs beside the servers: ports, secrets, logs, locks."""
        return self._state

    @property
    def endpoints(self) -> Endpoints:
        """Addresses and credentials of the servers of this stack, once it has been started."""
        endpoints = Endpoints()
        for server in self._servers.values():
            endpoints = server.describe(endpoints)
        return endpoints

    def start(self, progress: Callable[[str, str], None] | None = None) -> Endpoints:
        """Start all servers at once and return when each has answered; stop them all if one does not.

        `progress` is told, in the calling thread, the server's name and what has become of it.
        """
        tell = progress or (lambda _name, _message: None)
        self._state.acquire()
        pool = ThreadPoolExecutor(len(self._servers) or 1, thread_name_prefix="start")
        try:
            began = time.monotonic()
            starting = {}
            for name, server in self._servers.items():
                tell(name, "starting")
                starting[pool.submit(server.start)] = name
            for future in as_completed(starting):
                future.result()
                tell(starting[future], f"ready after {time.monotonic() - began:.1f} s")
        except BaseException:
            # Ctrl-C included: nobody is left behind, and no thread goes on waiting for its server.
            for server in self._servers.values():
                server.process.abandoned.set()
            pool.shutdown(wait=True)
            self.stop()
            raise
        pool.shutdown(wait=True)
        return self.endpoints

    def stop(self) -> None:
        """Ask all servers to stop, the last one first, wait for them, and give the state folder up."""
        backwards = list(reversed(self._servers.values()))
        for server in backwards:
            server.process.ask_to_stop()
        for server in backwards:
            server.process.wait_stopped()
        self._state.release()

    def alive(self) -> dict[ServerName, bool]:
        """Which servers run."""
        return {name: server.process.alive() for name, server in self._servers.items()}

    def process(self, name: ServerName) -> ServerProcess:
        """The process of one server."""
        return self._server(name).process

    def kill(self, name: ServerName) -> None:
        """SIGKILL one server, as a fault would."""
        self._server(name).process.kill()

    def restart(self, name: ServerName) -> None:
        """Stop one server, if it still runs, and start it again at the same address."""
        server = self._server(name)
        server.process.ask_to_stop()
        server.process.wait_stopped()
        server.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _server(self, name: ServerName) -> Server:
        if name not in self._servers:
            raise EmbeddedError(f"{name} is not part of this stack ({', '.join(self._servers)})")
        return self._servers[name]


def _build(name: ServerName, state: StateFolder, *, durable: bool, redis_databases: int) -> Server:
    match name:
        case ServerName.POSTGRES:
            return Postgres(state, durable=durable)
        case ServerName.VALKEY:
            return Valkey(state, databases=redis_databases)
        case ServerName.BROKER:
            return Broker(state)
        case ServerName.S3:
            return S3(state)
        case ServerName.VAULT:
            return Vault(state)
        case _:
            assert_never(name)
