"""Where the nodes of a Merkle tree lie as files, as C2SP lays them out (c2sp.org/tlog-tiles).

A tile holds up to 256 hashes of one height, in order; tiles of level L hold the nodes of height 8 L. A node
between two levels is worked out from the tile below it, so that any node costs one tile.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from trust.errors import ProofError
from trust.merkle import HASH_BYTES, inner_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH_BITS = 8
WIDTH = 1 << WIDTH_BITS
_PART = 1000


class Tile(NamedTuple):
    """One tile; ``width`` is how many hashes it has, 256 where it is full."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Give its place below the log's prefix, such as ``tile/0/x001/x234/067.p/8``."""
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{_spelled(self.number)}{partial}"


def tile_of(height: int, index: int, size: int) -> Tile:
    """Name the widest tile that a tree of ``size`` leaves has over the node. Raises ``ProofError`` for none."""
    level, above = divmod(height, WIDTH_BITS)
    first = index << above  # at the tile's own height
    tile = first >> WIDTH_BITS
    width = min(WIDTH, (size >> (level * WIDTH_BITS)) - tile * WIDTH)
    if (first & (WIDTH - 1)) + (1 << above) > width:
        raise ProofError(f"a tree of {size} leaves has no complete subtree {index} of height {height}")
    return Tile(level, tile, width)


def node_in(hashes: bytes, height: int, index: int) -> bytes:
    """Give a node from the hashes of its tile."""
    above = height % WIDTH_BITS
    first = (index << above) & (WIDTH - 1)
    row = [hashes[n * HASH_BYTES : (n + 1) * HASH_BYTES] for n in range(first, first + (1 << above))]
    if len(row[-1]) != HASH_BYTES:
        raise ProofError(f"the tile over node {index} of height {height} has {len(hashes)} bytes: too few")
    return reduce(lambda nodes, _: _joined(nodes), range(above), row)[0]


def tile_root(hashes: bytes) -> bytes:
    """Give the root over a full tile: what the tile above it has."""
    row = [hashes[n : n + HASH_BYTES] for n in range(0, len(hashes), HASH_BYTES)]
    if len(row) != WIDTH or len(row[-1]) != HASH_BYTES:
        raise ProofError(f"a full tile has {WIDTH * HASH_BYTES} bytes, was {len(hashes)}")
    return reduce(lambda nodes, _: _joined(nodes), range(WIDTH_BITS), row)[0]


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Name the tiles that a tree has at ``new`` leaves and had not, or narrower, at ``old``."""
    level = 0
    while new >> (level * WIDTH_BITS):
        before, now = old >> (level * WIDTH_BITS), new >> (level * WIDTH_BITS)
        if now > before:
            for number in range(before // WIDTH, -(-now // WIDTH)):
                yield Tile(level, number, min(WIDTH, now - number * WIDTH))
        level += 1


def _joined(nodes: list[bytes]) -> list[bytes]:
    return [inner_hash(nodes[n], nodes[n + 1]) for n in range(0, len(nodes), 2)]


def _spelled(number: int) -> str:
    number, last = divmod(number, _PART)
    parts = [f"{last:03d}"]
    while number:
        number, part = divmod(number, _PART)
        parts.append(f"x{part:03d}")
    return "/".join(reversed(parts))
