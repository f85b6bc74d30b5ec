"""Reading the landed audit events in the order in which they may be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger import clocks
from ledger.db.failures import explained
from ledger.db.outbox_event import OutboxEvent
from ledger.db.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

_SQL = load_queries("outbox")
# probes of indexes: a server that does not answer by then has lost the connection, or is away
_SECONDS, _BODIES_SECONDS, _REFILL_SECONDS = 3.0, 10.0, 60.0


class OutboxEntry(msgspec.Struct, frozen=True):
    """Where an event stands in the outbox."""

    xid: int
    position: int
    event_id: str
    event_type: str


class Cursor(msgspec.Struct, frozen=True):
    """Everything at or before (xid, position) is published to ``incarnation``.

    ``tails`` maps ``topic/partition`` to the offset from which events beyond the cursor may stand.
    """

    incarnation: str
    xid: int
    position: int
    tails: dict[str, int]


class Outbox:
    """The outbox of one publisher, on a connection of its own."""

    def __init__(self, connection: asyncpg.Connection[Any], publisher: str) -> None:
        self._connection = connection
        self._publisher = publisher
        self._asked_at: float | None = None

    @property
    def waits_seconds(self) -> float:
        """How long the server has been owing an answer."""
        return 0.0 if self._asked_at is None else clocks.monotonic() - self._asked_at

    async def cursor(self) -> Cursor | None:
        """Give how far this publisher got; None before its first start."""
        found = await self._fetch("cursor", self._publisher)
        if not found:
            return None
        row = found[0]
        tails = msgspec.json.decode(row["tails"], type=dict[str, int])
        return Cursor(row["incarnation"], row["xid"], row["position"], tails)

    async def save(self, cursor: Cursor) -> None:
        """Remember how far this publisher got."""
        tails = msgspec.json.encode(cursor.tails).decode()
        await self._fetch(
            "save_cursor", self._publisher, cursor.incarnation, str(cursor.xid), cursor.position, tails
        )

    async def refill_start(self, seconds: float) -> tuple[int, int]:
        """Give the (xid, position) just before the oldest event that a broker without its topics gets again."""
        found = await self._fetch("refill_start", seconds, seconds=_REFILL_SECONDS)
        return max(0, found[0]["xid"] - 1), 0

    async def horizon(self) -> tuple[int, int]:
        """Give the transaction id below which all have ended, and the one from which none has begun."""
        row = (await self._fetch("horizon"))[0]
        return row["all_before"], row["none_from"]

    async def page(self, after: tuple[int, int], below_xid: int, limit: int) -> list[OutboxEntry]:
        """List the next events after (xid, position), of transactions below ``below_xid``."""
        found = await self._fetch("page", str(after[0]), after[1], limit, str(below_xid))
        return [OutboxEntry(r["xid"], r["position"], r["event_id"].hex, r["event_type"]) for r in found]

    async def events(self, entries: Sequence[OutboxEntry]) -> list[OutboxEvent]:
        """Read the events of entries, in their order."""
        found = await self._fetch("bodies", [e.position for e in entries], seconds=_BODIES_SECONDS)
        return [OutboxEvent(r["event_id"].hex, r["event_type"], r["key"], r["body"], r["raw"]) for r in found]

    async def _fetch(self, query: str, *arguments: object, seconds: float = _SECONDS) -> list[Mapping[str, Any]]:
        self._asked_at = clocks.monotonic()
        try:
            with explained("the outbox"):
                found: list[Mapping[str, Any]] = await self._connection.fetch(
                    _SQL[query], *arguments, timeout=seconds
                )
        finally:
            self._asked_at = None
        return found
