"""Secrets that were taken back in Vault, and those that are there again, as audit events. No value is in any.

They are no facts of an order, and so not landed: each is written by itself, once, as soon as this process holds
the lease and Postgres can be reached. Until then it waits in memory; what another process finds is the same event.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import structlog

from ledger.db.failures import AWAY
from ledger.domain.events import control_event
from ledger.domain.identity import identify
from ledger.faultpoints import at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.domain.records import AuditEvent

WITHDRAWN, RESTORED = "secret_withdrawn", "secret_restored"
_AGAIN_SECONDS = 1.0
_MOST = 1000  # that wait; each is a secret of the settings, and they are few
_PARTITION = "SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)"
_INSERT = """
INSERT INTO execution.audit_events (event_id, event_type, key, body)
SELECT $1::uuid, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM execution.audit_events WHERE event_id = $1::uuid)"""

log = structlog.get_logger()


class SecretChange(NamedTuple):
    """What happened to the secret at a path.

    ``version``: the one that was held, or that is there again, and when it was made (Unix time); 0: none was held.
    """

    event: str
    place: str
    version: int
    made: float
    why: str


class SecretEvents:
    """Writes what it is told."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]], may_write: asyncio.Event
    ) -> None:
        self._connect, self._may_write = connect, may_write
        self._waiting: asyncio.Queue[AuditEvent] = asyncio.Queue(_MOST)

    def tell(self, change: SecretChange) -> None:
        """Have a change written; it does not wait."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(event_of(change))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            event = await self._waiting.get()
            await self._may_write.wait()
            while not await self._is_written(event):
                await asyncio.sleep(_AGAIN_SECONDS)
                await self._may_write.wait()
            self._waiting.task_done()

    async def drained(self) -> None:
        """Wait until all that it was told is written."""
        await self._waiting.join()

    async def _is_written(self, event: AuditEvent) -> bool:
        try:
            connection = await self._connect()
            try:
                at("secrets.event")
                async with connection.transaction():
                    await connection.execute(_PARTITION)
                    await connection.execute(_INSERT, event.event_id, event.event_type, event.key, event.body)
                at("secrets.written")
            finally:
                await connection.close()
        except (*AWAY, asyncpg.PostgresError) as error:
            log.warning("the change of a secret cannot be written down yet", told=event.event_type, why=str(error))
            return False
        return True


def event_of(change: SecretChange) -> AuditEvent:
    """Give the event: the same change of the same version has the same id."""
    detail: dict[str, str | None] = {"path": change.place, "version": str(change.version), "reason": change.why}
    event_id = identify(change.event, change.place, str(change.version), repr(change.made), change.why)
    return control_event(change.event, event_id, change.place, identify("secret", change.place), detail)
