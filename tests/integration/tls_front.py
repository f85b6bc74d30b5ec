"""TLS before a server that has none: takes off TLS, asks for a certificate, and notes whose connections come.

Postgres' wheel has no TLS: to its SSLRequest (protocol 55.2.11, message flow) this answers ``S`` itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trust.tls import Shown, in_memory, peer_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_CHUNK = 64 * 1024


class Front:
    """Listens with TLS; ``seen`` has the caller's SPIFFE ID and its certificate's serial, by connection."""

    def __init__(self, address: str, shown: Shown, *, is_postgres: bool = False) -> None:
        parts = urlsplit(address if "//" in address else f"//{address}")
        self._host, self._port = parts.hostname, parts.port
        self._is_postgres = is_postgres
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_REQUIRED
        with in_memory(shown.chain + shown.key) as path:
            self._context.load_cert_chain(path)
        self._context.load_verify_locations(cadata=shown.authorities.decode())
        self.seen: list[tuple[str | None, str]] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)

    async def close(self) -> None:
        """End what is open."""
        tasks = {*self._tasks}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self._is_postgres:
                assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(self._context)
            certificate = writer.get_extra_info("peercert")
            self.seen.append((peer_id(certificate), certificate["serialNumber"].lower().lstrip("0")))
            there = await asyncio.open_connection(self._host, self._port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, there[1]))
                    group.create_task(self._pass(there[0], writer))
            finally:
                there[1].transport.abort()
                writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while content := await reader.read(_CHUNK):
                writer.write(content)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def front(address: str, shown: Shown, *, is_postgres: bool = False, port: int = 0) -> AsyncIterator[Front]:
    """Listen on a free port, or on ``port``."""
    made = Front(address, shown, is_postgres=is_postgres)
    server = await asyncio.start_server(made.serve, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await asyncio.sleep(0)  # their ends are told in the next turn
