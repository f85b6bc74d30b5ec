"""Deribit: ``user.trades``, ``user.orders`` and ``user.changes``, and the look-back of trades over JSON-RPC.

Read: ``{"method": "subscription", "params": {"channel": "user.trades.…", "data": […]}}``; the bare ``{"data":
[…]}``; ``user.orders.…``; ``user.changes.…`` (its ``trades`` and ``orders``); ``{"result": {"trades": […],
"has_more"}}`` of ``private/get_user_trades_by_…``, or its bare list; one trade or one order of these.

Sources: https://docs.deribit.com/subscriptions/user/usertradesinstrument_nameinterval,
https://docs.deribit.com/subscriptions/user/usertradeskindcurrencyinterval,
https://docs.deribit.com/subscriptions/user/userordersinstrument_nameinterval.

Traps of trades:

- One notification holds several trades, also of one order in one millisecond (``raw`` or aggregated): ``trade_id``
  tells them apart, the time does not. It is unique per currency only; the instrument is in the identity. A trade
  without it is a dead letter: ``trade_seq`` is counted per instrument and shared by both sides.
- ``matching_id`` is always null.
- A trade's ``state`` is the order's at the time of sending: every trade of an order that filled in one go says
  ``filled``.
- ``amount`` is the quantity: US dollars for perpetuals and inverse futures, the base coin for options and linear
  ones. ``contracts`` is another unit of the same and not read.
- ``label`` is the client's text for an order and the only one: it is taken for the ClOrdID. Deribit lets orders
  share one: who routes must give each its own. It is absent where none was set, or "".
- Small fees come with an exponent (``1.68e-06``): read exactly. A negative fee is a rebate.
- A combo's trade may repeat its legs in ``legs``; they are trades of their own where they are ours, and are not
  read from there.
- Trades of a liquidation have ``liquidation`` (M, T or MT: who was liquidated); they fill, and are counted beside.
- The same trade comes on ``user.trades`` and ``user.changes``: the same identity.
- No stream takes back a trade: there are no busts and no corrects.

Traps of order states:

- ``open`` is said again after every partial fill and edit: new while nothing has filled, else an order status.
  ``replaced`` stays true for good, so it tells no edit; ``amount`` and ``price`` are as of the report.
- ``filled`` repeats what traded: an order status, whose quantity is the venue's claim.
- ``price`` may be the text ``market_price``: no limit. ``average_price`` is 0 while nothing has filled: no claim.
- ``untriggered`` has not reached the market: pending new. When it triggers a new order with an order id of its own
  begins; ``label`` ties both.
- ``archive`` is a state that is no longer looked after: an order status without one.
- The data of ``raw`` is one order, of other intervals a list. Orders of a liquidation (``is_liquidation``) are
  counted beside.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.identity import make_order_report
from ledger.domain.records import ExecType, Liquidity, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues.canonical_defects import missing, unknown_value
from streaming.venues.json_messages import Of, count, decoder, each, fields_of, is_list, members

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_LIQUIDITY = {"M": Liquidity.MAKER, "T": Liquidity.TAKER}
_LIQUIDATED = {"M": None, "T": None, "MT": None}
_STATES: dict[str, tuple[ExecType, OrdStatus | None]] = {
    "open": (ExecType.NEW, OrdStatus.NEW),
    "filled": (ExecType.ORDER_STATUS, OrdStatus.FILLED),
    "rejected": (ExecType.REJECTED, OrdStatus.REJECTED),
    "cancelled": (ExecType.CANCELED, OrdStatus.CANCELED),
    "untriggered": (ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
    "triggered": (ExecType.TRIGGERED, OrdStatus.NEW),
    "archive": (ExecType.ORDER_STATUS, None),
}
_MARKET = "market_price"
# channels that hold neither trade nor order of ours, by how they begin
_CHANNELS = {
    "user.portfolio.": "portfolio",
    "user.access_log": "access_log",
    "user.lock": "lock",
    "user.mmp_trigger.": "mmp_trigger",
    "platform_state": "platform_state",
    "announcements": "announcement",
}


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    method = read.word(top, "method")
    if method == "heartbeat":
        count(decoded, "heartbeat")
    elif method is not None and method != "subscription":
        raise unknown_value("method", method, ("subscription", "heartbeat"))
    elif "params" in top:
        _notification(of, bytes(top["params"]), raw, decoded)
    elif "data" in top:
        _each(bytes(top["data"]), raw, decoded, partial(_trade, of))
    elif "error" in top:
        count(decoded, "error")
    elif "result" in top:
        _answer(of, bytes(top["result"]), raw, decoded)
    elif "order_id" in top or "trade_id" in top:
        _item(of, raw, decoded)
    else:
        raise missing("params, data or result")


def _notification(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    params = members(raw, "params")
    channel = read.word(params, "channel")
    if channel is None:
        raise missing("channel")
    for prefix, name in _CHANNELS.items():
        if channel.startswith(prefix):
            count(decoded, name)
            return
    if "data" not in params:
        raise missing("data")
    data = bytes(params["data"])
    if channel.startswith("user.trades."):
        _each(data, message, decoded, partial(_trade, of))
    elif channel.startswith("user.orders."):
        _each(data, message, decoded, partial(_order, of))
    elif channel.startswith("user.changes."):
        changes = members(data, "data")
        if "trades" in changes:
            _each(bytes(changes["trades"]), message, decoded, partial(_trade, of))
        if "orders" in changes:
            _each(bytes(changes["orders"]), message, decoded, partial(_order, of))
    else:
        raise unknown_value("channel", channel, ("user.trades.", "user.orders.", "user.changes.", *_CHANNELS))


def _answer(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    if is_list(raw) and raw[1:].lstrip()[:1] == b"{":  # the answer to a subscription is a list of channels
        _each(raw, message, decoded, partial(_item, of))
        return
    result = members(raw, "result") if raw[:1] == b"{" else {}
    if "trades" in result:
        _each(bytes(result["trades"]), message, decoded, partial(_trade, of))
    if "order" in result:  # of a request that placed, changed or ended one
        _each(bytes(result["order"]), message, decoded, partial(_order, of))
    if not result.keys() & {"trades", "order"}:
        count(decoded, "response")


def _each(found: bytes, message: bytes, decoded: Decoded, one: Callable[[bytes, Decoded], None]) -> None:
    each(decoded, message, found if is_list(found) else b"[" + found + b"]", "data", one)


def _item(of: Of, raw: bytes, decoded: Decoded) -> None:
    one = _order if "order_state" in members(raw, "trade") else _trade
    one(of, raw, decoded)


def _trade(of: Of, raw: bytes, decoded: Decoded) -> None:
    trade = fields_of(raw, "trade")
    liquidated = trade.get("liquidation") not in (None, "", "none")
    if liquidated:
        read.one_of(trade, "liquidation", _LIQUIDATED)
    fee = read.number(trade, "fee")
    report = read.fill(
        **of.at(read.epoch(trade, "timestamp")),
        symbol=read.required(trade, "instrument_name"),
        exec_id=read.required(trade, "trade_id"),
        venue_order_id=read.required(trade, "order_id"),
        cl_ord_id=read.text(trade, "label"),
        side=read.one_of(trade, "direction", _SIDES),
        last_qty=read.positive(trade, "amount"),
        last_px=read.positive(trade, "price"),
        fee=fee,
        fee_currency=None if fee is None else read.text(trade, "fee_currency"),
        liquidity=read.maybe(trade, "liquidity", _LIQUIDITY),
    )
    decoded.reports.append((report, raw))
    if liquidated:
        count(decoded, "liquidation")


def _order(of: Of, raw: bytes, decoded: Decoded) -> None:
    order = fields_of(raw, "order")
    exec_type, status = read.one_of(order, "order_state", _STATES)
    filled = read.number(order, "filled_amount")
    if exec_type is ExecType.NEW and filled:
        exec_type, status = ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED
    report = make_order_report(
        **of.at(read.epoch(order, "last_update_timestamp")),
        symbol=read.required(order, "instrument_name"),
        exec_type=exec_type,
        ord_status=status,
        cl_ord_id=read.text(order, "label"),
        venue_order_id=read.required(order, "order_id"),
        side=read.maybe(order, "direction", _SIDES),
        order_qty=read.quantity(order, "amount"),
        limit_price=None if order.get("price") == _MARKET else read.nonzero(order, "price"),
        cum_qty=filled,
        avg_px=read.nonzero(order, "average_price"),
        reason=read.text(order, "cancel_reason") or read.text(order, "reject_reason"),
    )
    decoded.reports.append((report, raw))
    if order.get("is_liquidation") is True:
        count(decoded, "liquidation_order")


decode = decoder(_message)
