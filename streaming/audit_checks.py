"""Whether the ledger still has what was signed: looked at before anything more is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.errors import StreamingError
from trust.errors import ProofError
from trust.merkle import HASH_BYTES, peaks, root_of
from trust.tiles import WIDTH, Tile, node_in, tile_of, tile_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.db.audit_log import AuditLog, Tree

_LAST_TILES = 16


class RefusedError(StreamingError):
    """The ledger disagrees with what was signed: nothing is signed until a person has looked."""


async def check_signed(ledger: AuditLog, tree_size: int, size: int, root: bytes, whose: str) -> None:
    """Raise ``RefusedError`` unless the first ``size`` leaves in the ledger's tiles have that root."""
    if size > tree_size:
        raise RefusedError(
            f"{whose} checkpoint is over {size} events, and the ledger has {tree_size}: rows were deleted, or it "
            "was restored from an older backup"
        )
    found = await root_at(ledger, size, tree_size)
    if found != root:
        raise RefusedError(
            f"{whose} checkpoint over {size} events has the root {root.hex()}, and the ledger's tiles have "
            f"{found.hex()}: execution-agent audit verify names the first row that differs"
        )


async def root_at(ledger: AuditLog, size: int, tree_size: int) -> bytes:
    """Give the root over the first ``size`` leaves, from the ledger's tiles."""
    wanted = {tile_of(height, index, tree_size)[:2] for height, index in peaks(size)}
    rows = await ledger.tiles(sorted(wanted))

    def node(height: int, index: int) -> bytes:
        place = tile_of(height, index, tree_size)[:2]
        if place not in rows:
            raise ProofError(f"tile {place[1]} of level {place[0]} is missing")
        return node_in(rows[place].hashes, height, index)

    try:
        return root_of(size, node)
    except ProofError as error:
        raise RefusedError(f"the ledger's tiles are not whole: {error}") from error


async def check_tiles(ledger: AuditLog, full: Sequence[Tile], size: int) -> dict[Tile, bytes]:
    """Give full tiles from the ledger. Raises ``RefusedError`` unless each is what the tile above it has.

    ``size`` is of a checkpoint that the ledger was found to agree with: the tiles above lead to it.
    """
    above = {tile: Tile(tile.level + 1, tile.number // WIDTH) for tile in full}
    rows = await ledger.tiles(sorted({tile[:2] for tile in [*full, *above.values()]}))
    found = {}
    for tile, parent in above.items():
        place = tile.number % WIDTH * HASH_BYTES
        held = rows[tile[:2]].hashes if tile[:2] in rows else b""
        root = b"" if len(held) != WIDTH * HASH_BYTES else tile_root(held)
        if parent[:2] not in rows or rows[parent[:2]].hashes[place : place + HASH_BYTES] != root:
            raise RefusedError(
                f"{tile.path} of the ledger, below the checkpoint over {size} events, is not what the tile above "
                "it has: execution-agent audit verify says which row"
            )
        found[tile] = held
    return found


async def check_last_rows(ledger: AuditLog, tree: Tree) -> None:
    """Raise ``RefusedError`` unless the rows of the last tiles are those that were appended."""
    if not tree.size:
        return
    last = (tree.size - 1) // WIDTH
    numbers = range(max(0, last - _LAST_TILES + 1), last + 1)
    rows = await ledger.tiles([(0, number) for number in numbers])
    first = rows[0, numbers[0]].first if (0, numbers[0]) in rows else None
    if first is None:
        raise RefusedError(f"tile {numbers[0]} of level 0 is missing in the ledger")
    hashes = b"".join(rows[0, number].hashes for number in numbers if (0, number) in rows)
    start = numbers[0] * WIDTH
    gone = {leaf for one, other in await ledger.dropped(start) for leaf in range(max(one, start), other + 1)}
    wanted = [leaf for leaf in range(start, tree.size) if leaf not in gone]
    leaves = await ledger.leaves((first[0], first[1] - 1), len(wanted))
    for place, leaf in enumerate(wanted):
        there = leaves.hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if there != hashes[(leaf - start) * HASH_BYTES : (leaf - start + 1) * HASH_BYTES]:
            raise RefusedError(
                f"the row of leaf {leaf} is not the one that was appended: execution-agent audit verify says which"
            )
