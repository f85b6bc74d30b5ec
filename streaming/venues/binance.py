"""Binance: spot and USD-M user data, and the look-back of trades over REST.

Read: ``executionReport`` (spot), bare, in ``{"subscriptionId", "event"}`` or in ``{"stream", "data"}``;
``ORDER_TRADE_UPDATE`` and ``TRADE_LITE`` (USD-M); lists of ``myTrades`` (spot) and ``userTrades`` (USD-M), also as
the ``result`` of a WebSocket API response.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream,
https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Event-Order-Update and
…/Event-Trade-Lite, https://developers.binance.com/docs/binance-spot-api-docs/rest-api (myTrades).

Traps:

- Trade ids are counted per symbol: another symbol has the same ones. Spot and USD-M name their symbols alike and
  count apart, so each is a venue of its own in the settings.
- Two orders of one account that trade with each other have one trade id: the order id is part of the identity.
- ``t`` is -1 (spot) or 0 (USD-M) where nothing traded: on a trade it is a missing id, never an id.
- ``N`` is null where there is no commission; then there is no fee. ``I`` (execution id) is not in the look-back,
  hence not the identity.
- The look-back has no client order id: the fill is tied by ``orderId``. Its ``time`` is the stream's ``T``.
- USD-M orders of Binance itself have the client order ids ``autoclose-…`` (liquidation), ``adl_autoclose`` (one
  text for all of them) and ``settlement_autoclose-…``: no ClOrdID of ours. Their fills keep the order id only, and
  the events are counted by those names. ``CALCULATED`` is a liquidation's execution: it fills where it trades.
- ``TRADE_LITE`` is the same trade earlier and without its fee: the same identity and the same content.
- Times are milliseconds unless the stream was asked for microseconds: both are read.
- No stream of Binance takes back a trade: there are no busts and no corrects.
- ``p`` is the order's price and ``q`` its quantity; the trade's are ``L`` and ``l``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ledger.domain.errors import defect_error
from ledger.domain.numbers import ZERO
from ledger.domain.records import Liquidity, Side
from streaming.venues.canonical_defects import RESEND, missing, unknown_value
from streaming.venues.json_fields import (
    Fields,
    Of,
    count,
    decode_with,
    each,
    epoch,
    fields_of,
    fill,
    flag,
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
    from ledger.domain.records import FillReport
    from streaming.venues.decoded import Decoded

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_FILLS = frozenset({"TRADE", "CALCULATED"})
_EXECUTIONS = {
    "NEW": "new",
    "CANCELED": "canceled",
    "REPLACED": "replaced",
    "REJECTED": "rejected",
    "TRADE": "trade",
    "EXPIRED": "expired",
    "TRADE_PREVENTION": "trade_prevention",
    "AMENDMENT": "amendment",
    "CALCULATED": "calculated",
}
_FORCED = (
    ("autoclose-", "liquidation"),
    ("adl_autoclose", "adl"),
    ("settlement_autoclose-", "settlement"),
)
# what moves no quantity of an order, and is known to
_EVENTS = {
    "outboundAccountPosition": "account_position",
    "balanceUpdate": "balance_update",
    "listStatus": "list_status",
    "externalLockUpdate": "external_lock_update",
    "eventStreamTerminated": "stream_terminated",
    "serverShutdown": "server_shutdown",
    "listenKeyExpired": "listen_key_expired",
    "ACCOUNT_UPDATE": "account_update",
    "ACCOUNT_CONFIG_UPDATE": "account_config_update",
    "MARGIN_CALL": "margin_call",
    "STRATEGY_UPDATE": "strategy_update",
    "GRID_UPDATE": "grid_update",
    "ALGO_UPDATE": "algo_update",
    "CONDITIONAL_ORDER_TRIGGER_REJECT": "trigger_reject",
}
_ORDER_EVENTS = ("executionReport", "ORDER_TRADE_UPDATE", "TRADE_LITE")
_UNITS: tuple[Any, ...] = ("ms", "us")


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one message or one look-back answer. Never raises."""
    return decode_with(partial(_message, Of(venue, account)), raw)


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    if is_list(raw):
        each(decoded, raw, raw, "trades", partial(_look_back, of))
        return
    top = members(raw)
    for wrapper in ("event", "data"):
        if "e" not in top and wrapper in top:
            _event(of, bytes(top[wrapper]), raw, decoded)
            return
    if "e" in top:
        _event(of, raw, raw, decoded)
    elif "result" in top and is_list(bytes(top["result"])):
        each(decoded, raw, bytes(top["result"]), "result", partial(_look_back, of))
    elif "code" in top or "error" in top:
        count(decoded, "error")
    elif "result" in top:
        count(decoded, "response")
    else:
        raise missing("e")


def _event(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "event")
    name = word(event, "e")
    if name is None:
        raise missing("e")
    if name in _EVENTS:
        count(decoded, _EVENTS[name])
        return
    if name not in _ORDER_EVENTS:
        raise unknown_value("e", name, (*_ORDER_EVENTS, *_EVENTS))
    order: Any = event if name != "ORDER_TRADE_UPDATE" else event.get("o")
    if not isinstance(order, dict):
        raise defect_error("wrong_type", "o", repr(order), "an object is required", RESEND)
    execution = "trade" if name == "TRADE_LITE" else str(one_of(order, "x", _EXECUTIONS))
    forced = None
    if name != "executionReport":
        forced = _forced(text(order, "c"))
        if forced is not None:
            count(decoded, f"{forced}_{execution}")
    moved = name == "TRADE_LITE" or (
        order["x"] in _FILLS and (execution == "trade" or (number(order, "l") or ZERO) > ZERO)
    )
    if moved:
        decoded.reports.append((_fill(of, order, forced=forced is not None), message))
    elif forced is None:
        count(decoded, execution)


def _forced(client_order_id: str | None) -> str | None:
    if client_order_id is not None:
        for prefix, name in _FORCED:
            if client_order_id.startswith(prefix):
                return name
    return None


def _fill(of: Of, order: Fields, *, forced: bool) -> FillReport:
    fee_currency = text(order, "N")
    fee = number(order, "n")
    return fill(
        of,
        symbol=required(order, "s"),
        exec_id=_trade_id(order, "t"),
        order_id=required(order, "i"),
        cl_ord_id=None if forced else text(order, "c"),
        side=one_of(order, "S", _SIDES),
        qty=positive(order, "l"),
        px=positive(order, "L"),
        cum_qty=number(order, "z"),
        avg_px=number(order, "ap"),
        fee=fee if fee_currency is not None or fee else None,
        fee_currency=fee_currency,
        liquidity=Liquidity.MAKER if flag(order, "m") else Liquidity.TAKER,
        transact_ns=epoch(order, "T", _UNITS),
    )


def _look_back(of: Of, raw: bytes, decoded: Decoded) -> None:
    trade = fields_of(raw, "trade")
    buyer, maker = ("isBuyer", "isMaker") if "isBuyer" in trade else ("buyer", "maker")
    report = fill(
        of,
        symbol=required(trade, "symbol"),
        exec_id=_trade_id(trade, "id"),
        order_id=required(trade, "orderId"),
        side=Side.BUY if flag(trade, buyer) else Side.SELL,
        qty=positive(trade, "qty"),
        px=positive(trade, "price"),
        fee=number(trade, "commission"),
        fee_currency=text(trade, "commissionAsset"),
        liquidity=Liquidity.MAKER if flag(trade, maker) else Liquidity.TAKER,
        transact_ns=epoch(trade, "time", _UNITS),
    )
    decoded.reports.append((report, raw))


def _trade_id(fields: Fields, name: str) -> str:
    value = required(fields, name)
    if value in {"0", "-1"}:
        raise defect_error("missing_field", name, value, "a trade has its trade id", RESEND)
    return value
