"""Keeps the writer's lease while a session lands, and ends a session that nobody serves any more.

It has a connection of its own: a landing that takes long does not let the lease run out, and a lease that another
has taken ends the landing's session at once. The token in each landing is what protects the ledger; this only
makes the process notice sooner, and keeps a healthy holder from losing the lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from ledger import clocks
from ledger.db import leases
from ledger.db.errors import LeaseLostError, LedgerUnavailableError
from ledger.db.failures import AWAY
from ledger.faultpoints import at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_RENEW_SECONDS = leases.LEASE_SECONDS / 4
_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 1.0
_DEAF_SECONDS = 1.0  # who waits for longer, while the server does nothing for the session, waits in vain
_AGAIN_SECONDS = 0.3  # a second look shows that no answer is on its way

log = structlog.get_logger()


class LeaseKeeper:
    """Renews the lease of ``writer``."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], writer: str) -> None:
        self._connect = connect
        self._writer = writer
        self._own: asyncpg.Connection[Any] | None = None

    async def keep(
        self, token: int, session: asyncpg.Connection[Any], asked_at: Callable[[], float | None]
    ) -> None:
        """Renew until cancelled or lost; ``session`` is the one that lands, and ends when there is no use in it.

        ``asked_at`` gives since when (monotonic, s) it waits for the server; None while it does not.
        """
        deaf_at: tuple[float, float] | None = None  # what was found to be unanswered at the last look
        try:
            while not session.is_closed():
                try:
                    async with asyncio.timeout(_CONNECT_SECONDS if self._own is None else _ANSWER_SECONDS):
                        own = await self._connected()
                        await leases.renew(own, self._writer, token, leases.LEASE_SECONDS)
                        at("lease.renewed")
                        unanswered = await self._unanswered(own, session, asked_at())
                    if unanswered is not None and unanswered == deaf_at:
                        log.warning("the ledger does not answer a session: it is ended")
                        session.terminate()
                    deaf_at = unanswered
                except LeaseLostError as error:
                    log.warning("the lease is lost", reason=str(error))
                    session.terminate()
                except (LedgerUnavailableError, *AWAY, asyncpg.PostgresError) as error:
                    is_deaf = self._own is not None and isinstance(error, TimeoutError)
                    self._drop()
                    if is_deaf:
                        continue  # at once on a new one: it may be half-open
                await asyncio.sleep(_RENEW_SECONDS if deaf_at is None else _AGAIN_SECONDS)
        finally:
            self._drop()

    @staticmethod
    async def _unanswered(
        own: asyncpg.Connection[Any], session: asyncpg.Connection[Any], asked: float | None
    ) -> tuple[float, float] | None:
        """Give since when ``session`` waits, and since when the server does nothing for it; None while it does.

        A large batch is many statements, with work of ours between them: the second time moves with each.
        """
        if asked is None or clocks.monotonic() - asked < _DEAF_SECONDS:
            return None
        idle = await leases.idle_since(own, session.get_server_pid())
        return None if idle is None else (asked, idle)

    async def _connected(self) -> asyncpg.Connection[Any]:
        if self._own is None or self._own.is_closed():
            self._own = await self._connect()
            # to lose a renewal in a crash of the server is harmless, and a slow disk does not delay it
            await self._own.execute("SET synchronous_commit = off")
        return self._own

    def _drop(self) -> None:
        if self._own is not None:
            self._own.terminate()
            self._own = None
