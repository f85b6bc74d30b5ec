"""The leaves of the log in order: of its rows, and of its tiles where a partition was dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db.audit_entries import AuditRow
from trust.errors import TrustError
from trust.merkle import HASH_BYTES, Range, leaf_hash
from trust.tiles import WIDTH, WIDTH_BITS, Tile, tile_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.audit.reading import Log
    from trust.bucket_log import BucketLog


class Step(msgspec.Struct, frozen=True):
    """One leaf: of ``row``, or of a row that was dropped with its ``day``."""

    index: int
    leaf: bytes
    row: AuditRow | None = None
    day: Any = None  # a date

    @property
    def named(self) -> str:
        """Say which it is."""
        if self.row is None:
            return f"leaf {self.index}, of the partition of {self.day}, which was dropped"
        event = f"{self.row.event_id.hex()}, {self.row.event_type}"
        return f"leaf {self.index}, where the row at position {self.row.position} is (event {event})"


class Walk:
    """The tree over the leaves that have come by, from tile ``first_tile`` on."""

    def __init__(self, before: Range, first_tile: int) -> None:
        self.range = before
        self.first_tile = first_tile
        self.tiles: list[bytes] = []  # the root over each full tile of leaves

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self.range.size

    @property
    def full_until(self) -> int:
        """How many of them are in full tiles."""
        return (self.first_tile + len(self.tiles)) * WIDTH

    def take(self, leaf: bytes) -> None:
        """Append a leaf."""
        for height, _, node in self.range.append(leaf):
            if height == WIDTH_BITS:
                self.tiles.append(node)


def steps(log: Log, base: int) -> Iterator[Step]:
    """Give the leaves from ``base`` on, where a tile begins, up to the tree's size or the last row."""
    size, last = log.grown().size, log.grown().last
    if base >= size:
        return
    after = (0, 0) if base == 0 else log.begin_of(base // WIDTH)
    rows, tiles, index = log.rows(last, after), _Tiles(log), base
    for piece in log.dropped(base):
        while index < piece.first:
            row = next(rows, None)
            if row is None:
                return
            yield Step(index, leaf_hash(row.entry()), row)
            index += 1
        while index <= min(piece.last, size - 1):
            leaf = tiles.leaf(index)
            if leaf is None:
                return
            yield Step(index, leaf, day=piece.day)
            index += 1
    for row in rows:
        yield Step(index, leaf_hash(row.entry()), row)
        index += 1


def located(log: Log, bucket: BucketLog, walk: Walk, base: int) -> str | None:
    """Name the first leaf that is not what the bucket's tiles have; None where these do not say."""
    try:
        for number in _differing(bucket, walk):
            theirs = bucket.tile(Tile(0, number))
            if theirs is None or tile_root(theirs) == walk.tiles[number - walk.first_tile]:
                continue
            for step in steps(log, base):
                place = (step.index - number * WIDTH) * HASH_BYTES
                if place >= 0 and step.leaf != theirs[place : place + HASH_BYTES]:
                    return step.named
    except TrustError:
        return None
    return None


def _differing(bucket: BucketLog, walk: Walk) -> Iterator[int]:
    """Give the tiles that differ by the bucket's tiles of the level above, or all where there is none yet."""
    above: dict[int, bytes | None] = {}
    for place, ours in enumerate(walk.tiles):
        upper, within = divmod(walk.first_tile + place, WIDTH)
        if upper not in above:
            above[upper] = bucket.tile(Tile(1, upper))
        theirs = above[upper]
        if theirs is None or theirs[within * HASH_BYTES : (within + 1) * HASH_BYTES] != ours:
            yield walk.first_tile + place


class _Tiles:
    """The ledger's leaves by their index; asked for in order."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._left: Iterator[bytes] = iter(())
        self._at = -1

    def leaf(self, index: int) -> bytes | None:
        if index != self._at:
            self._left = self._log.leaves(index // WIDTH)
            for _ in range(index % WIDTH):
                next(self._left, None)
        self._at = index + 1
        return next(self._left, None)
