"""Archived audit events and the audit log: what the archive gives back is what the log's tiles have.

A partition of audit events goes only once every leaf worked out from the archived bytes was found in the locked
bucket, below a signed checkpoint: then its events are proven from the archive and the bucket alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.library import newest
from execution_assets.archives.records import AUDIT
from ledger.db.audit_entries import AuditRow
from ledger.db.sql import load_queries
from trust.bucket_tree import BucketTree
from trust.merkle import leaf_hash
from trust.tiles import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    import psycopg

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject, Manifest
    from trust.bucket_log import BucketLog

_SQL = load_queries("audit_reading")
_ROWS = 10_000  # turned into Python's own at once

Piece = tuple[int, int]
"""Leaves from first to last."""


def archived_events(library: Library, day: date) -> tuple[Manifest, ArchivedObject]:
    """Give the newest archive of a day's audit events. Raises ``ArchiveError`` where there is none."""
    found = newest(library.listed(AUDIT, day, day))
    if not found:
        raise ArchiveError(f"audit events of {day}: there is no archive of them")
    return found[0].manifest, found[0].manifest.objects[0]


def rows_of(library: Library, held: ArchivedObject) -> Iterator[AuditRow]:
    """Give the archived rows, in the order of the log's leaves."""
    names = ("position", "recorded_on", "xid", "event_id", "event_type", "key", "recorded_by", "body")
    for table in library.tables(held):
        for start in range(0, table.num_rows, _ROWS):
            columns = [table.column(name).slice(start, _ROWS).to_pylist() for name in names]
            for position, on, xid, event_id, kind, key, by, body in zip(*columns, strict=True):
                yield AuditRow(position, on, xid, UUID(event_id).bytes, kind, key, by, body)


def events_of(library: Library, day: date) -> Iterator[AuditRow]:
    """Give a day's archived audit events in the order of their leaves. Raises ``ArchiveError``, ``TrustError``."""
    return rows_of(library, archived_events(library, day)[1])


def proven_pieces(
    connection: psycopg.Connection[Any], library: Library, bucket: BucketLog | None, day: date
) -> list[Piece]:
    """Find every archived event of a day in the bucket, below a signed checkpoint; give which leaves they are.

    What proves them is locked for as long as the archive then. None where the ledger keeps no audit log: ``[]``.
    Raises ``ArchiveError`` and ``TrustError``: the partition must stay.
    """
    tree_there = connection.execute(_SQL["tree"].encode()).fetchone()
    if tree_there is None:
        return []
    if bucket is None:
        raise ArchiveError(
            f"audit events of {day}: they are in the audit log, and its bucket is not known: name the settings in "
            "EXECUTION_AGENT_CONFIG ([audit])"
        )
    manifest, held = archived_events(library, day)
    tree = BucketTree(bucket)
    pieces = _located(connection, tree, bucket, rows_of(library, held))
    checkpoint = tree.covering(pieces[-1][1])
    tree.check(checkpoint)
    tiles = {number for first, last in pieces for number in range(first // WIDTH, last // WIDTH + 1)}
    for number in sorted(tiles):
        tree.check_tile(number)
    for first, last in pieces:
        bucket.extend(first, last, checkpoint.size, manifest.retain_until)
    return pieces


def note_dropped(connection: psycopg.Connection[Any], pieces: Iterable[Piece], day: date) -> None:
    """Remember which leaves have no row from now on."""
    for first, last in pieces:
        connection.execute(_SQL["drop_leaves"].encode(), {"first": first, "last": last, "day": day})


def _located(
    connection: psycopg.Connection[Any], tree: BucketTree, bucket: BucketLog, rows: Iterable[AuditRow]
) -> list[Piece]:
    """Find where rows are in the log: in one piece mostly; around midnight two days lie between each other."""
    pieces: list[Piece] = []
    following = -1
    for row in rows:
        leaf = leaf_hash(row.entry())
        index = following
        if following < 0 or _leaf(tree, following) != leaf:
            index = _found(connection, tree, row, leaf)
        if index < following:
            raise ArchiveError(f"{bucket.place}: the archive's events are in another order than the log's")
        if pieces and index == pieces[-1][1] + 1:
            pieces[-1] = (pieces[-1][0], index)
        else:
            pieces.append((index, index))
        following = index + 1
    return pieces


def _found(connection: psycopg.Connection[Any], tree: BucketTree, row: AuditRow, leaf: bytes) -> int:
    found = connection.execute(
        _SQL["tile_of"].encode(), {"xid": str(row.xid), "position": row.position}
    ).fetchone()
    start = -1 if found is None else found[0] * WIDTH
    index = next((n for n in range(start, start + WIDTH) if start >= 0 and _leaf(tree, n) == leaf), None)
    if index is None:
        raise ArchiveError(
            f"event {row.event_id.hex()} of the archive is not in tile {start // WIDTH} of the audit log: it is "
            "not what was logged, or its tile is not stored yet (audit.edge_seconds)"
        )
    return index


def _leaf(tree: BucketTree, index: int) -> bytes | None:
    """Give a leaf; one in the tile that is not full is looked for in the unfinished tiles that are stored."""
    held = tree.leaf(index)
    return held if held is not None or not tree.reaches(index) else tree.leaf(index)
