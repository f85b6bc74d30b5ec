"""Coinbase Advanced Trade: the ``user`` channel, and the list of fills over REST.

The ``user`` channel gives an order's state with its cumulative quantity and average price, and no fills: what
traded between two of its events can be several fills, and a difference of averages is no price. Its orders are
order reports, whose quantity and average are the venue's claims; the fills come from the REST list.

Read: ``{"channel": "user", "events": [{"orders": […]}]}``; ``{"fills": […], "cursor"}`` of
``/api/v3/brokerage/orders/historical/fills``; one event, one order or one fill of these.

Sources: https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/user,
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/list-fills.

Traps of fills:

- ``trade_type`` other than ``FILL`` (``REVERSAL``, ``CORRECTION``, ``SYNTHETIC``) adjusts something and does not
  say which trade: a dead letter for a person, never a guess.
- ``size_in_quote``: ``size`` is an amount of the quote currency. The quantity is size / price where that comes out
  exactly; else it is a dead letter, since a rounded quantity is not what traded.
- ``trade_id`` is unique among fills of the type ``FILL``, and not among adjusted ones. ``entry_id`` is the
  record's, not the trade's: a fill without ``trade_id`` is a dead letter.
- A fill has no client order id: it is tied by ``order_id``. ``trade_time`` is the trade's, ``sequence_timestamp``
  the record's.
- The commission is in the quote currency, which only the product id of a spot pair (``BTC-USD``) names; for other
  products (``BIT-28JUL23-CDE``) neither is guessed.
- ``retail_portfolio_id`` is the account; it may be empty. ``liquidity_indicator`` may be unknown.
- Neither the channel nor the list takes back a trade in a form that names it: no busts, no corrects.

Traps of order states:

- An order has the time of its creation only: its report has the message's ``timestamp``. One order alone, as a
  dead letter keeps it, has that no more, and is as of its creation.
- ``OPEN`` is said again after every partial fill: new while nothing has filled, else an order status.
- ``FILLED`` repeats what traded: an order status. ``FAILED`` is a rejection.
- ``CANCEL_QUEUED`` and ``EDIT_QUEUED`` are order statuses, pending cancel and pending replace, and not reports of
  a request: nothing on the channel answers one. The order is ``OPEN`` or ``FILLED`` after it, and a request
  without an answer would keep it pending for good.
- ``avg_price`` is 0 while nothing has filled: no claim. OrderQty is not given, and not made of the other two: of
  an order by quote amount ``leaves_quantity`` is in the quote currency.
- A snapshot repeats the open orders after any reconnect, in batches of 50: states as of another time.
- ``sequence_num`` counts a connection's messages: no part of anything's identity.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_order_report
from ledger.domain.numbers import EXACT, exact_ratio, parse_positive
from ledger.domain.records import ExecType, Liquidity, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues.canonical_defects import RESEND, missing, shown
from streaming.venues.json_messages import Fields, Members, Of, count, decoder, each, fields_of, members

if TYPE_CHECKING:
    from decimal import Decimal

    from streaming.venues.decoded import Decoded

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_LIQUIDITY = {"MAKER": Liquidity.MAKER, "TAKER": Liquidity.TAKER, "UNKNOWN_LIQUIDITY_INDICATOR": None}
_TRADE_TYPES = {"FILL": None}
_STATES: dict[str, tuple[ExecType, OrdStatus | None]] = {
    "PENDING": (ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
    "QUEUED": (ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
    "OPEN": (ExecType.NEW, OrdStatus.NEW),
    "FILLED": (ExecType.ORDER_STATUS, OrdStatus.FILLED),
    "CANCELLED": (ExecType.CANCELED, OrdStatus.CANCELED),
    "EXPIRED": (ExecType.EXPIRED, OrdStatus.EXPIRED),
    "FAILED": (ExecType.REJECTED, OrdStatus.REJECTED),
    "CANCEL_QUEUED": (ExecType.ORDER_STATUS, OrdStatus.PENDING_CANCEL),
    "EDIT_QUEUED": (ExecType.ORDER_STATUS, OrdStatus.PENDING_REPLACE),
    "UNKNOWN_ORDER_STATUS": (ExecType.ORDER_STATUS, None),
}
_CHANNELS = {
    "user": "user",
    "subscriptions": "subscriptions",
    "heartbeats": "heartbeat",
    "futures_balance_summary": "futures_balance",
}
_PAIR = 2  # BASE-QUOTE


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    if "fills" in top:
        each(decoded, raw, bytes(top["fills"]), "fills", partial(_fill, of))
    elif "channel" in top:
        channel = read.known("channel", read.word(top, "channel"), _CHANNELS)
        if channel != "user":
            count(decoded, channel)
        elif "events" not in top:
            raise missing("events")
        else:
            each(decoded, raw, bytes(top["events"]), "events", partial(_event, of, read.word(top, "timestamp")))
    elif "error" in top or read.word(top, "type") == "error":
        count(decoded, "error")
    else:
        _item(of, top, raw, decoded)


def _item(of: Of, top: Members, raw: bytes, decoded: Decoded) -> None:
    if "orders" in top or "positions" in top:
        _event(of, None, raw, decoded)
    elif "status" in top or "order_side" in top:
        _order(of, None, raw, decoded)
    elif "trade_type" in top or "trade_id" in top:
        _fill(of, raw, decoded)
    else:
        raise missing("channel or fills")


def _event(of: Of, sent: str | None, raw: bytes, decoded: Decoded) -> None:
    event = members(raw, "event")
    orders, positions = (bytes(event.get(name, b"null")) for name in ("orders", "positions"))
    if orders == positions == b"null":
        raise missing("orders or positions")
    if orders != b"null":
        each(decoded, raw, orders, "orders", partial(_order, of, sent))
    if positions[:1] not in {b"[", b"{", b"n"}:
        raise defect_error("wrong_type", "positions", shown(positions), "an object is required", RESEND)
    if positions not in {b"null", b"{}", b"[]"}:
        count(decoded, "positions")


def _order(of: Of, sent: str | None, raw: bytes, decoded: Decoded) -> None:
    order = fields_of(raw, "order")
    exec_type, status = read.one_of(order, "status", _STATES)
    filled = read.number(order, "cumulative_quantity")
    if exec_type is ExecType.NEW and filled:
        exec_type, status = ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED
    when = read.utc(order, "creation_time") if sent is None else read.utc({"timestamp": sent}, "timestamp")
    report = make_order_report(
        **of.at(when, read.text(order, "retail_portfolio_id")),
        symbol=read.required(order, "product_id"),
        exec_type=exec_type,
        ord_status=status,
        cl_ord_id=read.text(order, "client_order_id"),
        venue_order_id=read.required(order, "order_id"),
        side=read.maybe(order, "order_side", _SIDES),
        limit_price=read.nonzero(order, "limit_price"),
        cum_qty=filled,
        leaves_qty=read.number(order, "leaves_quantity"),
        avg_px=read.nonzero(order, "avg_price"),
        reason=read.text(order, "cancel_reason") or read.text(order, "reject_reason"),
    )
    decoded.reports.append((report, raw))


def _fill(of: Of, raw: bytes, decoded: Decoded) -> None:
    row = fields_of(raw, "fill")
    read.one_of(row, "trade_type", _TRADE_TYPES)
    product = read.required(row, "product_id")
    pair = product.split("-")
    quote = pair[1] or None if len(pair) == _PAIR else None
    px = read.positive(row, "price")
    fee = read.number(row, "commission")
    report = read.fill(
        **of.at(read.utc(row, "trade_time"), read.text(row, "retail_portfolio_id")),
        symbol=product,
        exec_id=read.required(row, "trade_id"),
        venue_order_id=read.required(row, "order_id"),
        side=read.one_of(row, "side", _SIDES),
        last_qty=_quantity(row, px),
        last_px=px,
        currency=quote,
        fee=fee,
        fee_currency=None if fee is None else quote,
        liquidity=read.maybe(row, "liquidity_indicator", _LIQUIDITY),
    )
    decoded.reports.append((report, raw))


def _quantity(row: Fields, px: Decimal) -> Decimal:
    size = read.positive(row, "size")
    if row.get("size_in_quote") is None or not read.flag(row, "size_in_quote"):
        return size
    quantity = exact_ratio(size, px)
    if EXACT.multiply(quantity, px) != size:
        rule = f"a size in the quote currency is a multiple of the price ({px})"
        raise defect_error("inexact", "size", str(size), rule, "Book it by hand from the venue's statement.")
    return parse_positive("size", quantity)


decode = decoder(_message)
