"""The tree over the audit events as Postgres keeps it: leaves to come, tiles, checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db.errors import LeaseLostError
from ledger.db.failures import explained
from ledger.db.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from ledger.db.outbox_event import OutboxEvent

LOG = "audit"
_SQL = load_queries("audit_log")
_ALL = 1 << 62
_SECONDS = 10.0


class Tree(msgspec.Struct, frozen=True):
    """How far the tree is: (xid, position) are of its last leaf; the bucket has so much of it."""

    origin: str
    size: int
    xid: int
    position: int
    stored_size: int
    tiled_size: int


class Leaves(msgspec.Struct, frozen=True):
    """Hashes of the next leaves, one behind the other, and where each is; ``decisions`` are no checkpoints."""

    hashes: bytes
    xids: list[int]
    positions: list[int]
    decisions: int


class TileRow(msgspec.Struct, frozen=True):
    """A tile; ``first`` is the (xid, position) of its first leaf, level 0 only."""

    level: int
    number: int
    hashes: bytes
    first: tuple[int, int] | None = None


class Signed(msgspec.Struct, frozen=True):
    """A checkpoint that was signed."""

    size: int
    root: bytes
    note: str


class AuditLog:
    """The log, on a connection of its own. Raises ``LedgerUnavailableError``."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def tree(self, origin: str) -> Tree:
        """Give how far the tree is; the first time it is made, by the name ``origin``."""
        found = await self._fetch("tree", LOG)
        if not found:
            await self._fetch("plant", LOG, origin)
            found = await self._fetch("tree", LOG)
        row = found[0]
        return Tree(
            row["origin"], row["tree_size"], row["xid"], row["position"], row["stored_size"], row["tiled_size"]
        )

    async def leaves(self, after: tuple[int, int], limit: int, below_xid: int = _ALL) -> Leaves:
        """Give the next leaves behind (xid, position), of transactions that have all ended."""
        row = (await self._fetch("leaves", str(after[0]), after[1], limit, str(below_xid)))[0]
        return Leaves(row["leaves"], row["xids"], row["positions"], row["decisions"])

    async def tiles(self, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], TileRow]:
        """Give tiles by (level, number); those that are not there are left out."""
        levels, numbers = [level for level, _ in wanted], [number for _, number in wanted]
        found = await self._fetch("tiles", levels, numbers)
        return {
            (row["level"], row["number"]): TileRow(
                row["level"],
                row["number"],
                row["hashes"],
                None if row["first_xid"] is None else (row["first_xid"], row["first_position"]),
            )
            for row in found
        }

    async def dropped(self, first: int) -> list[tuple[int, int]]:
        """Give the leaves from ``first`` on whose rows went with their partition: first and last of each piece."""
        return [(row["first_leaf"], row["last_leaf"]) for row in await self._fetch("dropped", first)]

    async def grow(self, old: int, new: int, last: tuple[int, int], tiles: Sequence[TileRow]) -> None:
        """Write the tiles that grew, and how far the tree is now.

        Raises ``LeaseLostError`` where another process has moved it on meanwhile.
        """
        with explained("the audit log"):
            async with self._connection.transaction():
                if not await self._fetch("grow", LOG, old, new, str(last[0]), last[1]):
                    raise LeaseLostError("another process makes the tree of the audit log")
                await self._fetch(
                    "write_tiles",
                    [tile.level for tile in tiles],
                    [tile.number for tile in tiles],
                    [tile.hashes for tile in tiles],
                    [tile.first and tile.first[0] for tile in tiles],
                    [tile.first and tile.first[1] for tile in tiles],
                )

    async def newest_checkpoint(self) -> Signed | None:
        """Give the checkpoint over the most events."""
        found = await self._fetch("newest_checkpoint")
        return Signed(found[0]["tree_size"], found[0]["root_hash"], found[0]["note"]) if found else None

    async def record(self, signed: Signed, event: OutboxEvent) -> bool:
        """Keep a checkpoint, and tell of it by an audit event; give whether it was not kept yet."""
        await self._fetch("ensure_partitions")
        with explained("the audit log"):
            async with self._connection.transaction():
                is_new = bool(await self._fetch("record_checkpoint", signed.size, signed.root, signed.note))
                if is_new:
                    await self._fetch("record_event", event.event_id, event.event_type, event.key, event.body)
        return is_new

    async def stored(self, size: int, tiled: int) -> None:
        """Remember what is in the bucket."""
        await self._fetch("stored", LOG, size, tiled)

    async def _fetch(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        with explained("the audit log"):
            found: list[Mapping[str, Any]] = await self._connection.fetch(
                _SQL[query], *arguments, timeout=_SECONDS
            )
        return found
