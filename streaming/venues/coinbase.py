"""Coinbase Advanced Trade: the ``user`` channel, and the list of fills over REST.

The ``user`` channel gives an order's cumulative quantity, average price and total fees, and no fills: what traded
between two of its events can be several fills, and a difference of averages is no price. Its order events are
counted as ``order_update``; the fills come from the REST list.

Read: ``{"channel": "user", "events": [{"orders": […]}]}``; ``{"fills": […], "cursor"}`` of
``/api/v3/brokerage/orders/historical/fills``.

Sources: https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/user,
https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/list-fills.

Traps:

- ``trade_type`` other than ``FILL`` (``REVERSAL``, ``CORRECTION``, ``SYNTHETIC``) adjusts something and does not
  say which trade: a dead letter for a person, never a guess.
- ``size_in_quote``: ``size`` is an amount of the quote currency. The quantity is size / price where that comes out
  exactly; else it is a dead letter, since a rounded quantity is not what traded.
- ``trade_id`` is unique among fills of the type ``FILL``, and not among adjusted ones.
- A fill has no client order id: it is tied by ``order_id``. ``trade_time`` is the trade's, ``sequence_timestamp``
  the record's.
- The commission is in the quote currency, which only the product id of a spot pair (``BTC-USD``) names; for other
  products (``BIT-28JUL23-CDE``) neither is guessed.
- ``retail_portfolio_id`` is the account; it may be empty. ``liquidity_indicator`` may be unknown.
- The snapshot comes in batches of 50 orders; ``sequence_num`` counts a connection's messages.
- Neither the channel nor the list takes back a trade in a form that names it: no busts, no corrects.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.numbers import EXACT, exact_ratio, parse_positive
from ledger.domain.records import Liquidity, Side
from streaming.venues.canonical_defects import RESEND, missing, unknown_value
from streaming.venues.json_fields import (
    Fields,
    Of,
    count,
    decode_with,
    each,
    fields_of,
    fill,
    flag,
    members,
    number,
    one_of,
    positive,
    required,
    text,
    utc,
    word,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from streaming.venues.decoded import Decoded

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_LIQUIDITY = {"MAKER": Liquidity.MAKER, "TAKER": Liquidity.TAKER, "UNKNOWN_LIQUIDITY_INDICATOR": None}
_TRADE_TYPES = {"FILL": None}
_CHANNELS = {
    "subscriptions": "subscriptions",
    "heartbeats": "heartbeat",
    "futures_balance_summary": "futures_balance",
}
_PAIR = 2  # BASE-QUOTE


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one message or one page of fills. Never raises."""
    return decode_with(partial(_message, Of(venue, account)), raw)


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    if "fills" in top:
        each(decoded, raw, bytes(top["fills"]), "fills", partial(_fill, of))
    elif "channel" in top:
        channel = word(top, "channel")
        if channel == "user":
            if "events" not in top:
                raise missing("events")
            each(decoded, raw, bytes(top["events"]), "events", _user)
        elif channel in _CHANNELS:
            count(decoded, _CHANNELS[channel])
        else:
            raise unknown_value("channel", channel or "", ("user", *_CHANNELS))
    elif "error" in top or word(top, "type") == "error":
        count(decoded, "error")
    else:
        raise missing("channel or fills")


def _user(raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "event")
    orders, positions = event.get("orders"), event.get("positions")
    if orders is None and positions is None:
        raise missing("orders or positions")
    if orders is not None:
        if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
            raise _wrong("orders", orders, "a list of objects")
        count(decoded, "order_update", len(orders))
    if positions:
        if not isinstance(positions, dict | list):
            raise _wrong("positions", positions, "an object")
        count(decoded, "positions")


def _fill(of: Of, raw: bytes, decoded: Decoded) -> None:
    row = fields_of(raw, "fill")
    one_of(row, "trade_type", _TRADE_TYPES)
    product = required(row, "product_id")
    pair = product.split("-")
    quote = pair[1] or None if len(pair) == _PAIR else None
    px = positive(row, "price")
    fee = number(row, "commission")
    report = fill(
        of,
        symbol=product,
        exec_id=required(row, "trade_id"),
        order_id=required(row, "order_id"),
        account=text(row, "retail_portfolio_id") or None,
        side=one_of(row, "side", _SIDES),
        qty=_quantity(row, px),
        px=px,
        currency=quote,
        fee=fee,
        fee_currency=None if fee is None else quote,
        liquidity=one_of(row, "liquidity_indicator", _LIQUIDITY) if row.get("liquidity_indicator") else None,
        transact_ns=utc(row, "trade_time"),
    )
    decoded.reports.append((report, raw))


def _quantity(row: Fields, px: Decimal) -> Decimal:
    size = positive(row, "size")
    if row.get("size_in_quote") is None or not flag(row, "size_in_quote"):
        return size
    quantity = exact_ratio(size, px)
    if EXACT.multiply(quantity, px) != size:
        rule = f"a size in the quote currency is a multiple of the price ({px})"
        raise defect_error("inexact", "size", str(size), rule, "Book it by hand from the venue's statement.")
    return parse_positive("size", quantity)


def _wrong(field: str, value: Any, wanted: str) -> DefectError:
    return defect_error("wrong_type", field, repr(value), f"{wanted} is required", RESEND)
