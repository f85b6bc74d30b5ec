"""Facts and results as rows: one tuple a table, columns named once, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger.domain.controls import StandingHalt
from ledger.domain.decision import Learned
from ledger.domain.failover import Cause
from ledger.domain.halts import HaltCause
from ledger.domain.records import (
    Action,
    AuditEvent,
    BenchmarkKind,
    Captured,
    CapturedOrder,
    DeadLetter,
    ExecType,
    Execution,
    ExecutionStatus,
    FillReport,
    Liquidity,
    OrderIntent,
    OrderReport,
    OrdStatus,
    Quality,
    ReportKind,
    Resolution,
    Side,
    SlippageMetric,
    Snapshot,
    Verdict,
)
from ledger.domain.times import utc_date
from ledger.domain.venue_health import StandingOutage, StandingSwitch
from ledger.domain.verdicts import Vote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.domain.decision import Pending

Row = tuple[Any, ...]

ORDER_COLUMNS = [
    "correlation_id",
    "msg_id",
    "action",
    "orig_msg_id",
    "venue",
    "account",
    "symbol",
    "side",
    "order_qty",
    "limit_price",
    "decision_price",
    "currency",
    "routed_ns",
    "venue_order_id",
]
FILL_COLUMNS = [
    "report_id",
    "content",
    "venue",
    "account",
    "symbol",
    "trade_date",
    "exec_id",
    "kind",
    "exec_ref_id",
    "cl_ord_id",
    "venue_order_id",
    "correlation_id",
    "side",
    "last_qty",
    "last_px",
    "cum_qty",
    "leaves_qty",
    "avg_px",
    "currency",
    "fee",
    "fee_currency",
    "liquidity",
    "transact_ns",
    "part_of",
    "trade_report_id",
    "feed",
    "raw",
    "received_ns",
]
EXECUTION_COLUMNS = [
    "execution_id",
    "correlation_id",
    "msg_id",
    "venue",
    "account",
    "symbol",
    "side",
    "trade_date",
    "exec_id",
    "last_exec_id",
    "status",
    "last_qty",
    "last_px",
    "currency",
    "fee",
    "fee_currency",
    "liquidity",
    "transact_ns",
    "match_rule",
    "fee_bps",
    "chain",
    "withheld",
]
METRIC_COLUMNS = [
    "execution_id",
    "trade_date",
    "kind",
    "bps",
    "benchmark",
    "benchmark_ns",
    "snapshot_id",
    "quality",
    "quality_reason",
]
SNAPSHOT_COLUMNS = [
    "snapshot_id",
    "taken_on",
    "symbol",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "at_ns",
    "traded_qty",
    "traded_notional",
]
PENDING_COLUMNS = [
    "report_id",
    "content",
    "trade_date",
    "venue",
    "reason",
    "reference_kind",
    "reference",
    "correlation_id",
    "since_ns",
    "venue_order_id",
]
LEARNED_COLUMNS = list(Learned.__struct_fields__)
EVENT_COLUMNS = ["event_id", "event_type", "key", "body"]
DEAD_LETTER_COLUMNS = [
    "dead_letter_id",
    "source",
    "feed",
    "reason",
    "field",
    "value",
    "rule",
    "remedy",
    "raw",
    "received_ns",
]
_REPORT_FIELDS = FILL_COLUMNS[:-3]
_ORDER_REPORT_FIELDS = OrderReport.__struct_fields__
ORDER_REPORT_COLUMNS = [*_ORDER_REPORT_FIELDS, "feed", "raw", "received_ns"]


def order_row(i: OrderIntent) -> Row:
    """Give the row of ``orders``."""
    return (
        i.correlation_id, i.msg_id, i.action, i.orig_msg_id, i.venue, i.account, i.symbol, i.side, i.order_qty,
        i.limit_price, i.decision_price, i.currency, i.routed_ns, i.venue_order_id,
    )  # fmt: skip


def fill_row(captured: Captured) -> Row:
    """Give the row of ``fills``."""
    r = captured.report
    return (
        r.report_id, r.content, r.venue, r.account, r.symbol, r.trade_date, r.exec_id, r.kind, r.exec_ref_id,
        r.cl_ord_id, r.venue_order_id, r.correlation_id, r.side, r.last_qty, r.last_px, r.cum_qty,
        r.leaves_qty, r.avg_px, r.currency, r.fee, r.fee_currency, r.liquidity, r.transact_ns,
        r.part_of, r.trade_report_id, captured.feed, captured.raw, captured.received_ns,
    )  # fmt: skip


def execution_row(
    e: Execution, chain: tuple[str, ...] | None = None, withheld: tuple[str, ...] | None = None
) -> Row:
    """Give the row of ``executions``."""
    return (
        e.execution_id, e.correlation_id, e.msg_id, e.venue, e.account, e.symbol, e.side, e.trade_date,
        e.exec_id, e.last_exec_id, e.status, e.last_qty, e.last_px, e.currency, e.fee, e.fee_currency,
        e.liquidity, e.transact_ns, e.match_rule, e.fee_bps, chain, withheld or None,
    )  # fmt: skip


def metric_row(m: SlippageMetric) -> Row:
    """Give the row of ``slippage_metrics``."""
    return (
        m.execution_id, m.trade_date, m.kind, m.bps, m.benchmark, m.benchmark_ns, m.snapshot_id, m.quality,
        m.quality_reason,
    )  # fmt: skip


def snapshot_row(s: Snapshot) -> Row:
    """Give the row of ``benchmark_snapshots``."""
    return (
        s.snapshot_id, utc_date(s.at_ns), s.symbol, s.bid, s.ask, s.bid_size, s.ask_size, s.at_ns, s.traded_qty,
        s.traded_notional,
    )  # fmt: skip


def order_report_row(captured: CapturedOrder) -> Row:
    """Give the row of ``order_reports``."""
    return (*msgspec.structs.astuple(captured.report), captured.feed, captured.raw, captured.received_ns)


def pending_row(p: Pending) -> Row:
    """Give the row of ``fills_pending``."""
    venue, reference_kind, reference = p.reference
    return (
        p.row_id, p.content, p.trade_date, venue, p.reason, reference_kind, reference, p.correlation_id,
        p.since_ns, p.venue_order_id,
    )  # fmt: skip


def event_row(event: AuditEvent) -> Row:
    """Give the row of ``audit_events``."""
    return (event.event_id, event.event_type, event.key, event.body)


def dead_letter_row(letter: DeadLetter) -> Row:
    """Give the row of ``dead_letters``."""
    d = letter.defect
    return (
        letter.dead_letter_id, letter.source, letter.feed, d.reason, d.field, d.value, d.rule, d.remedy,
        letter.raw, letter.received_ns,
    )  # fmt: skip


def as_objects(columns: Sequence[str], records: Sequence[Row]) -> list[dict[str, Any]]:
    """Give rows as JSON objects: bytes as Postgres's hex notation, nulls left out."""
    return [
        {
            name: "\\x" + value.hex() if isinstance(value, bytes) else value
            for name, value in zip(columns, record, strict=True)
            if value is not None
        }
        for record in records
    ]


def read_intent(row: Mapping[str, Any]) -> OrderIntent:
    """Read a row of ``orders``."""
    values = {name: row[name] for name in ORDER_COLUMNS}
    return OrderIntent(**{**values, "action": Action(values["action"]), "side": Side(values["side"])})


def read_report(row: Mapping[str, Any]) -> FillReport:
    """Read the report of a row of ``fills``."""
    values = {name: row[name] for name in _REPORT_FIELDS}
    values["report_id"] = values["report_id"].hex
    values["content"] = values["content"].hex
    values["kind"] = ReportKind(values["kind"])
    values["side"] = Side(values["side"])
    if values["liquidity"] is not None:
        values["liquidity"] = Liquidity(values["liquidity"])
    return FillReport(**values)


def read_captured(row: Mapping[str, Any]) -> Captured:
    """Read a row of ``fills``."""
    return Captured(read_report(row), row["feed"], row["raw"], row["received_ns"])


def read_execution(row: Mapping[str, Any]) -> Execution:
    """Read a row of ``executions``."""
    values = {name: row[name] for name in EXECUTION_COLUMNS[:-2]}
    values["execution_id"] = values["execution_id"].hex
    values["side"] = Side(values["side"])
    values["status"] = ExecutionStatus(values["status"])
    if values["liquidity"] is not None:
        values["liquidity"] = Liquidity(values["liquidity"])
    return Execution(**values)


def read_metric(row: Mapping[str, Any]) -> SlippageMetric:
    """Read a row of ``slippage_metrics``."""
    values = {name: row[name] for name in METRIC_COLUMNS}
    values["execution_id"] = values["execution_id"].hex
    values["kind"] = BenchmarkKind(values["kind"])
    values["quality"] = Quality(values["quality"])
    return SlippageMetric(**values)


def read_snapshot(row: Mapping[str, Any]) -> Snapshot:
    """Read a row of ``benchmark_snapshots`` as a benchmark: what the market traded stays in the table."""
    return Snapshot(
        row["snapshot_id"],
        row["symbol"],
        row["bid"],
        row["ask"],
        row["bid_size"],
        row["ask_size"],
        row["at_ns"],
    )


def read_order_report(row: Mapping[str, Any]) -> OrderReport:
    """Read the report of a row of ``order_reports``."""
    values = {name: row[name] for name in _ORDER_REPORT_FIELDS}
    values["report_id"] = values["report_id"].hex
    values["exec_type"] = ExecType(values["exec_type"])
    values["ord_status"] = None if values["ord_status"] is None else OrdStatus(values["ord_status"])
    values["side"] = None if values["side"] is None else Side(values["side"])
    return OrderReport(**values)


def read_captured_order(row: Mapping[str, Any]) -> CapturedOrder:
    """Read a row of ``order_reports`` with how it came."""
    return CapturedOrder(read_order_report(row), row["feed"], row["raw"], row["received_ns"])


def read_standing_halt(row: Mapping[str, Any]) -> StandingHalt:
    """Read an open row of ``halts``."""
    cause = HaltCause(row["cause"])
    return StandingHalt(row["halt_id"].hex, row["venue"], cause, row["halted_ns"], row["halted_by"], row["reason"])


def read_standing_outage(row: Mapping[str, Any]) -> StandingOutage:
    """Read an open row of ``feed_outages``."""
    return StandingOutage(row["outage_id"].hex, row["venue"], row["feed"], Cause(row["cause"]), row["began_ns"])


def read_standing_switch(row: Mapping[str, Any]) -> StandingSwitch:
    """Read an open row of ``feed_switches``."""
    feeds = row["from_feed"], row["to_feed"]
    return StandingSwitch(row["switch_id"].hex, row["venue"], *feeds, row["switched_ns"], row["reason"])


def read_resolution(row: Mapping[str, Any]) -> Resolution:
    """Read a row of ``break_resolutions``."""
    voids = row["voids"]
    found = msgspec.json.decode(voids) if isinstance(voids, (str, bytes)) else voids
    return Resolution(
        row["resolution_id"].hex,
        row["break_id"].hex,
        row["correlation_id"],
        Verdict(row["verdict"]),
        row["ours"],
        row["theirs"],
        row["requested_by"],
        row["approved_by"],
        row["reason"],
        row["at_ns"],
        tuple((report_id, content) for report_id, content in found),
    )


def read_vote(row: Mapping[str, Any]) -> Vote:
    """Read a row of ``break_votes``."""
    return Vote(
        row["vote_id"],
        row["break_id"].hex,
        row["correlation_id"],
        Verdict(row["verdict"]),
        row["person"],
        row["reason"],
        row["ours"],
        row["theirs"],
        row["at_ns"],
    )
