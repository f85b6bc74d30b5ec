"""An order's story as data: intents, reports with the state after each, executions, breaks, events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger.domain.times import format_utc
from operations.desk.engine import Engine
from operations.desk.shown import (
    Shown,
    instant,
    intent_shown,
    number,
    plain_fields,
    raw_shown,
    report_shown,
    state_shown,
)
from operations.explain.matching import how_matched
from streaming.topics import topics_of

if TYPE_CHECKING:
    from ledger.domain.order import OrderState
    from ledger.domain.records import Resolution
    from operations.explain.reading import Answer, OrderFacts, Row, Stored, Waiting

_REFERENCE = "awaiting_reference"


def story_of(name: str, answer: Answer) -> Shown:
    """Everything that is known of a name."""
    return {
        "asked": name,
        "orders": [order_story(facts) for facts in answer.orders],
        "waiting": [_waiting(waiting) for waiting in answer.waiting],
    }


def order_story(facts: OrderFacts) -> Shown:
    """One order. The state after each report is that of the rules, by what is known up to it in venue order."""
    engine = Engine()
    engine.take(facts.intents)
    withheld = {report_id.hex for row in facts.executions for report_id in row["withheld"] or ()}
    waited = _waited(facts)
    reports = []
    for count, stored in enumerate(facts.reports, 1):
        engine.take([stored.captured])
        report = stored.captured.report
        order = engine.book.orders.get(facts.correlation_id)
        reports.append(
            {
                "number": count,
                **_stored(stored),
                "matched_by": how_matched(report, facts),
                "waited": waited.get(report.report_id),
                "withheld": report.report_id in withheld,
                "after": None if order is None else _after(order),
            }
        )
    for resolution in facts.resolutions:
        engine.take([resolution])
    order = engine.book.orders.get(facts.correlation_id)
    exec_ids = {s.captured.report.report_id: s.captured.report.exec_id for s in facts.reports}
    return {
        "correlation_id": facts.correlation_id,
        "state": None if order is None else state_shown(order),
        "intents": [intent_shown(intent) for intent in facts.intents],
        "reports": reports,
        "after_verdicts": _after(order) if order is not None and facts.resolutions else None,
        "executions": [_execution(row, facts, exec_ids) for row in facts.executions],
        "totals": [_total(row, exec_ids) for row in facts.totals],
        "pending": [_pending(row, exec_ids) for row in facts.pending],
        "breaks": [_break(row, facts, exec_ids) for row in facts.breaks],
        "events": [_event(row) for row in facts.events],
        "dead_letters": [_dead_letter(row) for row in facts.dead_letters],
    }


def _stored(stored: Stored) -> Shown:
    captured = stored.captured
    return {
        **report_shown(captured.report),
        "feed": captured.feed,
        "received_at": format_utc(captured.received_ns),
        "landed_at": instant(stored.landed_at),
        **raw_shown(captured.raw),
    }


def _after(order: OrderState) -> Shown:
    return {**state_shown(order), "breaks": sorted(found.kind.value for found in order.breaks.values())}


def _waited(facts: OrderFacts) -> dict[str, str]:
    """What each report had to wait for, by what was said when it came."""
    landed = {s.captured.report.exec_id: s.landed_at for s in facts.reports}
    still = {row["report_id"].hex for row in facts.pending}
    found = {}
    for row in facts.events:
        if row["event_type"] != "pending":
            continue
        body = msgspec.json.decode(row["body"])
        reason, referred = body["detail"]["reason"], body["detail"].get("exec_ref_id")
        until = landed.get(referred) if reason == _REFERENCE else None
        end = "still" if body["subject"] in still else f"until {instant(until)}" if until is not None else "over"
        found[body["subject"]] = f"{reason} ({end})"
    return found


def _waiting(waiting: Waiting) -> Shown:
    return {
        **_stored(waiting.stored),
        "waits_for": waiting.reason,
        "since": None if waiting.since_ns is None else format_utc(waiting.since_ns),
    }


def _execution(row: Row, facts: OrderFacts, exec_ids: dict[str, str | None]) -> Shown:
    return {
        "execution_id": row["execution_id"].hex,
        "exec_id": row["exec_id"],
        "last_exec_id": row["last_exec_id"],
        "msg_id": row["msg_id"],
        "status": row["status"],
        "side": row["side"],
        "last_qty": number(row["last_qty"]),
        "last_px": number(row["last_px"]),
        "currency": row["currency"],
        "transact_time": format_utc(row["transact_ns"]),
        "match_rule": row["match_rule"],
        "fee": number(row["fee"]),
        "fee_currency": row["fee_currency"],
        "fee_bps": number(row["fee_bps"]),
        "liquidity": row["liquidity"],
        "chain": [exec_ids.get(report_id.hex) for report_id in row["chain"] or ()],
        "slippage": [_metric(m) for m in facts.metrics if m["execution_id"] == row["execution_id"]],
    }


def _metric(row: Row) -> Shown:
    return {
        "kind": row["kind"],
        "bps": number(row["bps"]),
        "benchmark": number(row["benchmark"]),
        "benchmark_at": None if row["benchmark_ns"] is None else format_utc(row["benchmark_ns"]),
        "snapshot_id": row["snapshot_id"],
        "bid": number(row["bid"]),
        "ask": number(row["ask"]),
        "quality": row["quality"],
        "quality_reason": row["quality_reason"],
    }


def _total(row: Row, exec_ids: dict[str, str | None]) -> Shown:
    return {
        "report_id": row["report_id"].hex,
        "exec_id": exec_ids.get(row["report_id"].hex),
        "rule": row["rule"],
        "cum_qty": number(row["cum_qty"]),
        "avg_px": number(row["avg_px"]),
        "executions": [exec_ids.get(execution_id.hex) for execution_id in row["execution_ids"]],
    }


def _pending(row: Row, exec_ids: dict[str, str | None]) -> Shown:
    return {
        "reason": row["reason"],
        "report_id": row["report_id"].hex,
        "exec_id": exec_ids.get(row["report_id"].hex),
        "since": format_utc(row["since_ns"]),
        "overdue_at": instant(row["overdue_at"]),
    }


def _break(row: Row, facts: OrderFacts, exec_ids: dict[str, str | None]) -> Shown:
    break_id = row["break_id"]
    report_id = None if row["report_id"] is None else row["report_id"].hex
    return {
        "break_id": break_id.hex,
        "kind": row["kind"],
        "report_id": report_id,
        "exec_id": exec_ids.get(report_id or ""),
        "ours": row["ours"],
        "theirs": row["theirs"],
        "opened_at": instant(row["opened_at"]),
        "ended_at": instant(row["ended_at"]),
        "ended_how": row["ended_how"],
        "votes": [
            {**{name: v[name] for name in ("person", "verdict", "reason")}, "at": format_utc(v["at_ns"])}
            for v in facts.votes
            if v["break_id"] == break_id
        ],
        "notes": [
            {**{name: n[name] for name in ("person", "kind", "note")}, "at": instant(n["noted_at"])}
            for n in facts.notes
            if n["break_id"] == break_id
        ],
        "resolutions": [_resolution(r, exec_ids) for r in facts.resolutions if r.break_id == break_id.hex],
    }


def _resolution(resolution: Resolution, exec_ids: dict[str, str | None]) -> Shown:
    shown = plain_fields(resolution)
    shown["voids"] = [exec_ids.get(report_id, report_id) for report_id, _ in resolution.voids]
    return shown


def _event(row: Row) -> Shown:
    body: dict[str, Any] = msgspec.json.decode(row["body"])
    return {
        "event_id": row["event_id"].hex,
        "event_type": row["event_type"],
        "recorded_on": row["recorded_on"].isoformat(),
        "published": row["is_published"],
        "topics": list(topics_of(row["event_type"])),
        "detail": body.get("detail", body),
    }


def _dead_letter(row: Row) -> Shown:
    names = ("dead_letter_id", "source", "feed", "reason", "field", "value", "rule", "remedy", "replay_outcome")
    return {
        **{name: row[name] for name in names},
        "received_at": format_utc(row["received_ns"]),
        "replayed_at": instant(row["replayed_at"]),
    }
