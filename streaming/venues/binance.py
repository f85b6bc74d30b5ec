"""Binance: spot and USD-M user data, and the look-back of trades over REST.

Read: ``executionReport`` (spot), bare, in ``{"subscriptionId", "event"}`` or in ``{"stream", "data"}``;
``ORDER_TRADE_UPDATE`` and ``TRADE_LITE`` (USD-M); lists of ``myTrades`` (spot) and ``userTrades`` (USD-M), also as
the ``result`` of a WebSocket API response; one trade of such a list; one order (``binance_orders``).

Sources: https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream,
https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Event-Order-Update and
…/Event-Trade-Lite, https://developers.binance.com/docs/binance-spot-api-docs/rest-api (myTrades).

Traps of trades:

- Trade ids are counted per symbol: another symbol has the same ones. Spot and USD-M name their symbols alike and
  count apart, so each is a venue of its own in the settings.
- Two orders of one account that trade with each other have one trade id: the order id is part of the identity.
- ``t`` is -1 (spot) or 0 (USD-M) where nothing traded: on a trade it is a missing id, never an id. No other field
  is unique over the stream and the look-back, so a trade without its id is a dead letter.
- ``N`` is null where there is no commission; then there is no fee. ``I`` (execution id) is not in the look-back,
  hence not the identity.
- The look-back has no client order id: the fill is tied by ``orderId``. Its ``time`` is the stream's ``T``.
- USD-M orders of Binance itself have the client order ids ``autoclose-…`` (liquidation), ``adl_autoclose`` (one
  text for all of them) and ``settlement_autoclose-…``: no ClOrdID of ours. Their reports keep the order id only,
  and the events are counted by those names. ``CALCULATED`` is a liquidation's execution: it fills where it trades.
- ``TRADE_LITE`` is the same trade earlier and without its fee and totals: the same identity, and each of the two
  says what the other leaves out.
- Times are milliseconds unless the stream was asked for microseconds: both are read.
- No stream of Binance takes back a trade: there are no busts and no corrects.
- ``p`` is the order's price and ``q`` its quantity; the trade's are ``L`` and ``l``.

Traps of order states (``x`` other than a trade; ``X`` is OrdStatus):

- When a request cancels an order, ``c`` may be the request's id and ``C`` the order's: ClOrdID and OrigClOrdID as
  in FIX. ``C`` is "" where there is none. The same goes for ``REPLACED`` (spot, an amended order keeps its place).
- ``AMENDMENT`` (USD-M) changes price and quantity under the same client order id: restated, with ``q`` and ``p``.
- ``TRADE_PREVENTION`` ends an order only with ``X`` ``EXPIRED_IN_MATCH``; with another the order goes on with less
  than ``q``: restated, and no quantity is taken from it.
- ``p`` 0 is no limit, ``ap`` 0 no average, ``r`` ``NONE`` no reason. Spot has no average: it is ``Z`` / ``z``
  where that comes out exactly, else there is none.
- ``X`` ``NEW_INSURANCE`` and ``NEW_ADL`` are new orders that Binance took over.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_order_report
from ledger.domain.numbers import EXACT, ZERO, exact_ratio, parse_decimal
from ledger.domain.records import ExecType, Liquidity, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues.binance_orders import SIDES as _SIDES
from streaming.venues.binance_orders import STATUSES as _STATUSES
from streaming.venues.binance_orders import read_order
from streaming.venues.canonical_defects import RESEND, missing, unknown_value
from streaming.venues.json_messages import Fields, Of, count, decoder, each, fields_of, is_list, members

if TYPE_CHECKING:
    from decimal import Decimal

    from ledger.domain.records import FillReport, OrderReport
    from streaming.venues.decoded import Decoded

_TRADE = "TRADE"
_EXECUTIONS = {
    "NEW": ExecType.NEW,
    "CANCELED": ExecType.CANCELED,
    "REPLACED": ExecType.REPLACED,
    "REJECTED": ExecType.REJECTED,
    _TRADE: None,
    "EXPIRED": ExecType.EXPIRED,
    "TRADE_PREVENTION": ExecType.EXPIRED,
    "AMENDMENT": ExecType.RESTATED,
    "CALCULATED": ExecType.CALCULATED,
}
_FORCED = (
    ("autoclose-", "liquidation"),
    ("adl_autoclose", "adl"),
    ("settlement_autoclose-", "settlement"),
)
# what concerns no order, and is known to
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
    elif "executedQty" in top:
        decoded.reports.append((read_order(of, raw), raw))
    elif "symbol" in top or "orderId" in top:
        _look_back(of, raw, decoded)
    else:
        raise missing("e")


def _event(of: Of, raw: bytes, message: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "event")
    name = read.word(event, "e")
    if name in _EVENTS:
        count(decoded, _EVENTS[name])
        return
    if name not in _ORDER_EVENTS:
        raise missing("e") if name is None else unknown_value("e", name, (*_ORDER_EVENTS, *_EVENTS))
    order: Any = event if name != "ORDER_TRADE_UPDATE" else event.get("o")
    if not isinstance(order, dict):
        raise defect_error("wrong_type", "o", repr(order), "an object is required", RESEND)
    execution = _TRADE if name == "TRADE_LITE" else order.get("x")
    exec_type = None if name == "TRADE_LITE" else read.one_of(order, "x", _EXECUTIONS)
    forced = None if name == "executionReport" else _forced(read.text(order, "c"))
    if exec_type is ExecType.CALCULATED and (read.number(order, "l") or ZERO) > ZERO:
        exec_type = None
    if exec_type is None:
        decoded.reports.append((_fill(of, order, forced=forced), message))
    else:
        decoded.reports.append((_state(of, order, exec_type, forced=forced), message))
    if forced is not None:
        count(decoded, f"{forced}_{execution}".lower())


def _forced(client_order_id: str | None) -> str | None:
    if client_order_id is not None:
        for prefix, name in _FORCED:
            if client_order_id.startswith(prefix):
                return name
    return None


def _fill(of: Of, order: Fields, *, forced: str | None) -> FillReport:
    fee_currency = read.text(order, "N")
    fee = read.number(order, "n")
    return read.fill(
        **of.at(read.epoch(order, "T", micros=True)),
        symbol=read.required(order, "s"),
        exec_id=_trade_id(order, "t"),
        venue_order_id=read.required(order, "i"),
        cl_ord_id=None if forced else read.text(order, "c"),
        side=read.one_of(order, "S", _SIDES),
        last_qty=read.positive(order, "l"),
        last_px=read.positive(order, "L"),
        cum_qty=read.number(order, "z"),
        avg_px=_average(order),
        fee=fee if fee_currency is not None or fee else None,
        fee_currency=fee_currency,
        liquidity=Liquidity.MAKER if read.flag(order, "m") else Liquidity.TAKER,
    )


def _state(of: Of, order: Fields, exec_type: ExecType, *, forced: str | None) -> OrderReport:
    prevented = order["x"] == "TRADE_PREVENTION"
    status = read.maybe(order, "X", _STATUSES)
    goes_on = prevented and status is not OrdStatus.EXPIRED
    said = read.text(order, "r")
    reason = said if said != "NONE" else None
    return make_order_report(
        **of.at(read.epoch(order, "T", micros=True)),
        symbol=read.required(order, "s"),
        exec_id=read.text(order, "I"),
        exec_type=ExecType.RESTATED if goes_on else exec_type,
        ord_status=status,
        cl_ord_id=None if forced else read.text(order, "c"),
        orig_cl_ord_id=read.text(order, "C"),
        venue_order_id=read.required(order, "i"),
        side=read.maybe(order, "S", _SIDES),
        order_qty=None if goes_on else read.quantity(order, "q"),
        limit_price=read.nonzero(order, "p"),
        cum_qty=read.number(order, "z"),
        avg_px=_average(order),
        reason=reason or forced or (order["x"] if prevented else None),
    )


def _average(order: Fields) -> Decimal | None:
    if order.get("ap") is not None:
        return read.nonzero(order, "ap")
    quote, filled = read.number(order, "Z"), read.number(order, "z")
    if not quote or not filled:
        return None
    average = exact_ratio(quote, filled)
    return parse_decimal("Z", average) if EXACT.multiply(average, filled) == quote else None


def _look_back(of: Of, raw: bytes, decoded: Decoded) -> None:
    trade = fields_of(raw, "trade")
    buyer, maker = ("isBuyer", "isMaker") if "isBuyer" in trade else ("buyer", "maker")
    report = read.fill(
        **of.at(read.epoch(trade, "time", micros=True)),
        symbol=read.required(trade, "symbol"),
        exec_id=_trade_id(trade, "id"),
        venue_order_id=read.required(trade, "orderId"),
        side=Side.BUY if read.flag(trade, buyer) else Side.SELL,
        last_qty=read.positive(trade, "qty"),
        last_px=read.positive(trade, "price"),
        fee=read.number(trade, "commission"),
        fee_currency=read.text(trade, "commissionAsset"),
        liquidity=Liquidity.MAKER if read.flag(trade, maker) else Liquidity.TAKER,
    )
    decoded.reports.append((report, raw))


def _trade_id(fields: Fields, name: str) -> str:
    value = read.required(fields, name)
    if value in {"0", "-1"}:
        raise defect_error("missing_field", name, value, "a trade has its trade id", RESEND)
    return value


decode = decoder(_message)
