"""Facts and results as rows: one tuple a table, columns named once, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

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

ORDER_COLUMNS = list(OrderIntent.__struct_fields__)
_REPORT_FIELDS = FillReport.__struct_fields__
FILL_COLUMNS = [*_REPORT_FIELDS, "feed", "raw", "received_ns"]
_EXECUTION_FIELDS = Execution.__struct_fields__
EXECUTION_COLUMNS = [*_EXECUTION_FIELDS, "chain", "withheld"]
METRIC_COLUMNS = list(SlippageMetric.__struct_fields__)
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
EVENT_COLUMNS = list(AuditEvent.__struct_fields__)
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
_ORDER_REPORT_FIELDS = OrderReport.__struct_fields__
ORDER_REPORT_COLUMNS = [*_ORDER_REPORT_FIELDS, "feed", "raw", "received_ns"]


def captured_row(captured: Captured | CapturedOrder) -> Row:
    """Give the row of ``fills``, or of ``order_reports``."""
    return (*astuple(captured.report), captured.feed, captured.raw, captured.received_ns)


def execution_row(
    e: Execution, chain: tuple[str, ...] | None = None, withheld: tuple[str, ...] | None = None
) -> Row:
    """Give the row of ``executions``."""
    return (*astuple(e), chain, withheld or None)


def snapshot_row(s: Snapshot) -> Row:
    """Give the row of ``benchmark_snapshots``."""
    return (
        s.snapshot_id, utc_date(s.at_ns), s.symbol, s.bid, s.ask, s.bid_size, s.ask_size, s.at_ns, s.traded_qty,
        s.traded_notional,
    )  # fmt: skip


def pending_row(p: Pending) -> Row:
    """Give the row of ``fills_pending``."""
    venue, reference_kind, reference = p.reference
    return (
        p.row_id, p.content, p.trade_date, venue, p.reason, reference_kind, reference, p.correlation_id,
        p.since_ns, p.venue_order_id,
    )  # fmt: skip


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
    values = {name: row[name] for name in _EXECUTION_FIELDS}
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
