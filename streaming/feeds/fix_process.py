"""The engine's process: started with a pipe, read without blocking, ended with its parent's attention."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from ledger import clocks
from streaming.children import child_environment
from streaming.feeds.fix_frames import F_SETPIPE_SZ, PIPE_BYTES
from trust.references import is_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from pydantic import SecretStr

    from streaming.credentials import Credentials
    from streaming.settings import FixFeedSettings

_ENGINE = "streaming.feeds.fix_engine"
_READ_BYTES = 64 * 1024
_STOP_SECONDS = 2.0
_BEAT_SECONDS = 0.5
_COMMAND_BYTES = 64 * 1024  # of commands that the engine has not read: more is not handed over


class Shown(NamedTuple):
    """What an engine shows the venue of us. It goes to the engine over its standard input, and into no file."""

    password: str
    pem: dict[str, str]
    """Contents of ``tls_certificate`` and ``tls_key`` where they are references and no files."""

    @classmethod
    def of(cls, settings: FixFeedSettings, credentials: Credentials) -> Self:
        """Look it up. Raises ``NotHeldError``."""
        places = {"tls_certificate": settings.tls_certificate, "tls_key": settings.tls_key}
        named = {name: place for name, place in places.items() if place is not None and is_reference(str(place))}
        return cls(
            credentials.value(settings.password),
            {name: credentials.value(place) for name, place in named.items()},
        )


def secrets_of(settings: FixFeedSettings) -> list[SecretStr | Path]:
    """Give the settings that a session logs on anew for."""
    return [settings.password, *(p for p in (settings.tls_certificate, settings.tls_key) if p is not None)]


class EngineProcess:
    """A running engine. Leaving the context logs the session out, or kills what does not end in 2 s."""

    def __init__(
        self, settings: FixFeedSettings, shown: Shown, next_sequence: int, on_event: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._shown = shown
        self._next_sequence = next_sequence
        self._on_event = on_event

    async def __aenter__(self) -> Self:
        read_end, write_end = os.pipe()
        with contextlib.suppress(OSError):  # over the user's share of pipe memory: the usual 64 KiB will do
            fcntl.fcntl(write_end, F_SETPIPE_SZ, PIPE_BYTES)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _ENGINE,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[write_end],
                env=child_environment(),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._reader = asyncio.StreamReader(limit=_READ_BYTES)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), os.fdopen(read_end, "rb", buffering=0)
        )
        self._listening = asyncio.create_task(self._listen(), name="FIX engine events")
        self._hand_over(write_end)
        self._beating = asyncio.create_task(self._beat(), name="FIX engine's sign of life")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # a callback that blocks on the full pipe must come free for the Logout
        self._transport.close()
        try:
            await asyncio.shield(asyncio.create_task(self._stop(), name="stop the FIX engine"))
        finally:
            self._listening.cancel()
            self._beating.cancel()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def read(self) -> bytes:
        """What is there, at least one byte; nothing once the engine has ended."""
        return await self._reader.read(_READ_BYTES)

    async def wait(self) -> int:
        """Wait for its end and give its exit status, negative for a signal."""
        return await self._process.wait()

    def send(self, fields: Sequence[tuple[int, str]]) -> bool:
        """Have a message of these fields sent; False, and nothing is, where the engine does not read."""
        assert self._process.stdin is not None
        if (
            self._process.stdin.is_closing()
            or self._process.stdin.transport.get_write_buffer_size() > _COMMAND_BYTES
        ):
            return False
        self._process.stdin.write(json.dumps(fields).encode() + b"\n")
        return True

    def end(self) -> None:
        """Have it log out and end; what it has received can still be read."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def _beat(self) -> None:
        """Tell the engine that we are there: where we are stopped, it leaves the session to the next writer."""
        while True:
            self.send(())
            await asyncio.sleep(_BEAT_SECONDS)

    def _hand_over(self, write_end: int) -> None:
        assert self._process.stdin is not None
        handed = {
            "settings": self._settings.model_dump(mode="json", exclude={"password"}),
            "shown": self._shown._asdict(),
            "next_sequence": self._next_sequence,
            "pipe": write_end,
            "parent": os.getpid(),
            "clock_anchor_ns": clocks.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        }
        self._process.stdin.write(json.dumps(handed).encode() + b"\n")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            # ScreenLog prints "<time, session, event>" and then the text in brackets
            text = line.decode(errors="replace").strip()
            if text and not text.startswith("<"):
                self._on_event(text)

    async def _stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
