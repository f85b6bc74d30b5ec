"""Facts as JSON for programs: the domain's names, decimals as strings in plain notation, times RFC 3339."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ledger.domain.numbers import canonical, text
from ledger.domain.records import FillReport, ReportKind
from ledger.domain.times import NANOS, format_utc
from operations.dead_letters import readable

if TYPE_CHECKING:
    import msgspec

    from ledger.domain.errors import Defect
    from ledger.domain.order import OrderState
    from ledger.domain.records import Break, Execution, OrderIntent, PendingReason, Report, SlippageMetric

Shown = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXEC_TYPES = {ReportKind.FILL: "Trade", ReportKind.BUST: "TradeCancel", ReportKind.CORRECT: "TradeCorrect"}


def number(value: Decimal | None) -> str | None:
    """``100``: no exponent, no trailing zeros."""
    return None if value is None else text(canonical(value))


def instant(value: datetime | None) -> str | None:
    """A stored time, which has microseconds, in the notation of all times."""
    if value is None:
        return None
    since = value - _EPOCH
    return format_utc((since.days * 86_400 + since.seconds) * NANOS + since.microseconds * 1_000)


def plain_fields(record: msgspec.Struct) -> Shown:
    """A record's fields; ``transact_ns`` is ``transact_time``, ``at_ns`` is ``at``."""
    return {_name(name): _value(name, getattr(record, name)) for name in record.__struct_fields__}


def _name(name: str) -> str:
    return {"transact_ns": "transact_time", "at_ns": "at", "routed_ns": "routed_at"}.get(
        name, name.removesuffix("_ns") + "_at" if name.endswith("_ns") else name
    )


def _value(name: str, value: object) -> object:
    if isinstance(value, Decimal):
        return number(value)
    if name.endswith("_ns") and isinstance(value, int):
        return format_utc(value)
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def report_shown(report: Report) -> Shown:
    """A report; ``kind`` is fill, bust, correct, or order (its state), ``exec_type`` ExecType(150) by its name."""
    if isinstance(report, FillReport):
        return {"kind": report.kind.value, "exec_type": exec_type(report), **plain_fields(report)}
    return {"kind": "order", **plain_fields(report)}


def exec_type(report: Report) -> str:
    """ExecType(150) by its FIX name without blanks."""
    return _EXEC_TYPES[report.kind] if isinstance(report, FillReport) else report.exec_type.value


def defect_shown(defect: Defect) -> Shown:
    """Why an input is not a fact."""
    return {name: getattr(defect, name) for name in defect.__struct_fields__}


def raw_shown(raw: bytes) -> Shown:
    """Bytes to read, and exactly."""
    return {"raw": raw_text(raw), "raw_base64": base64.b64encode(raw).decode()}


def raw_text(raw: bytes) -> str:
    """Bytes as text: FIX with ``|``, and what does not print with escapes."""
    return readable(raw.replace(b"\x01", b"|") if raw[:2] == b"8=" else raw)


def state_shown(order: OrderState) -> Shown:
    """Where an order stands: OrdStatus(39), CumQty(14), LeavesQty(151), AvgPx(6), and OrderQty(38)."""
    return {
        "ord_status": order.ord_status.value,
        "cum_qty": number(order.cum_qty),
        "leaves_qty": number(order.leaves_qty),
        "avg_px": number(order.avg_px),
        "order_qty": number(order.order_qty),
    }


def executions_shown(order: OrderState, *, measured: bool) -> list[Shown]:
    """The executions as they stand, by time; ``measured``: with the slippage that has no benchmark, too."""
    found = sorted(order.executions.values(), key=lambda e: (e.transact_ns, e.exec_id, e.execution_id))
    return [execution_shown(each, order.metrics.get(each.execution_id, ()), measured=measured) for each in found]


def execution_shown(execution: Execution, metrics: tuple[SlippageMetric, ...], *, measured: bool) -> Shown:
    """One execution with its slippage."""
    return {
        **plain_fields(execution),
        "slippage": [metric_shown(metric) for metric in metrics if measured or metric.bps is not None],
    }


def metric_shown(metric: SlippageMetric) -> Shown:
    """One slippage with its benchmark."""
    shown = plain_fields(metric)
    del shown["execution_id"], shown["trade_date"]
    return shown


def breaks_shown(order: OrderState) -> list[Shown]:
    """The open breaks, by kind."""
    return [break_shown(found) for found in sorted(order.breaks.values(), key=lambda b: (b.kind, b.break_id))]


def break_shown(found: Break) -> Shown:
    """One break with both sides' values."""
    return plain_fields(found)


def pending_shown(report: Report, reason: PendingReason) -> Shown:
    """A report that waits, with what it waits for."""
    return {
        "reason": reason.value,
        "kind": report.kind.value if isinstance(report, FillReport) else "order",
        "exec_type": exec_type(report),
        "exec_id": report.exec_id,
        "exec_ref_id": report.exec_ref_id if isinstance(report, FillReport) else None,
        "cl_ord_id": report.cl_ord_id,
        "venue_order_id": report.venue_order_id,
        "report_id": report.report_id,
    }


def intent_shown(intent: OrderIntent) -> Shown:
    """A routed message."""
    return plain_fields(intent)
