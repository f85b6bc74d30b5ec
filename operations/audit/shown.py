"""What a verification found, as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operations.audit.verifying import Verdict

_DAYS = 3  # that are named


def as_table(verdict: Verdict) -> str:
    """Give the table."""
    rows = [
        ("log", verdict.origin),
        *([("since", f"{verdict.since:,} events, verified before")] if verdict.since else []),
        ("rows", _rows(verdict)),
        *([("dropped", _dropped(verdict))] if verdict.dropped else []),
        ("root", verdict.root),
        ("checkpoints", f"{verdict.checkpoints:,} in the ledger"),
        (
            "bucket",
            f"{verdict.bucket}; {verdict.stored:,} compared, the newest over {verdict.stored_newest:,}",
        ),
        *(("differs", problem) for problem in verdict.problems),
        *((("first row", verdict.first),) if verdict.first else ()),
        *(("meddled", fault) for fault in verdict.faults),
        ("outcome", _outcome(verdict)),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _rows(verdict: Verdict) -> str:
    leaves = f"{verdict.rows:,} of {verdict.leaves - verdict.since:,} leaves"
    return f"{leaves}; {verdict.unsigned:,} not signed yet; {verdict.waiting:,} wait for their leaf"


def _dropped(verdict: Verdict) -> str:
    days, count = sorted(verdict.dropped), sum(verdict.dropped.values())
    named = ", ".join(days[:_DAYS]) + (f" and {len(days) - _DAYS} days more" if len(days) > _DAYS else "")
    tiles = count - verdict.archived
    parts = [f"{verdict.archived:,} from their archives"] if verdict.archived else []
    parts += [f"{tiles:,} from the tiles"] if tiles else []
    return f"{count:,} leaves without rows, {' and '.join(parts)}: partitions of {named}"


def _outcome(verdict: Verdict) -> str:
    if not verdict.good:
        return "NOT what was logged"
    return "all agree; somebody MEDDLES with the bucket" if verdict.faults else "all agree"
