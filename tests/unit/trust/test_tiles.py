"""Tiles, against nodes worked out leaf by leaf."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.errors import ProofError
from trust.merkle import Range, inclusion_proof, leaf_hash, root_of, verify_inclusion
from trust.tiles import WIDTH, Tile, node_in, tile_of, tiles_between

MOST = WIDTH * WIDTH + 3 * WIDTH + 5


@cache
def nodes() -> dict[tuple[int, int], bytes]:
    grown, found = Range(), {}
    for number in range(MOST):
        for height, index, node in grown.append(leaf_hash(b"%d" % number)):
            found[height, index] = node
    return found


def content(tile: Tile) -> bytes:
    return b"".join(nodes()[8 * tile.level, tile.number * WIDTH + n] for n in range(tile.width))


@pytest.mark.parametrize(
    ("tile", "path"),
    [  # the first two: c2sp.org/tlog-tiles
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(1, 0, 8), "tile/1/000.p/8"),
        (Tile(3, 999), "tile/3/999"),
        (Tile(0, 1000, 255), "tile/0/x001/000.p/255"),
    ],
)
def test_a_tile_lies_where_the_specification_says(tile: Tile, path: str) -> None:
    assert tile.path == path


@given(st.integers(1, MOST), st.data())
def test_proofs_come_from_tiles_alone(size: int, data: st.DataObject) -> None:
    read: set[Tile] = set()

    def node(height: int, index: int) -> bytes:
        tile = tile_of(height, index, size)
        read.add(tile)
        return node_in(content(tile), height, index)

    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, node)
    assert len(read) <= 2 * 3  # three levels, each with the tile of the leaf and that of the edge
    root = root_of(size, node)
    verify_inclusion(leaf_hash(b"%d" % index), index, size, path, root)
    grown = Range()
    if size < 2 * WIDTH:
        grown.extend(leaf_hash(b"%d" % number) for number in range(size))
        assert grown.root() == root


@given(st.integers(0, MOST), st.integers(0, 2 * WIDTH))
def test_what_a_growing_tree_adds_is_named(old: int, more: int) -> None:
    new = min(MOST, old + more)
    held = {tile.path.partition(".p")[0]: tile for tile in tiles_between(0, old)}
    held |= {tile.path.partition(".p")[0]: tile for tile in tiles_between(old, new)}
    assert set(held.values()) == set(tiles_between(0, new))


def test_a_node_that_is_not_complete_has_no_tile() -> None:
    with pytest.raises(ProofError, match="no complete subtree"):
        tile_of(0, 5, 5)
    with pytest.raises(ProofError, match="no complete subtree"):
        tile_of(9, 0, 511)
    with pytest.raises(ProofError, match="too few"):
        node_in(bytes(32 * 3), 2, 0)
