"""Kraken: the ``executions`` channel of spot (WebSocket v2); what futures send is left to ``kraken_futures``.

Read: ``{"channel": "executions", "type": "snapshot" | "update", "data": […]}``; a trade or order of the look-back
(``kraken_history``); the futures feeds and look-back; one item of either.

Source: https://docs.kraken.com/api/docs/websocket-v2/executions.

Traps of trades:

- A ``trade`` that completes its order says ``partially_filled``; a separate event ``filled`` follows. What trades
  is told by ``exec_type`` alone: ``trade`` is a fill, ``filled`` repeats totals and is an order status.
- ``trade_id`` is counted per pair; ``exec_id`` is the execution's own and the identity. A trade without it is a
  dead letter: both sides of a trade share its ``trade_id``.
- A snapshot (``snap_trades``) repeats the last 50 fills after any reconnect: the same identities, duplicates.
- ``sequence`` counts a subscription's messages and starts over with each: no part of the identity.
- Fees are a list. Of one asset they are summed; of several there is no one fee, and none is given.
- ``order_userref`` is a number shared by orders: no ClOrdID. ``cl_ord_id`` is.
- Executions of a liquidation (``liquidated``) fill, and are counted beside.
- The channel takes back no trade: there are no busts and no corrects.

Traps of order states:

- An update gives what changed and the order's id: symbol, side and quantity may be missing, and are not guessed.
- ``amended`` is the client's change of an order, in place: replaced, under the same ids. ``restated`` is the
  engine's.
- ``status`` is an open order in a snapshot; ``order_status`` there may be ``triggered``, which FIX has not: new.
- ``avg_price`` and ``limit_price`` are 0 where there is none. A market order by amount has ``cash_order_qty``, an
  amount of the quote currency, and no ``order_qty``.
- ``iceberg_refill`` shows another slice of an order and changes nothing of it: counted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_order_report
from ledger.domain.numbers import EXACT, ZERO, parse_decimal
from ledger.domain.records import ExecType, Liquidity, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues import kraken_futures, kraken_history
from streaming.venues.canonical_defects import RESEND, missing
from streaming.venues.json_messages import Fields, Members, Of, count, decoder, each, fields_of, members

if TYPE_CHECKING:
    from decimal import Decimal

    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_LIQUIDITY = {"m": Liquidity.MAKER, "t": Liquidity.TAKER}
_TRADE, _REFILL = "trade", "iceberg_refill"
_EXECUTIONS = {
    "pending_new": ExecType.PENDING_NEW,
    "new": ExecType.NEW,
    _TRADE: None,
    "filled": ExecType.ORDER_STATUS,
    _REFILL: None,
    "canceled": ExecType.CANCELED,
    "expired": ExecType.EXPIRED,
    "amended": ExecType.REPLACED,
    "restated": ExecType.RESTATED,
    "status": ExecType.ORDER_STATUS,
}
_STATUSES = {
    "pending_new": OrdStatus.PENDING_NEW,
    "new": OrdStatus.NEW,
    "triggered": OrdStatus.NEW,
    "partially_filled": OrdStatus.PARTIALLY_FILLED,
    "filled": OrdStatus.FILLED,
    "canceled": OrdStatus.CANCELED,
    "expired": OrdStatus.EXPIRED,
}
_CHANNELS = {
    "executions": "executions",
    "heartbeat": "heartbeat",
    "status": "system_status",
    "balances": "balances",
}
_EVENTS = {
    "info": "info",
    "subscribed": "response",
    "unsubscribed": "response",
    "challenge": "response",
    "pong": "pong",
    "alert": "alert",
    "error": "error",
    "subscribed_failed": "error",
    "unsubscribed_failed": "error",
}


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    if "channel" in top:
        _spot(of, top, raw, decoded)
    elif "event" in top:
        count(decoded, read.known("event", read.word(top, "event"), _EVENTS))
    elif "feed" in top or "fills" in top:
        kraken_futures.read_message(of, top, raw, decoded)
    elif "error" in top:
        count(decoded, "error")
    elif "method" in top:
        count(decoded, "response")
    elif "exec_type" in top:
        _execution(of, raw, decoded)
    elif "queried" in top:
        kraken_history.read_order(of, raw, decoded)
    elif "trade" in top:
        kraken_history.read_trade(of, raw, decoded)
    elif not kraken_futures.read_item(of, top, raw, decoded):
        raise missing("channel, feed or fills")


def _spot(of: Of, top: Members, raw: bytes, decoded: Decoded) -> None:
    channel = read.known("channel", read.word(top, "channel"), _CHANNELS)
    if channel != "executions":
        count(decoded, channel)
    elif "data" not in top:
        raise missing("data")
    else:
        each(decoded, raw, bytes(top["data"]), "data", partial(_execution, of))


def _execution(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "execution")
    exec_type = read.one_of(event, "exec_type", _EXECUTIONS)
    if event["exec_type"] == _REFILL:
        count(decoded, _REFILL)
    elif exec_type is None:
        _trade(of, event, raw, decoded)
    else:
        _state(of, event, exec_type, raw, decoded)


def _trade(of: Of, event: Fields, raw: bytes, decoded: Decoded) -> None:
    symbol = read.required(event, "symbol")
    fee, fee_currency = _fee(event)
    report = read.fill(
        **of.at(read.utc(event, "timestamp")),
        symbol=symbol,
        exec_id=read.required(event, "exec_id"),
        venue_order_id=read.required(event, "order_id"),
        cl_ord_id=read.text(event, "cl_ord_id"),
        side=read.one_of(event, "side", _SIDES),
        last_qty=read.positive(event, "last_qty"),
        last_px=read.positive(event, "last_price"),
        cum_qty=read.number(event, "cum_qty"),
        avg_px=read.nonzero(event, "avg_price"),
        currency=symbol.partition("/")[2] or None,  # "BASE/QUOTE"
        fee=fee,
        fee_currency=fee_currency,
        liquidity=read.maybe(event, "liquidity_ind", _LIQUIDITY),
    )
    decoded.reports.append((report, raw))
    if event.get("liquidated") is True:
        count(decoded, "liquidation")


def _state(of: Of, event: Fields, exec_type: ExecType, raw: bytes, decoded: Decoded) -> None:
    report = make_order_report(
        **of.at(read.utc(event, "timestamp")),
        symbol=read.text(event, "symbol") or "",
        exec_id=read.text(event, "exec_id"),
        exec_type=exec_type,
        ord_status=read.maybe(event, "order_status", _STATUSES),
        cl_ord_id=read.text(event, "cl_ord_id"),
        venue_order_id=read.required(event, "order_id"),
        side=read.maybe(event, "side", _SIDES),
        order_qty=read.quantity(event, "order_qty"),
        limit_price=read.nonzero(event, "limit_price"),
        cum_qty=read.number(event, "cum_qty"),
        avg_px=read.nonzero(event, "avg_price"),
        reason=read.text(event, "reason"),
    )
    decoded.reports.append((report, raw))


def _fee(event: Fields) -> tuple[Decimal | None, str | None]:
    fees = event.get("fees")
    if fees is None:
        return None, None
    if not isinstance(fees, list) or not all(isinstance(entry, dict) for entry in fees):
        raise defect_error("wrong_type", "fees", repr(fees), "a list of objects is required", RESEND)
    assets = {read.required(entry, "asset") for entry in fees}
    if len(assets) != 1:
        return None, None
    total = ZERO
    for entry in fees:
        total = EXACT.add(total, read.number(entry, "qty") or ZERO)
    return parse_decimal("fees", total), assets.pop()


decode = decoder(_message)
