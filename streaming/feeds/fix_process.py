"""The engine's process: started with a pipe, read without blocking, ended with its parent's attention."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from streaming.feeds.fix_frames import F_SETPIPE_SZ, PIPE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from streaming.settings import FixFeedSettings

_ENGINE = "streaming.feeds.fix_engine"
_ROOT = Path(__file__).parents[2]
_READ_BYTES = 64 * 1024
_STOP_SECONDS = 2.0


class EngineProcess:
    """A running engine. Leaving the context logs the session out, or kills what does not end in 2 s."""

    def __init__(self, settings: FixFeedSettings, next_sequence: int, on_event: Callable[[str], None]) -> None:
        self._settings = settings
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
                env=_environment(),
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

    def _hand_over(self, write_end: int) -> None:
        assert self._process.stdin is not None
        handed = {
            "settings": self._settings.model_dump(mode="json"),
            "next_sequence": self._next_sequence,
            "pipe": write_end,
            "parent": os.getpid(),
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


def _environment() -> dict[str, str]:
    # the program may run from a source tree that is not installed
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{path}" if path else str(_ROOT)}
