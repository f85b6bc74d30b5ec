"""Proves an archived event by its archive, and the tiles and checkpoints in the bucket: Postgres may be gone."""

from __future__ import annotations

import base64
from datetime import date
from typing import TYPE_CHECKING

from execution_assets.archives.access import PULLED, record_access
from execution_assets.archives.leaves import archived_events, rows_of
from execution_assets.archives.library import newest
from execution_assets.archives.records import AUDIT
from operations.audit.proving import Proof, check
from operations.audit.reading import AuditError
from trust.bucket_tree import BucketTree
from trust.merkle import leaf_hash
from trust.tiles import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from execution_assets.archives.library import Library
    from ledger.db.audit_entries import AuditRow
    from trust.bucket_log import BucketLog
    from trust.notes import NoteKey

_EVER = date(1970, 1, 1)


def prove_archived(
    library: Library,
    bucket: BucketLog,
    day: date,
    event_id: str,
    keys: Sequence[NoteKey],
    reason: str,
    *,
    url: str | None,
    claimed: str | None,
) -> Proof:
    """Prove that an archived event is in the log; the access is recorded before the archive is opened.

    Raises ``AuditError``, ``ArchiveError``, ``TrustError``: nothing unproven is given away.
    """
    _, held = archived_events(library, day)
    asked = {"record_class": AUDIT, "from": str(day), "to": str(day), "event": event_id}
    record_access(library, url, PULLED, reason, asked, [held], claimed)
    place, row = _row(library, day, event_id)
    tree = BucketTree(bucket)
    leaf = leaf_hash(row.entry())
    earlier = newest(library.listed(AUDIT, _EVER, day))
    guess = place + sum(o.manifest.rows for o in earlier if o.manifest.trade_date < day)
    index = _search(tree, leaf, guess)
    if index is None:
        raise AuditError(f"event {event_id} is in no tile of {bucket.place}: it is not what was logged")
    checkpoint = tree.covering(index)
    proof = Proof(
        "inclusion",
        bucket.note(checkpoint.size) or "",
        [node.hex() for node in tree.proof(index, checkpoint)],
        str(keys[0]),
        base64.b64encode(row.entry()).decode(),
        index,
    )
    check(proof, keys)
    return proof


def _row(library: Library, day: date, event_id: str) -> tuple[int, AuditRow]:
    """Give a row, and which of its day it is."""
    for place, row in enumerate(rows_of(library, archived_events(library, day)[1])):
        if row.event_id.hex() == event_id.replace("-", "").lower():
            return place, row
    raise AuditError(f"there is no event {event_id} in the archive of {day}")


def _search(tree: BucketTree, leaf: bytes, guess: int) -> int | None:
    """Look for a leaf around where it should be: days before it may be in no archive, or be archived twice."""
    for number in _around(tree, guess // WIDTH):
        for index in range(number * WIDTH, (number + 1) * WIDTH):
            held = tree.leaf(index)
            if held is None:
                break
            if held == leaf:
                return index
    return None


def _around(tree: BucketTree, start: int) -> Iterator[int]:
    """Give the tiles that there are, from one on in both directions."""
    tree.reaches(start * WIDTH)
    up = down = start
    up_ends = False
    while not up_ends or down > 0:
        if not up_ends:
            up_ends = tree.leaf(up * WIDTH) is None and not (tree.reaches(up * WIDTH) and tree.leaf(up * WIDTH))
            if not up_ends:
                yield up
            up += 1
        if down > 0:
            down -= 1
            yield down
