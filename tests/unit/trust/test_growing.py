"""Trees that grow in tiles: the same roots and nodes as over all leaves at once."""

from __future__ import annotations

import random

import pytest

from trust.errors import ProofError
from trust.growing import Growing, edge_of
from trust.merkle import HASH_BYTES, Range, leaf_hash, root_of
from trust.tiles import WIDTH, Tile, node_in, tile_of, tiles_between

LEAVES = [leaf_hash(str(number).encode()) for number in range(70_000)]


def root(size: int) -> bytes:
    whole = Range()
    whole.extend(LEAVES[:size])
    return whole.root()


def test_in_any_steps_and_after_any_restart_it_is_the_same_tree() -> None:
    rng = random.Random(7)
    tiles: dict[tuple[int, int], bytes] = {}
    growing = Growing(0, {})
    while growing.size < len(LEAVES):
        old = growing.size
        step = rng.choice([1, 2, 255, 256, 257, rng.randrange(1, 5000)])
        grown = growing.append(b"".join(LEAVES[old : old + step]))
        assert set(grown) == set(tiles_between(old, growing.size))
        tiles.update({(tile.level, tile.number): hashes for tile, hashes in grown.items()})
        edge = {tile: tiles[tile.level, tile.number] for tile in edge_of(growing.size)}
        growing = Growing(growing.size, edge)  # as a new process finds it
    assert growing.root() == root(len(LEAVES))
    size = growing.size

    def node(height: int, index: int) -> bytes:
        tile = tile_of(height, index, size)
        return node_in(tiles[tile.level, tile.number], height, index)

    for earlier in (1, 2, 255, 256, 257, 65_535, 65_536, 65_537, 69_999):
        assert root_of(earlier, node) == root(earlier)


def test_the_edge_is_the_partial_tiles() -> None:
    assert edge_of(0) == []
    assert edge_of(1) == [Tile(0, 0, 1)]
    assert edge_of(WIDTH) == [Tile(1, 0, 1)]
    assert edge_of(WIDTH * WIDTH + 5) == [Tile(0, 256, 5), Tile(2, 0, 1)]


def test_an_edge_that_is_cut_off_is_refused() -> None:
    growing = Growing(0, {})
    grown = growing.append(b"".join(LEAVES[:300]))
    edge = {tile: grown[tile] for tile in edge_of(300)}
    assert Growing(300, edge).root() == root(300)
    cut = {**edge, Tile(0, 1, 44): edge[Tile(0, 1, 44)][:-HASH_BYTES]}
    with pytest.raises(ProofError, match=r"tile/0/001.p/44: 1408 bytes are required, was 1376"):
        Growing(300, cut)
