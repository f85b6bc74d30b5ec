"""Never more requests than the venue allows: a minimum distance, and the venue's own wish for patience."""

from __future__ import annotations

import asyncio

from ledger import clocks


class Pace:
    """Lets requests through one by one, at least ``1 / per_second`` apart and not before ``hold`` is over."""

    def __init__(self, per_second: float) -> None:
        self._distance = 1.0 / per_second
        self._next_at = 0.0
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Wait for one's turn."""
        async with self._turn:
            # again: it may have been held back meanwhile
            while (seconds := self._next_at - clocks.monotonic()) > 0:  # noqa: ASYNC110  a clock is waited for
                await asyncio.sleep(seconds)
            self._next_at = clocks.monotonic() + self._distance

    def hold(self, seconds: float) -> None:
        """Let nothing through for so long."""
        self._next_at = max(self._next_at, clocks.monotonic() + seconds)
