"""``execution.land`` (ledger/db/migrations/land.sql) over tables in memory: the same keys, in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import msgspec

if TYPE_CHECKING:
    from simulation.tables import MemoryTable, Row, Stamp, Undo

_INSERTED_FIRST = ("orders", "benchmark_snapshots", "fills", "order_reports", "order_references", "executions",
                   "slippage_metrics", "fills_pending", "dead_letters", "audit_events")  # fmt: skip
_KNOWN = frozenset(_INSERTED_FIRST) | {
    "pending_gone", "wordings_gone", "metrics_gone", "executions_changed", "chains", "withheld", "metrics_changed",
    "breaks", "breaks_ended", "break_resolutions", "order_standings", "order_totals", "pending_overdue",
    "letters_ended", "desk_outcomes", "duplicates", "positions",
}  # fmt: skip


class _WentBackError(asyncpg.RaiseError):
    sqlstate = "EA001"


def land(tables: dict[str, MemoryTable], doc: dict[str, Any], stamp: Stamp, undo: Undo) -> None:
    """Carry a document out; what fails raises as the driver would, and the caller takes it back."""
    unknown = doc.keys() - _KNOWN
    if unknown:
        raise NotImplementedError(f"the simulated execution.land does not know {sorted(unknown)}")
    _delete(tables, doc, undo)
    for name in _INSERTED_FIRST:
        for row in doc.get(name, ()):
            tables[name].insert(row, stamp, undo)
    _update_executions(tables, doc, undo)
    _update_breaks(tables, doc, stamp, undo)
    _update_others(tables, doc, stamp, undo)
    _move(tables, doc, stamp, undo)


def _delete(tables: dict[str, MemoryTable], doc: dict[str, Any], undo: Undo) -> None:
    pending, metrics = tables["fills_pending"], tables["slippage_metrics"]
    for row in pending.where("report_id", map(UUID, doc.get("pending_gone", ()))):
        pending.delete(row, undo)
    for report_id, content in doc.get("wordings_gone", ()):
        found = pending.rows.get((UUID(report_id), UUID(content)))
        if found is not None:
            pending.delete(found, undo)
    for execution_id, kind in doc.get("metrics_gone", ()):
        for row in metrics.where("execution_id", [UUID(execution_id)]):
            if row["kind"] == kind:
                metrics.delete(row, undo)


def _update_executions(tables: dict[str, MemoryTable], doc: dict[str, Any], undo: Undo) -> None:
    executions, metrics = tables["executions"], tables["slippage_metrics"]
    for given in doc.get("executions_changed", ()):
        kept = {"execution_id", "correlation_id", "trade_date", "exec_id"}
        for row in _executions(executions, given):
            executions.change(row, {k: v for k, v in given.items() if k not in kept}, undo)
    for key in ("chains", "withheld"):
        column = key.removesuffix("s") if key == "chains" else key
        for given in doc.get(key, ()):
            for row in _executions(executions, given):
                executions.change(row, {column: given[column]}, undo)
    for given in doc.get("metrics_changed", ()):
        for row in metrics.where("execution_id", [UUID(given["execution_id"])]):
            if row["kind"] == given["kind"] and row["trade_date"].isoformat() == given["trade_date"]:
                metrics.change(
                    row, {k: v for k, v in given.items() if k not in ("execution_id", "kind", "trade_date")}, undo
                )


def _update_breaks(tables: dict[str, MemoryTable], doc: dict[str, Any], stamp: Stamp, undo: Undo) -> None:
    for given in doc.get("breaks", ()):
        row = tables["breaks"].rows.get((UUID(given["break_id"]),))
        if row is None:
            tables["breaks"].insert(given, stamp, undo)
            continue
        opened = row["opened_at"] if row["ended_at"] is None else stamp.now_ns
        again = {"ended_at": None, "ended_how": None, "opened_at": opened}
        tables["breaks"].change(row, {"ours": given["ours"], "theirs": given["theirs"], **again}, undo)
    for given in doc.get("breaks_ended", ()):
        row = tables["breaks"].rows.get((UUID(given["break_id"]),))
        if row is not None:
            tables["breaks"].change(row, {"ended_at": stamp.now_ns, "ended_how": given["how"]}, undo)
    for given in doc.get("break_resolutions", ()):
        tables["break_resolutions"].insert({**given, "voids": _json(given["voids"])}, stamp, undo)


def _update_others(tables: dict[str, MemoryTable], doc: dict[str, Any], stamp: Stamp, undo: Undo) -> None:
    _upsert(tables["order_standings"], doc.get("order_standings", ()), stamp, undo)
    totals = [{**given, "matched_at": stamp.now_ns} for given in doc.get("order_totals", ())]
    _upsert(tables["order_totals"], totals, stamp, undo)
    pending = tables["fills_pending"]
    for row in pending.where("report_id", map(UUID, doc.get("pending_overdue", ()))):
        pending.change(row, {"overdue_at": stamp.now_ns}, undo)
    for given in doc.get("letters_ended", ()):
        letter = tables["dead_letters"].rows.get((UUID(given["dead_letter_id"]),))
        if letter is not None:
            changes = {"replayed_at": stamp.now_ns, "replay_outcome": given["outcome"]}
            tables["dead_letters"].change(letter, changes, undo)
    for given in doc.get("desk_outcomes", ()):
        if (UUID(given["resolution_id"]),) not in tables["desk_outcomes"].rows:
            tables["desk_outcomes"].insert(given, stamp, undo)


def _move(tables: dict[str, MemoryTable], doc: dict[str, Any], stamp: Stamp, undo: Undo) -> None:
    counts, positions = tables["feed_counts"], tables["feed_positions"]
    for feed, number in doc.get("duplicates", {}).items():
        row = counts.rows.get((feed, stamp.today))
        if row is None:
            counts.insert({"feed": feed, "duplicates": number}, stamp, undo)
        else:
            counts.change(row, {"duplicates": row["duplicates"] + number}, undo)
    for given in doc.get("positions", ()):
        row = positions.rows.get((given["feed"], given["stream"]))
        place = {"incarnation": given["incarnation"], "position": given["value"]}
        if row is None:
            row = positions.insert({"feed": given["feed"], "stream": given["stream"], **place}, stamp, undo)
        elif row["incarnation"] != given["incarnation"] or row["position"] <= given["value"]:
            positions.change(row, {**place, "updated_at": stamp.now_ns}, undo)
        else:
            raise _WentBackError(f"positions only grow: one of {doc['positions']} would go back")
        stamp.moved.append(row)


def _executions(table: MemoryTable, given: Row) -> list[Row]:
    found = table.where("execution_id", [UUID(given["execution_id"])])
    return [row for row in found if row["trade_date"].isoformat() == given["trade_date"]]


def _upsert(table: MemoryTable, rows: Any, stamp: Stamp, undo: Undo) -> None:
    for given in rows:
        known = {name: value for name, value in given.items() if name in table.shape.casts}
        probe = {name: table.shape.casts[name](known[name]) for name in table.shape.key}
        row = table.rows.get(table.key_of(probe))
        if row is None:
            table.insert(known, stamp, undo)
        else:
            table.change(row, {k: v for k, v in known.items() if k not in table.shape.key}, undo)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
