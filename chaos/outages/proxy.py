"""A TCP proxy that fails on demand: refuses, hangs, goes slow, cuts connections, or leaves them half-open.

What it does, it does between two real sockets: a cut is a reset (RST), a refused connection is a closed port, a
hang accepts and passes nothing, a half-open connection stays open towards the client and leads nowhere. What it
cannot do is what needs a network: lose packets, or stop acknowledging them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_CHUNK = 16 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
_CONNECT_SECONDS = 5.0
_LAST_WORD_SECONDS = 1.0

T = TypeVar("T")


class _Pair:
    """One client's connection and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.is_lost = False  # half-open: what the client says goes nowhere, and nothing comes back
        self.budget: int | None = None  # bytes until it is cut

    def reset(self) -> None:
        """Cut it, both ways, without a goodbye."""
        for writer in (self.client, self.server):
            if writer is None:
                continue
            found = writer.get_extra_info("socket")
            if found is not None:
                with contextlib.suppress(OSError):
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


class Proxy:
    """Passes connections at ``port`` on to ``upstream``, in a thread of its own; other threads call it.

    ``listen`` sees what comes from the server, chunk by chunk.
    """

    def __init__(
        self,
        port: int,
        upstream: int,
        *,
        listen: Callable[[bytes], None] | None = None,
        seed: int = 1,
    ) -> None:
        self.port = port
        self._upstream = upstream
        self._listen = listen
        self._random = random.Random(seed)
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._passing: asyncio.Event = asyncio.Event()
        self._delay = 0.0
        self._rate = 0.0
        self._cutting: tuple[int, int] | None = None
        self._server: asyncio.Server | None = None
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {port}", daemon=True)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._passing.set()
        self._do(self._open())

    def stop(self) -> None:
        """End everything."""

        async def end() -> None:
            await self._close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    # --- faults ------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Pass everything again, also what was held back."""

        async def heal() -> None:
            self._delay = self._rate = 0.0
            self._cutting = None
            for pair in self._pairs:
                pair.budget = None
            self._passing.set()
            if self._server is None:
                await self._open()

        self._do(heal())

    def refuse(self) -> None:
        """Reset what is open, and refuse what comes."""
        self._do(self._close())

    def cut(self) -> None:
        """Reset every connection once."""

        async def cut() -> None:
            for pair in list(self._pairs):
                pair.reset()

        self._do(cut())

    def hang(self) -> None:
        """Accept, and pass nothing, neither way."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def slow(self, delay: float, rate: float) -> None:
        """Hold every chunk for ``delay`` seconds, and pass at most ``rate`` bytes a second and direction."""

        async def slow() -> None:
            self._delay, self._rate = delay, rate

        self._do(slow())

    def cut_in_stream(self, least: int, most: int) -> None:
        """Cut each connection, old and new, after so many bytes: in the middle of whatever it is saying."""

        async def begin() -> None:
            self._cutting = (least, most)
            for pair in self._pairs:
                pair.budget = self._random.randint(least, most)

        self._do(begin())

    def lose(self) -> None:
        """Leave what is open half-open for ever: new connections are passed on."""

        async def lose() -> None:
            for pair in self._pairs:
                pair.is_lost = True
                if pair.server is not None:
                    pair.server.transport.abort()

        self._do(lose())

    def lead_to(self, upstream: int) -> None:
        """Pass new connections to another server, as a load balancer does; open ones are reset."""
        self._upstream = upstream
        self.cut()

    # --- passing -----------------------------------------------------------------------------------------------

    def _do(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for pair in list(self._pairs):
            pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        self._tasks.add(task)
        self.accepted += 1
        pair = _Pair(writer)
        if self._cutting is not None:
            pair.budget = self._random.randint(*self._cutting)
        self._pairs.add(pair)
        try:
            await self._passing.wait()
            async with asyncio.timeout(_CONNECT_SECONDS):
                from_server, pair.server = await asyncio.open_connection("127.0.0.1", self._upstream)
            both = {
                asyncio.create_task(self._pass(pair, reader, pair.server, None)),
                asyncio.create_task(self._pass(pair, from_server, writer, self._listen)),
            }
            try:
                _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if left and not pair.is_lost:  # one side has said its last word: the other may have one
                    await asyncio.wait(left, timeout=_LAST_WORD_SECONDS)
            finally:
                for one in both:
                    one.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pair.reset()
        finally:
            for end in (writer, pair.server):
                if end is not None:
                    end.close()
            self._pairs.discard(pair)
            self._tasks.discard(task)

    async def _pass(
        self,
        pair: _Pair,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        listen: Callable[[bytes], None] | None,
    ) -> None:
        while True:
            try:
                chunk = await reader.read(_CHUNK)
            except OSError:
                chunk = b""
            if pair.is_lost:
                if chunk:
                    continue
                if writer is pair.server:
                    return  # the client has given it up
                await asyncio.Event().wait()  # from the server nothing comes any more, not even its end
            await self._passing.wait()
            if self._delay or self._rate:
                await asyncio.sleep(self._delay + (len(chunk) / self._rate if self._rate else 0.0))
            if listen is not None:
                listen(chunk)
            try:
                if not await self._send(pair, writer, chunk):
                    return
            except OSError:
                return

    @staticmethod
    async def _send(pair: _Pair, writer: asyncio.StreamWriter, chunk: bytes) -> bool:
        """Pass a chunk on; False when it was the last."""
        if not chunk:
            writer.write_eof()
            return False
        if pair.budget is not None:
            pair.budget -= len(chunk)
            if pair.budget <= 0:
                writer.write(chunk[: len(chunk) // 2])
                pair.reset()
                return False
        writer.write(chunk)
        await writer.drain()
        return True
