"""Deribit: ``user.trades`` and ``user.changes`` notifications, and the look-back of trades over JSON-RPC.

Read: ``{"method": "subscription", "params": {"channel": "user.trades.…", "data": […]}}``; the bare
``{"data": […]}``; ``user.changes.…`` (its ``trades``); ``{"result": {"trades": […], "has_more"}}`` of
``private/get_user_trades_by_…``, or its bare list.

Sources: https://docs.deribit.com/subscriptions/user/usertradesinstrument_nameinterval,
https://docs.deribit.com/subscriptions/user/usertradeskindcurrencyinterval.

Traps:

- One notification holds several trades, also of one order in one millisecond (``raw`` or aggregated): ``trade_id``
  tells them apart, the time does not. It is unique per currency only; the instrument is in the identity.
- ``trade_seq`` is counted per instrument; ``matching_id`` is always null.
- ``state`` is the order's at the time of sending: every trade of an order that filled in one go says ``filled``.
- ``amount`` is the quantity: US dollars for perpetuals and inverse futures, the base coin for options and linear
  ones. ``contracts`` is another unit of the same and not read.
- ``label`` is the client's text for an order and the only one: it is taken for the ClOrdID. Deribit lets orders
  share one: who routes must give each its own. It is absent where none was set.
- Small fees come with an exponent (``1.68e-06``): read exactly. A negative fee is a rebate.
- A combo's trade may repeat its legs in ``legs``; they are trades of their own where they are ours, and are not
  read from there.
- Trades of a liquidation have ``liquidation`` (M, T or MT: who was liquidated); they fill, and are counted beside.
- The same trade comes on ``user.trades`` and ``user.changes``: the same identity.
- No stream takes back a trade: there are no busts and no corrects.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.records import Liquidity, Side
from streaming.venues.canonical_defects import missing, unknown_value
from streaming.venues.json_fields import (
    Of,
    count,
    decode_with,
    each,
    epoch,
    fields_of,
    fill,
    is_list,
    members,
    number,
    one_of,
    positive,
    required,
    text,
    word,
)

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_LIQUIDITY = {"M": Liquidity.MAKER, "T": Liquidity.TAKER}
_LIQUIDATED = {"M": None, "T": None, "MT": None}
# channels that hold no trade of ours, by how they begin
_CHANNELS = {
    "user.orders.": "order_update",
    "user.portfolio.": "portfolio",
    "user.access_log": "access_log",
    "user.lock": "lock",
    "user.mmp_trigger.": "mmp_trigger",
    "platform_state": "platform_state",
    "announcements": "announcement",
}


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one notification or one answer. Never raises."""
    return decode_with(partial(_message, Of(venue, account)), raw)


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    method = word(top, "method")
    if method == "heartbeat":
        count(decoded, "heartbeat")
    elif method is not None and method != "subscription":
        raise unknown_value("method", method, ("subscription", "heartbeat"))
    elif "params" in top:
        _notification(of, bytes(top["params"]), raw, decoded)
    elif "data" in top:
        _trades(of, bytes(top["data"]), raw, decoded)
    elif "error" in top:
        count(decoded, "error")
    elif "result" in top:
        _answer(of, bytes(top["result"]), raw, decoded)
    else:
        raise missing("params, data or result")


def _notification(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    params = members(raw, "params")
    channel = word(params, "channel")
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
        _trades(of, data, message, decoded)
    elif channel.startswith("user.changes."):
        changes = members(data, "data")
        if "trades" in changes:
            _trades(of, bytes(changes["trades"]), message, decoded)
        if "orders" in changes:
            count(decoded, "order_update")
    else:
        raise unknown_value("channel", channel, ("user.trades.", "user.changes.", *_CHANNELS))


def _answer(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    if raw[:1] == b"{":
        result = members(raw, "result")
        if "trades" in result:
            _trades(of, bytes(result["trades"]), message, decoded)
            return
    elif is_list(raw) and raw[1:].lstrip()[:1] == b"{":  # the answer to a subscription is a list of channels
        _trades(of, raw, message, decoded)
        return
    count(decoded, "response")


def _trades(of: Of, found: bytes, message: bytes, decoded: Decoded) -> None:
    each(decoded, message, found if is_list(found) else b"[" + found + b"]", "data", partial(_trade, of))


def _trade(of: Of, raw: bytes, decoded: Decoded) -> None:
    trade = fields_of(raw, "trade")
    liquidated = trade.get("liquidation") not in (None, "", "none")
    if liquidated:
        one_of(trade, "liquidation", _LIQUIDATED)
    fee = number(trade, "fee")
    report = fill(
        of,
        symbol=required(trade, "instrument_name"),
        exec_id=required(trade, "trade_id"),
        order_id=required(trade, "order_id"),
        cl_ord_id=text(trade, "label"),
        side=one_of(trade, "direction", _SIDES),
        qty=positive(trade, "amount"),
        px=positive(trade, "price"),
        fee=fee,
        fee_currency=None if fee is None else text(trade, "fee_currency"),
        liquidity=one_of(trade, "liquidity", _LIQUIDITY) if trade.get("liquidity") else None,
        transact_ns=epoch(trade, "timestamp"),
    )
    decoded.reports.append((report, raw))
    if liquidated:
        count(decoded, "liquidation")
