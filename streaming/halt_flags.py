"""Redis: which venues are halted, for agents that ask before they route. A cache of what the ledger says.

``execution:halt:{venue}`` is a hash (cause, by, reason, since) while the venue is halted, and not there otherwise.
``execution:halts`` is the time (Unix seconds) at which the flags were last known to be whole; it goes after ten
seconds. Without it the absence of a flag says nothing: Redis has forgotten, or nobody keeps the flags.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from ledger import clocks
from ledger.domain.times import NANOS, format_utc
from ledger.faultpoints import at
from streaming.fencing import fenced, redis_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis.asyncio import Redis

    from ledger.domain.controls import StandingHalt

FLAG = "execution:halt:"
MARKER = "execution:halts"
_CHECK_SECONDS = 1.0
_MARKER_SECONDS = 10

log = structlog.get_logger()


class HaltFlags:
    """Keeps the flags of ``venues`` while this process holds the lease."""

    def __init__(
        self,
        redis: Redis,
        venues: Iterable[str],
        *,
        may_write: asyncio.Event,
        token: Callable[[], int] = lambda: 0,
    ) -> None:
        self._redis = redis
        self._venues = frozenset(venues)
        self._may_write = may_write
        self._token = token
        self._wanted: dict[str, StandingHalt] | None = None
        self._is_new = True
        self._wake = asyncio.Event()
        self.state = "connecting"

    def show(self, standing: Mapping[str, StandingHalt]) -> None:
        """Show these venues as halted, and no others."""
        self._wanted = dict(standing)
        self._wake.set()

    async def run(self) -> None:
        """Write until cancelled, at once after a change and every second: what Redis forgot is there again."""
        while True:
            if not self._may_write.is_set():
                self.state, self._is_new, self._wanted = "connecting", True, None
                await self._may_write.wait()
            self._wake.clear()
            try:
                if self._wanted is not None:  # else it is not yet known who is halted
                    with redis_named():
                        await self._write(self._wanted)
                    self.state = "live"
            except (RedisError, OSError) as error:
                if self.state != "down":
                    log.warning("halt flags are not kept", error=str(error))
                self.state, self._is_new = "down", True
            try:
                async with asyncio.timeout(_CHECK_SECONDS):  # wait_for loses a cancellation in 3.11
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _write(self, wanted: Mapping[str, StandingHalt]) -> None:
        known = {FLAG + venue for venue in self._venues}
        if self._is_new:  # flags of venues that are none of ours any more
            known.update([key.decode() async for key in self._redis.scan_iter(f"{FLAG}*", count=1000)])
        async with fenced(self._redis, self._token) as pipe:
            for key in sorted(known - {FLAG + venue for venue in wanted}):
                pipe.delete(key)
            for venue, halt in wanted.items():
                fields: dict[Any, Any] = {"cause": halt.cause.value, "by": halt.by, "reason": halt.reason}
                pipe.hset(FLAG + venue, mapping=fields | {"since": format_utc(halt.halted_ns)})
            pipe.set(MARKER, str(clocks.time_ns() // NANOS), ex=_MARKER_SECONDS)
            at("redis.halts")
            await pipe.execute()
        self._is_new = False
