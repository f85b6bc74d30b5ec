"""What follows from a batch of facts: the rows to write, the events to publish, the states to remember."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec

from ledger.domain.book import Held, Mark, Reference
from ledger.domain.completeness import CompletenessRows
from ledger.domain.controls import ControlRows
from ledger.domain.delay_rows import DelayRows
from ledger.domain.order import OrderState
from ledger.domain.records import (
    AuditEvent,
    BenchmarkKind,
    Break,
    Captured,
    CapturedOrder,
    DeadLetter,
    Execution,
    OrderIntent,
    OrdStatus,
    PendingReason,
    Resolution,
    SlippageMetric,
    Snapshot,
)
from ledger.domain.venue_health import HealthRows


class Pending(msgspec.Struct, frozen=True):
    """What waits: a report for its intent or for what it refers to, or an order for the fill that closes a gap.

    ``row_id`` and ``content`` are the report's; of a gap, the order's own. ``correlation_id`` is known unless the
    intent is what is missing; ``venue_order_id`` is a second name that ties it, beside ``reference``.
    """

    row_id: str
    content: str
    trade_date: date
    reference: Reference
    reason: PendingReason
    correlation_id: str | None
    since_ns: int
    venue_order_id: str | None = None


class Learned(msgspec.Struct, frozen=True):
    """A reference that is an order's: claimed by the message ``msg_id``, routed at ``routed_ns``."""

    venue: str
    kind: str
    reference: str
    correlation_id: str
    msg_id: str
    routed_ns: int


class Stood(msgspec.Struct, frozen=True):
    """Where an order stands at its venue, when that has changed."""

    correlation_id: str
    order_qty: Decimal | None
    closed: OrdStatus | None
    closed_ns: int
    leaves: bool
    pending: OrdStatus | None
    held: OrdStatus | None
    base: OrdStatus


class TotalMatch(msgspec.Struct, frozen=True):
    """The venue's total of an order agrees with the executions; ``rule``: one_to_one or many_to_one."""

    report_id: str
    correlation_id: str
    rule: str
    cum_qty: Decimal
    avg_px: Decimal
    execution_ids: tuple[str, ...]


class Ended(msgspec.Struct, frozen=True):
    """A break that is over; ``how``: ``facts``, ``release`` or ``reject``."""

    break_id: str
    how: str


class Decision(msgspec.Struct):
    """Rows by table, in the order in which they were decided; ``new`` rows are inserted, others changed.

    ``pending_gone`` are rows by id, ``wordings_gone`` reports whose intent has come, by id and content: another
    wording of one may wait under another reference still. ``refused`` are the resolutions that do not apply any
    more, with why; ``letters_ended`` the dead letters whose missing report has come, with what became of them;
    ``unknown`` the breaks of references without an order. A ``silent`` one has no events of fills: who derives a
    day again tells nobody, and half of the time goes into events.
    """

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
    order_reports: list[CapturedOrder] = msgspec.field(default_factory=list)
    learned: list[Learned] = msgspec.field(default_factory=list)
    standings: list[Stood] = msgspec.field(default_factory=list)
    totals: list[TotalMatch] = msgspec.field(default_factory=list)
    pending: list[Pending] = msgspec.field(default_factory=list)
    pending_gone: list[str] = msgspec.field(default_factory=list)
    wordings_gone: list[tuple[str, str]] = msgspec.field(default_factory=list)
    pending_overdue: list[str] = msgspec.field(default_factory=list)
    resolutions: list[Resolution] = msgspec.field(default_factory=list)
    refused: list[tuple[Resolution, str]] = msgspec.field(default_factory=list)
    breaks: list[Break] = msgspec.field(default_factory=list)
    breaks_changed: list[Break] = msgspec.field(default_factory=list)
    breaks_ended: list[Ended] = msgspec.field(default_factory=list)
    dead_letters: list[DeadLetter] = msgspec.field(default_factory=list)
    letters_ended: list[tuple[str, str]] = msgspec.field(default_factory=list)
    events: list[AuditEvent] = msgspec.field(default_factory=list)
    duplicates: dict[str, int] = msgspec.field(default_factory=dict)
    orders: dict[str, OrderState] = msgspec.field(default_factory=dict)
    pending_by_reference: dict[Reference, Held] = msgspec.field(default_factory=dict)
    unknown: dict[Reference, Break | None] = msgspec.field(default_factory=dict)
    marks: list[tuple[str, Mark]] = msgspec.field(default_factory=list)
    controls: ControlRows | None = None
    completeness: CompletenessRows | None = None
    delays: DelayRows | None = None
    health: HealthRows | None = None
    silent: bool = False
