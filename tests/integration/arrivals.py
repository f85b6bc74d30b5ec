"""Messages as feeds hand them over."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ledger.domain.records import Position
from ledger.domain.times import format_utc
from streaming.arrivals import Arrival, ArrivalKind
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.arrivals import Outcome

VENUE = "ALPHA"


def fill_message(exec_id: str, msg_id: str = "M1", **changes: Any) -> dict[str, Any]:
    return {
        "type": "fill", "exec_id": exec_id, "cl_ord_id": msg_id, "account": "ACC", "symbol": "BTCUSDT",
        "side": "buy", "last_qty": "1", "last_px": "100", "transact_time": format_utc(T0 + SECOND), **changes,
    }  # fmt: skip


def fills(
    *messages: dict[str, Any], position: int | None = None, done: Callable[[Outcome], None] | None = None
) -> Arrival:
    raw = json.dumps({"fills": messages}).encode()
    place = None if position is None else Position("ALPHA.rest", "calls", "one", position)
    return Arrival("ALPHA.rest", VENUE, ArrivalKind.REPORT, raw, time.time_ns(), place, None, done)


def fill(
    exec_id: str, msg_id: str = "M1", *, position: int | None = None, done: Callable[[Outcome], None] | None = None
) -> Arrival:
    return fills(fill_message(exec_id, msg_id), position=position, done=done)


def intent_value(correlation_id: str = "C1", msg_id: str = "M1", **changes: Any) -> bytes:
    message = {
        "correlation_id": correlation_id, "msg_id": msg_id, "action": "new", "venue": VENUE, "account": "ACC",
        "symbol": "BTCUSDT", "side": "buy", "order_qty": "1000000", "routed_at": format_utc(T0), **changes,
    }  # fmt: skip
    return json.dumps(message).encode()


def intent(correlation_id: str = "C1", msg_id: str = "M1", **changes: Any) -> Arrival:
    raw = intent_value(correlation_id, msg_id, **changes)
    return Arrival("order-intents", None, ArrivalKind.INTENT, raw, time.time_ns())


def snapshot_value(snapshot_id: str, at_ns: int = T0, **changes: Any) -> bytes:
    message = {"snapshot_id": snapshot_id, "symbol": "BTCUSDT", "bid": "99", "ask": "101", "at": format_utc(at_ns)}
    return json.dumps({**message, **changes}).encode()


def snapshot(snapshot_id: str, at_ns: int = T0, **changes: Any) -> Arrival:
    raw = snapshot_value(snapshot_id, at_ns, **changes)
    return Arrival("market-data", None, ArrivalKind.SNAPSHOT, raw, time.time_ns())
