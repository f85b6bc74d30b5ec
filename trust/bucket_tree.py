"""The tree as the bucket has it: proofs of what was logged, with the ledger gone.

A tile that is not there, or not as full as it has to be, is worked out from the tiles below it. All that a proof
needs was written after the entry that it is of, and is locked for as long: the tiles above an entry are full, or
stored unfinished, only once it is in them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import ProofError
from trust.merkle import HASH_BYTES, inclusion_proof, inner_hash, root_of
from trust.tiles import WIDTH, WIDTH_BITS, Tile, node_in, tile_root

if TYPE_CHECKING:
    from trust.bucket_log import BucketLog
    from trust.notes import Checkpoint


class BucketTree:
    """The tiles of a bucket, each read once. All raise ``StoreError``."""

    def __init__(self, bucket: BucketLog) -> None:
        self._bucket = bucket
        self._tiles: dict[tuple[int, int], bytes] = {}

    def leaf(self, index: int) -> bytes | None:
        """Give a leaf's hash; None where no tile has it."""
        number, place = divmod(index, WIDTH)
        hashes = self._tile(0, number)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        return hashes or None

    def node(self, height: int, index: int) -> bytes:
        """Give the hash of a complete subtree. Raises ``ProofError`` where the bucket has too little of it."""
        level, above = divmod(height, WIDTH_BITS)
        first = index << above
        number, place = divmod(first, WIDTH)
        held = self._tile(level, number)
        if len(held) >= (place + (1 << above)) * HASH_BYTES:
            return node_in(held, height, index)
        if not level:
            raise ProofError(f"the bucket has no leaf {first + (1 << above) - 1}: its tile is not stored yet")
        below = height - WIDTH_BITS if not above else height - 1
        span = 1 << (height - below)
        return _joined([self.node(below, index * span + n) for n in range(span)])

    def reaches(self, leaf: int) -> bool:
        """Look for unfinished tiles with a leaf that no full tile has; say whether there are such."""
        return self._edge_over(leaf) is not None

    def covering(self, leaf: int) -> Checkpoint:
        """Give a checkpoint over a leaf whose whole tree is here. Raises ``ProofError`` for none."""
        found = self._edge_over(leaf)
        if found is not None:
            return found
        for size in self._bucket.sizes(leaf):
            if self.leaf(size - 1) is None:
                break
            if (checkpoint := self._bucket.checkpoint(size)) is not None:
                return checkpoint
        raise ProofError(
            f"{self._bucket.place} has no checkpoint over leaf {leaf} with all tiles below it: unfinished tiles "
            "are stored now and then (audit.edge_seconds)"
        )

    def _edge_over(self, leaf: int) -> Checkpoint | None:
        """Give the first checkpoint over a leaf with unfinished tiles; these are read."""
        for size in self._bucket.edges(leaf):
            edge = self._bucket.edge(size)
            checkpoint = None if edge is None else self._bucket.checkpoint(size)
            if edge is not None and checkpoint is not None:
                for tile, hashes in edge.items():
                    if len(self._tile(tile.level, tile.number)) < len(hashes):
                        self._tiles[tile[:2]] = hashes
                return checkpoint
        return None

    def proof(self, leaf: int, checkpoint: Checkpoint) -> list[bytes]:
        """Give the audit path of a leaf, once the tiles were found to lead to the root. Raises ``ProofError``."""
        self.check(checkpoint)
        return inclusion_proof(leaf, checkpoint.size, self.node)

    def check(self, checkpoint: Checkpoint) -> None:
        """Raise ``ProofError`` unless the tiles lead to what was signed."""
        if (found := root_of(checkpoint.size, self.node)) != checkpoint.root:
            raise ProofError(
                f"{self._bucket.place}: the tiles have the root {found.hex()} over {checkpoint.size} events, and "
                f"{checkpoint.root.hex()} is signed"
            )

    def check_tile(self, number: int) -> None:
        """Raise ``ProofError`` unless a full tile of leaves is what the tile above it has."""
        held, above = self._tile(0, number), self._tile(1, number >> WIDTH_BITS)
        place = (number & (WIDTH - 1)) * HASH_BYTES
        if len(held) != WIDTH * HASH_BYTES or len(above) <= place:
            return  # the root is worked out from the leaves then
        if tile_root(held) != above[place : place + HASH_BYTES]:
            raise ProofError(f"{self._bucket.place}: tile {number} of leaves is not what the tile above it has")

    def _tile(self, level: int, number: int) -> bytes:
        if (level, number) not in self._tiles:
            self._tiles[level, number] = self._bucket.tile(Tile(level, number)) or b""
        return self._tiles[level, number]


def _joined(nodes: list[bytes]) -> bytes:
    while len(nodes) > 1:
        nodes = [inner_hash(nodes[n], nodes[n + 1]) for n in range(0, len(nodes), 2)]
    return nodes[0]
