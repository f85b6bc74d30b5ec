"""The right edge of a tree that is kept in tiles: all that is needed to append leaves and to give the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import ProofError
from trust.merkle import HASH_BYTES, Range, peaks
from trust.tiles import WIDTH, WIDTH_BITS, Tile, node_in

if TYPE_CHECKING:
    from collections.abc import Mapping


def edge_of(size: int) -> list[Tile]:
    """Name the partial tiles of a tree, from the lowest level: its edge is made of them."""
    edge = []
    for level in range(-(-size.bit_length() // WIDTH_BITS)):
        number, width = divmod(size >> (level * WIDTH_BITS), WIDTH)
        if width:
            edge.append(Tile(level, number, width))
    return edge


class Growing:
    """A tree that grows. ``edge`` maps the tiles of ``edge_of(size)`` to their hashes."""

    def __init__(self, size: int, edge: Mapping[Tile, bytes]) -> None:
        """Go on from ``size`` leaves; raises ``ProofError`` where a tile of the edge is missing or cut off."""
        self._edge: dict[int, bytearray] = {}
        for tile in edge_of(size):
            hashes = edge.get(tile, b"")
            if len(hashes) != tile.width * HASH_BYTES:
                raise ProofError(f"{tile.path}: {tile.width * HASH_BYTES} bytes are required, was {len(hashes)}")
            self._edge[tile.level] = bytearray(hashes)
        roots = (node_in(bytes(self._edge[height // WIDTH_BITS]), height, index) for height, index in peaks(size))
        self._range = Range(size, roots)

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self._range.size

    def root(self) -> bytes:
        """Give the root over all leaves."""
        return self._range.root()

    def append(self, leaves: bytes) -> dict[Tile, bytes]:
        """Append leaves' hashes, one behind the other; give the tiles that grew, as they are now."""
        grown: dict[tuple[int, int], bytes | bytearray] = {}
        edge = self._edge
        for start in range(0, len(leaves), HASH_BYTES):
            for height, index, node in self._range.append(leaves[start : start + HASH_BYTES]):
                level, between = divmod(height, WIDTH_BITS)
                if between:
                    continue
                tile = edge.setdefault(level, bytearray())
                tile += node
                place = (level, index >> WIDTH_BITS)
                if len(tile) == WIDTH * HASH_BYTES:
                    grown[place] = edge.pop(level)
                else:
                    grown[place] = tile
        return {
            Tile(level, number, len(hashes) // HASH_BYTES): bytes(hashes)
            for (level, number), hashes in sorted(grown.items())
        }
