"""A TCP proxy before a venue, for tests: cut, silent, or as if it were not there."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


class Proxy:
    """Passes bytes on to ``address`` (``host:port`` or a URL) while it is open."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "//" in address else f"//{address}")
        self._host, self._port = parts.hostname, parts.port
        self._open = asyncio.Event()
        self._open.set()
        self._is_cut = False
        self._pairs: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0

    def cut(self) -> None:
        """Reset all connections; new ones are closed at once."""
        self._is_cut = True
        for writer in list(self._pairs):
            writer.transport.abort()

    def hang(self) -> None:
        """Keep the connections and pass nothing on."""
        self._open.clear()

    def restore(self) -> None:
        """Be as if it were not there."""
        self._is_cut = False
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        self._pairs |= {writer, there[1]}
        await asyncio.gather(self._pass(reader, there[1]), self._pass(there[0], writer))
        self._pairs -= {writer, there[1]}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(_CHUNK):
                await self._open.wait()
                writer.write(content)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def proxy(address: str) -> AsyncIterator[Proxy]:
    """Listen on a free port."""
    made = Proxy(address)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.restore()
        made.cut()
