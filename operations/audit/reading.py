"""The log in the ledger, as those who check it read it: rows, tiles, checkpoints."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row

from ledger.db.audit_entries import AuditRow
from ledger.db.sql import load_queries
from trust.errors import ProofError
from trust.merkle import HASH_BYTES, leaf_hash
from trust.tiles import WIDTH, node_in, tile_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]

_SQL = load_queries("audit_reading")
_CONNECT_SECONDS = 5
_PAGE = 5_000


class AuditError(Exception):
    """What was asked for is not there, or cannot be proven; the message says why and what to do."""


class Grown(msgspec.Struct, frozen=True):
    """How far the tree is: (xid, position) are of its last leaf."""

    origin: str
    size: int
    last: tuple[int, int]
    stored_size: int


class Verified(msgspec.Struct, frozen=True):
    """The checkpoint that a verification went to, as the ledger says, and when the whole log was last verified."""

    size: int
    root: bytes
    whole_at: Any  # a datetime


class Dropped(msgspec.Struct, frozen=True):
    """Leaves [first, last] whose rows went with the partition of ``day``."""

    first: int
    last: int
    day: Any  # a date: msgspec would check it again


class Log:
    """The log of one ledger, in one snapshot. Raises ``psycopg.Error``."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._grown: Grown | None = None

    def grown(self) -> Grown:
        """Give how far the tree is. Raises ``AuditError`` where there is none."""
        if self._grown is not None:
            return self._grown
        found = self._fetch("tree")
        if not found:
            raise AuditError("nothing is in the audit log: a streaming process with the setting audit makes it")
        row = found[0]
        self._grown = Grown(row["origin"], row["tree_size"], (row["xid"], row["position"]), row["stored_size"])
        return self._grown

    def rows(self, last: tuple[int, int], after: tuple[int, int] = (0, 0)) -> Iterator[AuditRow]:
        """Give the rows behind ``after`` up to ``last``, both (xid, position), in the order of the leaves."""
        xid, position = after
        while True:
            page = self._fetch(
                "rows", xid=str(xid), position=position, last_xid=str(last[0]), last_position=last[1], limit=_PAGE
            )
            yield from map(_read, page)
            if len(page) < _PAGE:
                return
            xid, position = page[-1]["xid"], page[-1]["position"]

    def beyond(self, last: tuple[int, int]) -> int:
        """Count the rows behind ``last``."""
        return int(self._fetch("beyond", xid=str(last[0]), position=last[1])[0]["rows"])

    def leaves(self, first: int = 0) -> Iterator[bytes]:
        """Give the leaves' hashes that the tiles have, from tile ``first`` on."""
        while rows := self._fetch("tiles", level=0, first=first, until=first + 64):
            for row in rows:
                hashes = bytes(row["hashes"])
                yield from (hashes[n : n + HASH_BYTES] for n in range(0, len(hashes), HASH_BYTES))
            first += 64

    def begin_of(self, tile: int) -> tuple[int, int]:
        """Give what the rows of a tile of leaves come behind. Raises ``AuditError`` where it is not there."""
        found = self._fetch("first_of", number=tile)
        if not found:
            raise AuditError(f"tile {tile} of the leaves is missing in the ledger")
        return found[0]["xid"], found[0]["position"] - 1

    def dropped(self, first: int = 0) -> list[Dropped]:
        """Give the leaves from ``first`` on whose rows went with their partition, in order."""
        return [
            Dropped(row["first_leaf"], row["last_leaf"], row["recorded_on"])
            for row in self._fetch("dropped", first=first)
        ]

    def waiting_drops(self) -> Iterator[AuditRow]:
        """Give the events of drops that wait for their leaf, until those who began earlier have ended."""
        xid, position = self.grown().last
        return map(_read, self._fetch("waiting_drops", xid=str(xid), position=position))

    def is_planted(self) -> bool:
        """Whether the ledger keeps an audit log at all."""
        return bool(self._fetch("tree"))

    def last_verified(self, limit: int) -> list[Verified]:
        """Give what the good verifications went to, the newest first."""
        found = self._fetch("last_verified", limit=limit)
        return [Verified(row["tree_size"], bytes(row["root_hash"]), row["whole_at"]) for row in found]

    def faults_told(self) -> set[str]:
        """Give what was found in the bucket by verifications before."""
        return {row["fault"] for row in self._fetch("faults_told")}

    def checkpoints(self, after: int = -1) -> Iterator[tuple[int, bytes, str]]:
        """Give size, root and note of every checkpoint over more than ``after`` events, in order."""
        while rows := self._fetch("checkpoints", after=after, limit=_PAGE):
            yield from ((row["tree_size"], bytes(row["root_hash"]), row["note"]) for row in rows)
            after = rows[-1]["tree_size"]

    def note(self, size: int) -> str:
        """Give the checkpoint over ``size`` entries. Raises ``AuditError``."""
        found = self._fetch("checkpoint", size=size)
        if not found:
            raise AuditError(f"no checkpoint is over {size} events: audit show lists the newest")
        return str(found[0]["note"])

    def covering(self, leaf: int, size: int | None = None) -> Row | None:
        """Give the newest checkpoint that covers a leaf, or the one of a size."""
        return next(iter(self._fetch("covering", index=leaf, size=size)), None)

    def event(self, event_id: str) -> AuditRow:
        """Give the row of an event's id. Raises ``AuditError`` where none or several have it."""
        try:
            wanted = UUID(event_id)
        except ValueError:
            raise AuditError(f"EVENT {event_id!r}: the 32 hex digits of an event's id are required") from None
        found = self._fetch("by_event", event_id=wanted)
        if len(found) != 1:
            several = "there is no event" if not found else "several rows have the id"
            raise AuditError(f"{several} {event_id}; --position N names a row")
        return _read(found[0])

    def at(self, position: int) -> AuditRow:
        """Give the row of a position. Raises ``AuditError``."""
        found = self._fetch("by_position", position=position)
        if not found:
            raise AuditError(f"there is no row at position {position}")
        return _read(found[0])

    def leaf_of(self, row: AuditRow) -> int | None:
        """Give the index of a row's leaf; None where it has none yet, or its tile does not have it."""
        if (row.xid, row.position) > self.grown().last:
            return None
        found = self._fetch("tile_of", xid=str(row.xid), position=row.position)
        if not found:
            return None
        number, leaf = found[0]["number"], leaf_hash(row.entry())
        hashes = bytes(self._fetch("tiles", level=0, first=number, until=number + 1)[0]["hashes"])
        places = (n for n in range(len(hashes) // HASH_BYTES) if hashes[n * HASH_BYTES :][:HASH_BYTES] == leaf)
        place = next(places, None)
        return None if place is None else number * WIDTH + place

    def load(self, nodes: Iterable[tuple[int, int]]) -> None:
        """Read the tiles of nodes, (height, index), at once."""
        size = self.grown().size
        places = sorted({tile_of(height, index, size)[:2] for height, index in nodes} - self._tiles.keys())
        found = self._fetch(
            "some_tiles", levels=[level for level, _ in places], numbers=[number for _, number in places]
        )
        self._tiles.update({(row["level"], row["number"]): bytes(row["hashes"]) for row in found})

    def node(self, height: int, index: int) -> bytes:
        """Give a node from its tile. Raises ``ProofError``."""
        level, number, _ = tile_of(height, index, self.grown().size)
        if (level, number) not in self._tiles:
            found = self._fetch("tiles", level=level, first=number, until=number + 1)
            if not found:
                raise ProofError(f"tile {number} of level {level} is missing in the ledger")
            self._tiles[level, number] = bytes(found[0]["hashes"])
        return node_in(self._tiles[level, number], height, index)

    def _fetch(self, query: str, **arguments: object) -> list[Row]:
        return self._connection.execute(_SQL[query].encode(), arguments, binary=True).fetchall()


def known(url: str) -> int:
    """Give how much of the log the ledger says to be in the bucket. Raises ``AuditError``, ``psycopg.Error``."""
    with opened(url) as log:
        return log.grown().stored_size


def remember(url: str, since: int, size: int, root: bytes, problems: list[str], faults: list[str]) -> None:
    """Keep what a scheduled verification found. Raises ``psycopg.Error``."""
    with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
        row = {"from_size": since, "tree_size": size, "root_hash": root, "problems": problems, "faults": faults}
        connection.execute(_SQL["verified"].encode(), row)


@contextmanager
def opened(url: str) -> Iterator[Log]:
    """Open the log; all that is read is as of one moment. Raises ``psycopg.Error``."""
    with connected(url) as connection:
        yield Log(connection)


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Row]]:
    """Connect to read the log: each transaction is one moment of it. Raises ``psycopg.Error``."""
    with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, row_factory=dict_row) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield connection


def _read(row: Row) -> AuditRow:
    return AuditRow(
        row["position"],
        row["recorded_on"],
        row["xid"],
        row["event_id"].bytes,
        row["event_type"],
        row["key"],
        row["recorded_by"],
        bytes(row["body"]),
    )
