"""What follows from a batch of facts: the rows to write, the events to publish, the states to remember."""

from __future__ import annotations

import msgspec

from ledger.domain.book import Mark, Reference
from ledger.domain.order import OrderState
from ledger.domain.records import (
    AuditEvent,
    BenchmarkKind,
    Break,
    Captured,
    DeadLetter,
    Execution,
    OrderIntent,
    PendingReason,
    SlippageMetric,
    Snapshot,
)


class PendingFill(msgspec.Struct, frozen=True):
    """A report that waits. ``correlation_id`` is known where it waits for another report of its order."""

    captured: Captured
    reason: PendingReason
    correlation_id: str | None


class Decision(msgspec.Struct):
    """Rows by table, in the order in which they were decided; ``new`` rows are inserted, others changed."""

    intents: list[OrderIntent] = msgspec.field(default_factory=list)
    snapshots: list[Snapshot] = msgspec.field(default_factory=list)
    fills: list[Captured] = msgspec.field(default_factory=list)
    executions: list[Execution] = msgspec.field(default_factory=list)
    executions_changed: list[Execution] = msgspec.field(default_factory=list)
    chains: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    withheld: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    metrics: list[SlippageMetric] = msgspec.field(default_factory=list)
    metrics_changed: list[SlippageMetric] = msgspec.field(default_factory=list)
    metrics_gone: list[tuple[str, BenchmarkKind]] = msgspec.field(default_factory=list)
    pending: list[PendingFill] = msgspec.field(default_factory=list)
    pending_gone: list[str] = msgspec.field(default_factory=list)
    breaks: list[Break] = msgspec.field(default_factory=list)
    breaks_changed: list[Break] = msgspec.field(default_factory=list)
    breaks_ended: list[str] = msgspec.field(default_factory=list)
    dead_letters: list[DeadLetter] = msgspec.field(default_factory=list)
    events: list[AuditEvent] = msgspec.field(default_factory=list)
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    orders: dict[str, OrderState] = msgspec.field(default_factory=dict)
    pending_by_reference: dict[Reference, dict[tuple[str, str], Captured]] = msgspec.field(default_factory=dict)
    marks: list[tuple[str, Mark]] = msgspec.field(default_factory=list)
