"""Breaks as a person reads them, and as a program does."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ledger.domain.ageing import Age, age_of
from ledger.domain.records import ACTIVE, BreakKind
from operations.breaks.guide import WHAT_TO_DO
from operations.dead_letters import escaped, readable
from operations.desk.shown import instant, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.records import Resolution
    from operations.breaks.desk import Row, Voted

_LISTED = ("id", "age", "kind", "venue", "order", "ours", "theirs", "owner", "votes")
_SHORT_ID = 8
_WIDEST = 40
_RAW_SHOWN = 160


def as_table(rows: Sequence[Row]) -> str:
    """One line a break, under a line of names; then how many are how old."""
    lines = [_LISTED, *(_line(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_LISTED))]
    table = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*table, summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """Count the open breaks by age."""
    counts = Counter(age_of(row["seconds"]) for row in rows if row["ended_at"] is None)
    return f"{counts.total()} open: " + ", ".join(f"{counts[age]} {age}" for age in Age)


def _line(row: Row) -> tuple[str, ...]:
    votes = _votes(row) if row["ended_at"] is None else f"ended: {row['ended_how']}"
    cells = (
        row["break_id"].hex[:_SHORT_ID],
        f"{age_of(row['seconds'])} ({_duration(row['seconds'])})",
        row["kind"],
        row["venue"],
        row["correlation_id"],
        row["ours"],
        row["theirs"],
        row["owner"] or "-",
        votes,
    )
    return tuple(_short(escaped(cell)) for cell in cells)


def _votes(row: Row) -> str:
    """Two persons have to agree: how many ask for what."""
    counts = (("release", row["releases"]), ("reject", row["rejects"]))
    return ", ".join(f"{verdict} {count}" for verdict, count in counts if count) or "none"


def as_page(row: Row, evidence: Row) -> str:
    """Everything about one break: both sides, the order, its reports, what people said, and what to do."""
    parts = [
        _facts(row),
        _section("order", _order_lines(evidence)),
        _section("executions", (_execution_line(e) for e in evidence["executions"])),
        _section("events that wait", _withheld_lines(evidence)),
        _section("reports", (line for r in evidence["reports"] for line in _report_lines(r))),
        _section("votes", (_vote_line(v) for v in evidence["votes"])),
        _section("notes", (f"{n['noted_at']:%F %T} {n['person']}: {_note(n)}" for n in evidence["notes"])),
    ]
    if row["ended_at"] is None:
        parts.append(_section("what to do", [WHAT_TO_DO[BreakKind(row["kind"])]]))
    return "\n".join(part for part in parts if part)


def _facts(row: Row) -> str:
    ended = "" if row["ended_at"] is None else f", ended {row['ended_at']:%F %T} by {row['ended_how']}"
    named = (
        ("break", row["break_id"].hex),
        ("kind", row["kind"]),
        ("order", row["correlation_id"]),
        ("venue", row["venue"]),
        ("ours", row["ours"]),
        ("theirs", row["theirs"]),
        ("opened", f"{row['opened_at']:%F %T} ({age_of(row['seconds'])}: {_duration(row['seconds'])}){ended}"),
        ("owner", row["owner"] or "nobody"),
    )
    return "\n".join(f"{name:<7} {escaped(value)}" for name, value in named)


def _section(title: str, lines: Iterable[str]) -> str:
    found = [f"  {escaped(line)}" for line in lines]
    return "\n".join([f"{title}:", *found]) if found else ""


def _order_lines(evidence: Row) -> Iterable[str]:
    state = evidence["state"]
    if state is not None:
        stands = [state[name] for name in ("closed", "pending", "held") if state[name] is not None]
        yield (
            f"OrderQty {number(state['order_qty'])}, CumQty {number(state['cum_qty'])}, "
            f"LeavesQty {number(state['leaves_qty'])}, AvgPx {number(state['avg_px'])}; "
            f"{', '.join(stands) or 'open'} at its venue"
        )
    for intent in evidence["intents"]:
        limit = "" if intent["limit_price"] is None else f" limit {number(intent['limit_price'])}"
        yield (
            f"{intent['routed_at']:%F %T} {intent['action']} {intent['msg_id']}: {intent['side']} "
            f"{number(intent['order_qty'])} {intent['symbol']}{limit} for {intent['account']}"
        )


def _execution_line(e: Row) -> str:
    return f"{e['transact_at']:%F %T} {e['exec_id']} {e['status']}: {_trade(e)}"


def _withheld_lines(evidence: Row) -> Iterable[str]:
    names = {report["report_id"]: f"{report['kind']} {report['exec_id']}" for report in evidence["reports"]}
    for execution in evidence["executions"]:
        for report_id in execution["withheld"]:
            yield names.get(report_id, report_id.hex)


def _report_lines(r: Row) -> Iterable[str]:
    claims = [f"{name} {number(r[column])}" for name, column in _CLAIMS if r[column] is not None]
    refers = "" if r["exec_ref_id"] is None else f" of {r['exec_ref_id']}"
    yield (
        f"{r['transact_at']:%F %T} {r['feed']} {r['kind']} {r['exec_id']}{refers}: {_trade(r)}"
        + (f" (venue says {', '.join(claims)})" if claims else "")
    )
    raw = readable(bytes(r["raw"]).replace(b"\x01", b"|"))
    yield "  " + (raw if len(raw) <= _RAW_SHOWN else raw[:_RAW_SHOWN] + "…")


_CLAIMS = (("CumQty", "cum_qty"), ("AvgPx", "avg_px"))


def _trade(row: Row) -> str:
    return f"{row['side']} {number(row['last_qty'])} {row['symbol']} @ {number(row['last_px'])}"


def _vote_line(v: Row) -> str:
    answer = "" if v["outcome"] is None else f" -> {v['outcome']}" + (f": {v['why']}" if v["why"] else "")
    return (
        f"{v['voted_at']:%F %T} {v['person']}: {v['verdict']} (ours {v['ours']}, theirs {v['theirs']}): "
        f"{v['reason']}{answer}"
    )


def _note(n: Row) -> str:
    return f"owner is {n['note']}" if n["kind"] == "owner" else str(n["note"])


def as_waiting(row: Row, voted: Voted, verdict: str) -> str:
    """Say that one vote is not enough, and which votes do not agree with it."""
    lines = [
        f"{voted.person} votes to {verdict} {row['kind']} of {row['correlation_id']}: waiting for a second person"
    ]
    lines += [
        f"{other.person} voted to {other.verdict} at ours {other.ours}, theirs {other.theirs}: that does not agree"
        for other in voted.others
    ]
    return "\n".join(escaped(line) for line in lines)


def as_applied(row: Row, resolution: Resolution, found: Row) -> str:
    """Say what two persons' verdict changed."""
    past = "released" if resolution.verdict == "release" else "rejected"
    persons = f"{resolution.requested_by} and {resolution.approved_by}"
    lines = [f"{past}: {row['kind']} of {row['correlation_id']}, by {persons}"]
    lines += [line for execution in found["voided"] for line in _voided_lines(execution, found["wordings"])]
    told = [f"{event['event']} {event['exec_id']}" for event in found["told"]]
    if told:
        lines.append(f"published in order: {', '.join(told)}")
    still = ["the same break is still open with other values"] if found["open"]["itself"] else []
    if found["open"]["others"]:
        still.append(f"{found['open']['others']} more of its breaks open")
    if still:
        lines.append(f"the order stays on hold: {', '.join(still)}")
    return "\n".join(escaped(line) for line in lines)


def _voided_lines(execution: Row, wordings: Sequence[Row]) -> Iterable[str]:
    """An execution that does not count any more; or, of one that another wording makes up, both."""
    if execution["status"] != ACTIVE:
        yield f"voided {execution['exec_id']}: {_trade(execution)}"
        return
    for wording in wordings:
        if wording["report_id"] == execution["execution_id"]:
            yield f"voided the wording of {wording['exec_id']}: {_trade(wording)}"
    yield f"what counts of {execution['exec_id']}: {_trade(execution)}"


def as_data(value: Any) -> Any:
    """Give rows as JSON values: ids as hex digits, decimals and times as text, bytes readable."""
    if isinstance(value, dict):
        return {name: as_data(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return readable(bytes(value))
    return value


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def _short(value: str) -> str:
    return value if len(value) <= _WIDEST else value[: _WIDEST - 1] + "…"
