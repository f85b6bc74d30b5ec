#!/usr/bin/env python
"""Writes docs/tables.md from the declared tables: ``.venv/bin/python docs/tables.py``.

A test fails when the page is not what this makes, and when a note names a column that is not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.dialects import postgresql

from ledger.db.tables import PARTITIONED, metadata

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

PAGE = Path(__file__).with_name("tables.md")

INTRO = """\
# Tables

Generated from `ledger/db/tables.py` by `docs/tables.py`. The schema is `execution`; migrations make it
(`execution-agent migrate`).

- Facts (`orders`, `fills`, `benchmark_snapshots`, `audit_events`, `dead_letters`) are only ever inserted.
  `executions`, `slippage_metrics` and `breaks` change when later facts do: a bust, a correct, a snapshot that came
  late, an intent that came late. Rows of `fills_pending` go when what they wait for has come.
- `*_ns` is an instant in nanoseconds since 1970-01-01 UTC, exact. The `*_at` beside it is the same instant as
  `timestamptz`, for people, computed when it is read.
- Prices, quantities and slippages are `numeric` without limits of their own: nothing is rounded on the way in.
- Partitioned tables have one partition a day (UTC), made when first needed. Days more than 35 days back, or more
  than 2 days ahead, share the default partition.
- Identities are primary keys. `report_id` is made of venue, account, symbol, trade date, ExecID and kind;
  `content` is a digest of what the report says about money. Two reports of one identity and different content are
  both kept and are a break.
- `audit_events` and `audit_checkpoints` refuse UPDATE, DELETE and TRUNCATE, also from the service's own login
  ([audit](audit.md)).
- `archives` says where the archived rows of a day are ([archives.md](archives.md)); the signed manifests in the
  object store say it, too, and are what counts.

## order_states (view)
CumQty, LeavesQty and AvgPx of every order, as of now: `correlation_id`, `venue`, `account`, `symbol`, `side`,
`msg_id`, `routed_at`, `decision_price`, `order_qty` (the most that the order was ever routed with), `cum_qty`,
`leaves_qty`, `avg_px`, `execution_count`, `last_transact_ns`, `on_hold` (a break of it is open).
"""

NOTES = {
    "orders.msg_id": "the routed message; ClOrdID(11) at the venue",
    "orders.correlation_id": "the order through all agents",
    "orders.action": "`new`, `replace`, `cancel`",
    "orders.orig_msg_id": "of a replace or cancel: the message it acts on",
    "orders.decision_price": "the price at which the decision to trade was taken",
    "orders.routed_ns": "when the venue acknowledged the routed order",
    "orders.venue_order_id": "OrderID(37), where known",
    "fills.report_id": "identity of the report",
    "fills.content": "digest of what it says: kind, reference, symbol, side, quantity, price",
    "fills.trade_date": "TradeDate(75) where FIX gives it, else the UTC date of TransactTime(60)",
    "fills.exec_id": "ExecID(17)",
    "fills.kind": "`fill`, `bust`, `correct`",
    "fills.exec_ref_id": "ExecRefID(19): the report that a bust or correct is about",
    "fills.correlation_id": "as the venue gave it; compared with the intent's",
    "fills.cum_qty": "the venue's claim",
    "fills.leaves_qty": "the venue's claim",
    "fills.avg_px": "the venue's claim",
    "fills.fee": "negative is a rebate",
    "fills.liquidity": "`maker`, `taker`",
    "fills.transact_ns": "TransactTime(60)",
    "fills.received_ns": "when the first byte of the message was in our process",
    "fills.landed_at": "when the row was written",
    "fills.feed": "`VENUE.fix`, `VENUE.ws`, `VENUE.rest`",
    "fills.raw": "the bytes as the venue sent them",
    "executions.execution_id": "the `report_id` of the fill",
    "executions.exec_id": "ExecID of the fill",
    "executions.last_exec_id": "ExecID of the last report of its chain",
    "executions.status": "`active`; `busted` by the venue, `voided` by two persons, `superseded` by its parts",
    "executions.last_qty": "as it stands after its corrects",
    "executions.last_px": "as it stands after its corrects",
    "slippage_metrics.kind": "`arrival_mid`, `decision_price`, `fill_mid`; `fee`: a fee in a third currency",
    "slippage_metrics.bps": "positive = cost, 12 places; null without a benchmark "
    "(architecture.md, Slippage and fees)",
    "slippage_metrics.benchmark": "the price it was measured against; of a fee the mid of its rate's pair",
    "slippage_metrics.benchmark_ns": "the time of that price",
    "slippage_metrics.quality": "`exact`, `best_effort`",
    "slippage_metrics.quality_reason": "`no_snapshot`, `stale_snapshot`, `no_sizes`, `too_fine`, `no_instrument`, "
    "`no_rate`",
    "fills_pending.reason": "`awaiting_intent`, `awaiting_reference`, `awaiting_gap`",
    "fills_pending.reference_kind": "`c` (ClOrdID), `v` (the venue's order id)",
    "fills_pending.since_ns": "when the report was received",
    "benchmark_snapshots.traded_qty": "what the market traded since the symbol's snapshot before; null: not known",
    "benchmark_snapshots.traded_notional": "the same in quote currency",
    "breaks.break_id": "made of order, kind and report: one disagreement is one row",
    "breaks.kind": "see `BreakKind` in `ledger/domain/records.py`",
    "breaks.report_id": "null where it is about the whole order",
    "breaks.ours": "the order's value",
    "breaks.theirs": "the report's value",
    "breaks.ended_at": "null while it is open",
    "dead_letters.dead_letter_id": "made of source and bytes: the same bytes again are the same dead letter",
    "dead_letters.source": "the venue, or the feed where there is none",
    "dead_letters.raw": "the bytes as they came",
    "dead_letters.replayed_at": "when it was last handed in again, or ended by itself",
    "dead_letters.replay_outcome": "what became of it: `landed`, `duplicate`, `pending`, `dead letter again: …`",
    "feed_positions.stream": "FIX session, Kafka topic and partition, WebSocket channel",
    "feed_positions.incarnation": "names the numbering: a broker's cluster id, a session's reset",
    "feed_positions.position": "last MsgSeqNum, offset or sequence that is committed",
    "audit_events.position": "order within a transaction",
    "audit_events.xid": "the transaction that wrote it: the outbox is read in the order (xid, position)",
    "audit_events.event_id": "deterministic; `ce_id` on Kafka",
    "audit_events.event_type": "`fill`, `bust`, `correct`, `pending`, `held`, `break_opened`, …",
    "audit_events.key": "message key on Kafka",
    "audit_events.body": "the bytes that are published",
    "publish_cursors.publisher": "the writer's name",
    "publish_cursors.incarnation": "the topics that it is published to: cluster id and topic id of each",
    "executions_derived.high_water": "`received_ns` up to which reports were read",
}


def render() -> str:
    """Give the page."""
    parts = [INTRO]
    parts += [_table(table) for table in sorted(metadata.tables.values(), key=lambda t: t.name)]
    return "\n".join(parts)


def _table(table: Table) -> str:
    lines = [f"## {table.name}", table.comment or "", ""]
    facts = [f"Primary key: {', '.join(f'`{column.name}`' for column in table.primary_key)}."]
    if table.name in PARTITIONED:
        facts.append(f"Partitioned by day of `{PARTITIONED[table.name]}`.")
    lines += [" ".join(facts), "", "| column | type | null | |", "| --- | --- | --- | --- |"]
    lines += [_column(table, column) for column in table.columns]
    return "\n".join(lines) + "\n"


def _column(table: Table, column: Column[object]) -> str:
    kind = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    kind = kind.replace("timestamp with time zone", "timestamptz")
    note = NOTES.get(f"{table.name}.{column.name}") or column.comment or ""
    if column.computed is not None:
        note = "computed from the `*_ns` column before it"
    return f"| `{column.name}` | {kind} | {'yes' if column.nullable else ''} | {note} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
