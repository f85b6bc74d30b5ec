"""What the benchmarks land: orders of ten fills each, as canonical WebSocket frames of one report."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.records import Action, OrderIntent, Side, Snapshot
from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

VENUE = "BENCH"
SYMBOL = "BTCUSDT"
FILLS_PER_ORDER = 10
_SNAPSHOTS = 500
_STEP_NS = 10_000_000


def order_facts(orders: int, now_ns: int, first: int = 0) -> Iterator[OrderIntent | Snapshot]:
    """Give the intents of orders from ``first`` on, routed at ``now_ns``, and the snapshots of 5 s up to then."""
    for n in range(_SNAPSHOTS):
        bid = Decimal(60_000) + n % 50
        at = now_ns - (_SNAPSHOTS - n) * _STEP_NS
        yield Snapshot(f"BS{at}-{n}", SYMBOL, bid, bid + Decimal("0.1"), None, None, at)
    for n in range(first, first + orders):
        yield OrderIntent(
            f"BC{n:08d}", f"BM{n:08d}", Action.NEW, None, VENUE, "ACC-1", SYMBOL, Side.BUY, Decimal(10), None,
            None, "USDT", now_ns, None,
        )  # fmt: skip


def intent_message(intent: OrderIntent) -> bytes:
    """Give the value of ``order.intent.route.v1``."""
    return msgspec.json.encode(
        {
            "correlation_id": intent.correlation_id,
            "msg_id": intent.msg_id,
            "action": intent.action,
            "venue": intent.venue,
            "account": intent.account,
            "symbol": intent.symbol,
            "side": intent.side,
            "order_qty": intent.order_qty,
            "currency": intent.currency,
            "routed_at": format_utc(intent.routed_ns),
        }
    )


def snapshot_message(snapshot: Snapshot) -> bytes:
    """Give the value of ``market.data.snapshot.v1``."""
    return msgspec.json.encode(
        {
            "snapshot_id": snapshot.snapshot_id,
            "symbol": snapshot.symbol,
            "bid": snapshot.bid,
            "ask": snapshot.ask,
            "at": format_utc(snapshot.at_ns),
        }
    )


def frame(number: int, transact_ns: int) -> bytes:
    """Give the frame of fill ``number`` (from 0); its sequence is one more."""
    order, fill = divmod(number, FILLS_PER_ORDER)
    price = 60_000 + number % 97
    return (
        f'{{"channel":"executions","sequence":{number + 1},"data":[{{"type":"fill","exec_id":"BE{number:09d}",'
        f'"cl_ord_id":"BM{order:08d}","venue_order_id":"BV{order:08d}","account":"ACC-1","symbol":"{SYMBOL}",'
        f'"side":"buy","last_qty":"1.000","last_px":"{price}.25","cum_qty":"{fill + 1}",'
        f'"leaves_qty":"{9 - fill}","avg_px":null,"currency":"USDT","fee":"0.60250","fee_currency":"USDT",'
        f'"liquidity":"taker","transact_time":"{format_utc(transact_ns)}"}}]}}'
    ).encode()
