"""What the watches of landed decisions have in common: they watch while this process holds the lease.

A watch reads from the ledger how things stand, and from then on is handed what lands; it looks at that later, a
few times a second, since the landing goes first. When the lease or the ledger is gone it begins anew. One that
reads much may begin only when a backlog is cleared: what lands in between is in what it reads then.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog

from ledger.db.errors import LedgerUnavailableError
from ledger.faultpoints import at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from ledger.domain.decision import Decision

_RETRY_SECONDS = 0.5

log = structlog.get_logger()


class LandedWatch(ABC):
    """A watch; ``look_seconds`` is how often it looks, and ``what`` is not watched while the ledger is away."""

    look_seconds: float
    what: str

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], may_decide: asyncio.Event
    ) -> None:
        self._connect = connect
        self._may_decide = may_decide
        self._offered: deque[Decision] = deque()
        self._live = False

    def offer(self, decision: Decision) -> None:
        """Take note of a landed decision; what is in it is looked at later."""
        if self._live:
            self._offered.append(decision)

    async def run(self) -> None:
        """Watch until cancelled, whenever the lease is held."""
        while True:
            await self._may_decide.wait()
            if self._is_behind():
                await asyncio.sleep(self.look_seconds)
                continue
            try:
                self._live = (
                    True  # what lands while it is read is handed over, and taking it again changes nothing
                )
                has_begun = await self._read()
                while has_begun and self._may_decide.is_set():
                    await self._take_offered()
                    await self._look()
                    await asyncio.sleep(self.look_seconds)
            except (LedgerUnavailableError, OSError) as error:
                log.warning("not watched", what=self.what, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                self._live = False
                self._offered.clear()

    def _is_behind(self) -> bool:
        """Whether so much waits to be landed that what stands is not worth reading yet."""
        return False

    async def _read(self) -> bool:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            has_begun = await self._begin(connection)
            at("watch.read")
            return has_begun
        finally:
            connection.terminate()

    async def _take_offered(self) -> None:
        for _ in range(len(self._offered)):
            self._take(self._offered.popleft())
            await asyncio.sleep(0)  # the landing goes first

    @abstractmethod
    async def _begin(self, connection: asyncpg.Connection[Any]) -> bool:
        """Read how things stand; say whether that was done, or is better done later."""

    @abstractmethod
    def _take(self, decision: Decision) -> None:
        """Take up a landed decision."""

    @abstractmethod
    async def _look(self) -> None:
        """Look whether there is something to decide now."""
