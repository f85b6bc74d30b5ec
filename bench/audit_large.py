"""A log of ten million events for proofs: its tiles are those of a real tree, few of its rows are there.

Leaves are random hashes, but for a few anywhere among them that are of real rows. All nodes above are worked out.
"""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from ledger.db.audit_entries import AuditRow
from trust.merkle import HASH_BYTES, leaf_hash
from trust.tiles import WIDTH, tile_root

if TYPE_CHECKING:
    from collections.abc import Iterator

_XID = 5
_COPY = "COPY execution.audit_tiles (level, number, hashes, first_xid, first_position) FROM STDIN"
_ROW = (
    "INSERT INTO execution.audit_events "
    "(position, recorded_on, xid, event_id, event_type, key, recorded_by, body) "
    "OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
)


def build(url: str, origin: str, leaves: int, rows: int) -> list[str]:
    """Make the log, unsigned; give the ids of its events that have rows."""
    rng = random.Random(leaves)
    real = {index: _row(index, rng) for index in rng.sample(range(leaves), rows)}
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            _ROW,
            [
                (
                    r.position,
                    r.recorded_on,
                    str(r.xid),
                    r.event_id.hex(),
                    r.event_type,
                    r.key,
                    r.recorded_by,
                    r.body,
                )
                for r in real.values()
            ],
        )
        with cursor.copy(_COPY) as copy:
            for tile in _tiles(leaves, real):
                copy.write_row(tile)
        cursor.execute(
            "INSERT INTO execution.audit_tree (log, origin, tree_size, xid, position) "
            "VALUES ('audit', %s, %s, %s, %s)",
            [origin, leaves, str(_XID), leaves],
        )
    return [row.event_id.hex() for row in real.values()]


def _row(index: int, rng: random.Random) -> AuditRow:
    body = b'{"event":"fill","detail":"' + b"0123456789" * 60 + b'"}'
    return AuditRow(
        index + 1, datetime.now(UTC).date(), _XID, rng.randbytes(16), "fill", f"C{index}", "bench", body
    )


def _tiles(leaves: int, real: dict[int, AuditRow]) -> Iterator[tuple[object, ...]]:
    """Give the tiles of all levels as rows of the table."""
    by_tile: dict[int, dict[int, bytes]] = {}
    for index, row in real.items():
        by_tile.setdefault(index // WIDTH, {})[index % WIDTH] = leaf_hash(row.entry())
    nodes = bytearray()
    for number in range(-(-leaves // WIDTH)):
        hashes = bytearray(os.urandom(min(WIDTH, leaves - number * WIDTH) * HASH_BYTES))
        for place, leaf in by_tile.get(number, {}).items():
            hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES] = leaf
        yield 0, number, bytes(hashes), str(_XID), number * WIDTH + 1
        if len(hashes) == WIDTH * HASH_BYTES:
            nodes += tile_root(bytes(hashes))
    level = 1
    while nodes:
        above = bytearray()
        for number in range(-(-len(nodes) // (WIDTH * HASH_BYTES))):
            held = bytes(nodes[number * WIDTH * HASH_BYTES : (number + 1) * WIDTH * HASH_BYTES])
            yield level, number, held, None, None
            if len(held) == WIDTH * HASH_BYTES:
                above += tile_root(held)
        nodes, level = above, level + 1
