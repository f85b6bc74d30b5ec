"""The parent's side of the child that decodes large batches, so that the loop's thread has less to do.

A backlog's batch costs that thread some 13 us a fill to decode and 2 us to read back (docs/operations.md). A small
batch is decoded in place, where that is sooner. Whatever goes wrong with the child, the batch is decoded in place
too: the child saves time and decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING

import msgspec
import structlog

from ledger import clocks
from streaming.arrivals import ArrivalKind
from streaming.decoding_child import LENGTH, framed, read_answers
from streaming.feeds.fix_process import module_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.arrivals import Arrival
    from streaming.decoding_child import Formats, Message
    from streaming.venues.decoded import Decoded

SMALLEST_BATCH = 100  # reports: far above what one commit's time brings in while a market is live
_CHILD = "streaming.decoding_child"
_BUFFER_BYTES = 1 << 20  # about one answer
_LARGEST_BYTES = 16 << 20  # of a batch: what is larger would not be back in time
_START_SECONDS, _ANSWER_SECONDS = 20.0, 2.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_END_SECONDS = 0.3

log = structlog.get_logger()


class Link(msgspec.Struct):
    """A child and the socket to it."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, payload: bytes) -> bytes:
        """Send a frame and give the one that comes back."""
        self.writer.write(framed(payload))
        head = await self.reader.readexactly(LENGTH.size)
        return await self.reader.readexactly(LENGTH.unpack(head)[0])


class DecodingChild:
    """A child that is started by the first large batch, which does not wait for it."""

    def __init__(self, formats: Formats, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._formats = formats
        self._answer_seconds = answer_seconds
        self._link: Link | None = None
        self._starting: asyncio.Task[None] | None = None
        self._start_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS

    @property
    def pid(self) -> int | None:
        """The child, once it is ready."""
        return None if self._link is None else self._link.process.pid

    async def decode(self, arrivals: Sequence[Arrival]) -> dict[int, Decoded]:
        """Give what the reports among the arrivals hold, by their place; nothing where they are the caller's."""
        places = [n for n, a in enumerate(arrivals) if a.kind is ArrivalKind.REPORT and a.defect is None]
        if len(places) < SMALLEST_BATCH or sum(len(arrivals[n].raw) for n in places) > _LARGEST_BYTES:
            return {}
        if self._link is None:
            self._start_if_due()
            return {}
        messages = [self._message(arrivals[n]) for n in places]
        try:
            async with asyncio.timeout(self._answer_seconds):
                answer = await self._link.ask(msgspec.msgpack.encode(messages))
            return dict(zip(places, read_answers(answer), strict=True)) if answer else {}
        except (TimeoutError, EOFError, OSError, msgspec.MsgspecError, ValueError) as error:
            await self._give_up(error)
            return {}
        except asyncio.CancelledError:  # its answer would be taken for the next one's
            await self.close()
            raise

    async def close(self) -> None:
        """End the child."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
            self._starting = None
        link, self._link = self._link, None
        if link is not None:
            await _end(link)

    def _message(self, arrival: Arrival) -> Message:
        assert arrival.venue is not None, "a report comes from a venue"
        return (arrival.feed if arrival.feed in self._formats else arrival.venue, arrival.venue, arrival.raw)

    def _start_if_due(self) -> None:
        if self._starting is None and clocks.monotonic() >= self._start_at:
            self._starting = asyncio.create_task(self._start(), name="start the decoding child")

    async def _start(self) -> None:
        link: Link | None = None
        try:
            async with asyncio.timeout(_START_SECONDS):
                link = await _spawned()
                await link.ask(msgspec.msgpack.encode(self._formats))
        except (TimeoutError, EOFError, OSError) as error:
            if link is not None:
                await _end(link)
            self._starting = None
            await self._give_up(error)
        except asyncio.CancelledError:
            if link is not None:
                await _end(link)
            raise
        else:
            log.info("large batches are decoded in a child process", pid=link.process.pid)
            self._starting, self._link = None, link

    async def _give_up(self, error: Exception) -> None:
        """Start another one later, ever later where none lives for long."""
        log.warning(
            "the decoding child is given up, batches are decoded in this process meanwhile",
            reason=str(error) or type(error).__name__,
            next_start_seconds=self._pause,
        )
        now = clocks.monotonic()
        if now - self._start_at > 2 * _LONGEST_PAUSE_SECONDS:
            self._pause = _FIRST_PAUSE_SECONDS
        self._start_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        link, self._link = self._link, None
        if link is not None:
            await _end(link)


async def _spawned() -> Link:
    ours, childs = socket.socketpair()
    try:
        for end in (ours, childs):  # the kernel gives what its limit allows
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _CHILD,
            stdin=childs.fileno(),
            stdout=asyncio.subprocess.DEVNULL,
            env=module_environment(),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        childs.close()
    reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER_BYTES)
    return Link(process, reader, writer)


async def _end(link: Link) -> None:
    """Kill it, it keeps nothing; and wait for it, so that it does not stay as a zombie."""
    with contextlib.suppress(ProcessLookupError):
        link.process.kill()
    link.writer.close()
    with contextlib.suppress(OSError):
        await link.writer.wait_closed()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await link.process.wait()
