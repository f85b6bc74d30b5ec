"""An event with its place in the log, and the log itself: for people and programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operations.audit.proving import check, prove_event
from operations.audit.reading import AuditError
from trust.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.db.audit_entries import AuditRow
    from operations.audit.reading import Log
    from trust.notes import NoteKey


def show_event(log: Log, row: AuditRow, keys: Sequence[NoteKey]) -> dict[str, Any]:
    """Give everything of a row, its leaf, and whether a checkpoint covers it."""
    leaf = log.leaf_of(row)
    try:
        proof = f"proven: {check(prove_event(log, row, None, keys), keys)}"
    except (AuditError, TrustError) as error:
        proof = f"not proven: {error}"
    return {
        "event": row.event_id.hex(),
        "type": row.event_type,
        "key": row.key,
        "position": row.position,
        "recorded_on": row.recorded_on.isoformat(),
        "recorded_by": row.recorded_by,
        "leaf": leaf,
        "proof": proof,
        "body": row.body.decode("utf-8", "backslashreplace"),
    }


def show_log(log: Log, keys: Sequence[NoteKey]) -> dict[str, Any]:
    """Give how far the log is, and what its checkpoints are checked with."""
    grown = log.grown()
    newest = log.covering(-1)
    return {
        "log": grown.origin,
        "leaves": grown.size,
        "signed": 0 if newest is None else newest["tree_size"],
        "signed_at": None if newest is None else newest["made_at"].isoformat(timespec="seconds"),
        "stored": grown.stored_size,
        "key": " ".join(map(str, keys)),
    }
