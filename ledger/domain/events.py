"""Bodies of the events: canonical JSON (fixed field order, decimals as strings), deterministic ids.

The id of a fill, bust or correct event is the report's; that of anything else is derived from its subject.
The same decision taken again, after a crash, gives the same bytes.
"""

from __future__ import annotations

import msgspec

from ledger.domain.identity import identify
from ledger.domain.numbers import text
from ledger.domain.order import OrderState  # noqa: TC001
from ledger.domain.records import (
    AuditEvent,
    Break,
    Captured,
    DeadLetter,
    Execution,
    FillReport,
    OrderIntent,
    PendingReason,
    Resolution,
    SlippageMetric,
    Verdict,
)
from ledger.domain.times import format_utc

FILL_EVENTS = frozenset({"fill", "bust", "correct"})
DEAD_LETTER = "dead_letter"
COMPLIANCE_FLAG = "compliance_flag"


class SlippageBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slippage as published."""

    kind: str
    bps: str | None
    benchmark: str | None
    benchmark_at: str | None
    snapshot_id: str | None
    quality: str
    quality_reason: str | None = None


class FillBody(msgspec.Struct, frozen=True):
    """``execution.event.fill.v1``: what the report said and what the order and its slippage are after it."""

    event: str
    event_id: str
    execution_id: str
    correlation_id: str
    msg_id: str
    venue: str
    account: str
    symbol: str
    side: str
    exec_id: str
    exec_ref_id: str | None
    last_qty: str
    last_px: str
    currency: str | None
    fee: str | None
    fee_currency: str | None
    liquidity: str | None
    transact_time: str
    trade_date: str
    order_qty: str
    cum_qty: str
    leaves_qty: str
    ord_status: str
    fee_bps: str | None
    slippage: list[SlippageBody]


class DecisionBody(msgspec.Struct, frozen=True):
    """Any other decision: its subject and the values it was taken on."""

    event: str
    event_id: str
    correlation_id: str | None
    subject: str
    detail: dict[str, str | None]


_encoder = msgspec.json.Encoder()


def fill_event(
    report: FillReport, execution: Execution, order: OrderState, metrics: tuple[SlippageMetric, ...]
) -> AuditEvent:
    """Build the event of one report of an execution's chain."""
    body = _fill_body(report.kind, report.report_id, report, execution, order, metrics)
    return AuditEvent(report.report_id, report.kind, order.correlation_id, _encoder.encode(body))


def _fill_body(
    event: str,
    event_id: str,
    report: FillReport,
    execution: Execution,
    order: OrderState,
    metrics: tuple[SlippageMetric, ...],
) -> FillBody:
    order_qty, leaves_qty, status = order.state()
    return FillBody(
        event,
        event_id,
        execution.execution_id,
        order.correlation_id,
        execution.msg_id,
        report.venue,
        report.account,
        report.symbol,
        report.side,
        report.exec_id,
        report.exec_ref_id,
        text(report.last_qty),
        text(report.last_px),
        report.currency,
        None if report.fee is None else text(report.fee),
        report.fee_currency,
        report.liquidity,
        format_utc(report.transact_ns),
        execution.trade_date.isoformat(),
        text(order_qty),
        text(order.cum_qty),
        text(leaves_qty),
        status,
        None if execution.fee_bps is None else text(execution.fee_bps),
        [_slippage(metric) for metric in metrics],
    )


def reworded_event(
    report: FillReport, execution: Execution, order: OrderState, metrics: tuple[SlippageMetric, ...]
) -> AuditEvent:
    """Correct a fill that was told, where another wording of it counts now: there is no correct of the venue."""
    money = (text(execution.last_qty), text(execution.last_px), execution.side, execution.symbol)
    event_id = identify("reworded", execution.execution_id, *money)
    body = _fill_body("correct", event_id, report, execution, order, metrics)
    body = msgspec.structs.replace(body, exec_ref_id=report.exec_id)
    return AuditEvent(event_id, "correct", order.correlation_id, _encoder.encode(body))


def retract_event(report: FillReport, execution: Execution, order: OrderState) -> AuditEvent:
    """Take back a fill that was told and does not count any more, as a bust without a report of the venue.

    Whoever adds up fills and takes off busts stays right; ``event_id`` is not a report's.
    """
    event_id = identify("retract", execution.execution_id, execution.status)
    body = _fill_body("bust", event_id, report, execution, order, ())
    return AuditEvent(event_id, "bust", order.correlation_id, _encoder.encode(body))


def _slippage(metric: SlippageMetric) -> SlippageBody:
    return SlippageBody(
        metric.kind,
        None if metric.bps is None else text(metric.bps),
        None if metric.benchmark is None else text(metric.benchmark),
        None if metric.benchmark_ns is None else format_utc(metric.benchmark_ns),
        metric.snapshot_id,
        metric.quality,
        metric.quality_reason,
    )


def pending_event(captured: Captured, reason: PendingReason, correlation_id: str | None) -> AuditEvent:
    """Say that a report waits, and for what."""
    report = captured.report
    return _decided(
        "pending",
        identify("pending", reason, report.report_id, report.content),
        correlation_id,
        report.report_id,
        {
            "reason": reason,
            "venue": report.venue,
            "exec_id": report.exec_id,
            "exec_ref_id": report.exec_ref_id,
            "cl_ord_id": report.cl_ord_id,
            "venue_order_id": report.venue_order_id,
        },
    )


def withheld_event(report: FillReport, correlation_id: str) -> AuditEvent:
    """Say that a report's event waits for its order's hold to end."""
    return _decided(
        "held",
        identify("held", report.report_id),
        correlation_id,
        report.report_id,
        {"venue": report.venue, "exec_id": report.exec_id, "kind": report.kind},
    )


def break_event(event: str, found: Break, cause: str) -> AuditEvent:
    """Say that reports and order disagree, by other values than before, or no longer (``event``).

    ``cause`` names a fact that this follows from: a break that ends and opens again with the same values is told
    again, under another id.
    """
    return _decided(
        event,
        identify(event, found.break_id, found.ours, found.theirs, cause),
        found.correlation_id,
        found.break_id,
        {"kind": found.kind, "report_id": found.report_id, "ours": found.ours, "theirs": found.theirs},
    )


def verdict_event(found: Break, resolution: Resolution) -> AuditEvent:
    """Say that two persons have released a break or rejected what it is about, and why."""
    voids = ", ".join(report_id for report_id, _ in resolution.voids)
    past = "released" if resolution.verdict is Verdict.RELEASE else "rejected"
    return _decided(
        f"break_{past}",
        resolution.resolution_id,
        found.correlation_id,
        found.break_id,
        {
            "kind": found.kind,
            "report_id": found.report_id,
            "ours": found.ours,
            "theirs": found.theirs,
            "requested_by": resolution.requested_by,
            "approved_by": resolution.approved_by,
            "reason": resolution.reason,
            "voids": voids or None,
        },
    )


def flag_event(state: str, found: Break, about: FillReport | OrderIntent | None, told_id: str) -> AuditEvent:
    """Flag a break to compliance when it opens, changes and ends (``compliance.flag.execution.v1``).

    ``about`` is the report that the break is about, else the order; ``told_id`` the audit event beside it.
    """
    return _decided(
        COMPLIANCE_FLAG,
        identify("flag", told_id),
        found.correlation_id,
        found.break_id,
        {
            "state": state,
            "kind": found.kind,
            "venue": about.venue if about is not None else None,
            "account": about.account if about is not None else None,
            "symbol": about.symbol if about is not None else None,
            "exec_id": about.exec_id if isinstance(about, FillReport) else None,
            "ours": found.ours,
            "theirs": found.theirs,
        },
    )


def enriched_event(old: Execution, new: Execution) -> AuditEvent:
    """Say that another wording of a fill filled in what the first left out, or that it counts otherwise now."""
    before, after = msgspec.structs.asdict(old), msgspec.structs.asdict(new)
    changed = {name: str(value) for name, value in after.items() if value != before[name]}
    said = identify("enriched", new.execution_id, *(f"{name}={value}" for name, value in changed.items()))
    return _decided("enriched", said, new.correlation_id, new.execution_id, dict(changed))


def letter_ended_event(
    letter_id: str, correlation_id: str | None, outcome: str, *, person: str | None = None, cause: str = ""
) -> AuditEvent:
    """Say that a dead letter was replayed, and what became of it.

    ``person`` asked for it, else it ended by itself; ``cause`` tells two replays of one letter apart.
    """
    event_id = identify("dead_letter_replayed", letter_id, outcome, *([cause] if cause else []))
    detail = {"outcome": outcome, "requested_by": person}
    return _decided("dead_letter_replayed", event_id, correlation_id, letter_id, detail)


def restated_event(metric: SlippageMetric, correlation_id: str) -> AuditEvent:
    """Say that a snapshot which came late is the better benchmark."""
    return _decided(
        "slippage_restated",
        identify("restated", metric.execution_id, metric.kind, metric.snapshot_id or ""),
        correlation_id,
        metric.execution_id,
        {
            "kind": metric.kind,
            "bps": None if metric.bps is None else text(metric.bps),
            "snapshot_id": metric.snapshot_id,
        },
    )


def dead_letter_event(letter: DeadLetter) -> AuditEvent:
    """Say why an input is not a fact, and how to hand it in again. The raw bytes travel as the message."""
    defect = letter.defect
    return _decided(
        DEAD_LETTER,
        letter.dead_letter_id,
        None,
        letter.dead_letter_id,
        {
            "source": letter.source,
            "feed": letter.feed,
            "reason": defect.reason,
            "field": defect.field,
            "value": defect.value,
            "rule": defect.rule,
            "remedy": defect.remedy,
            "replay": f"execution-agent dlq show {letter.dead_letter_id}",
        },
    )


def control_event(
    event: str, event_id: str, venue: str, subject: str, detail: dict[str, str | None]
) -> AuditEvent:
    """Say that a venue is halted, resumed, or that its clock is off. The key is the venue: they stay in order."""
    return msgspec.structs.replace(_decided(event, event_id, None, subject, detail), key=venue)


def order_event(
    event: str, event_id: str, correlation_id: str, subject: str, detail: dict[str, str | None]
) -> AuditEvent:
    """Say what is decided of an order beside its facts: that it is late, that a hedge is asked for."""
    return _decided(event, event_id, correlation_id, subject, detail)


def _decided(
    event: str, event_id: str, correlation_id: str | None, subject: str, detail: dict[str, str | None]
) -> AuditEvent:
    body = DecisionBody(event, event_id, correlation_id, subject, detail)
    return AuditEvent(event_id, event, correlation_id or subject, _encoder.encode(body))
