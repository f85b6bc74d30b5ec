"""Kraken: the ``executions`` channel of spot (WebSocket v2), the ``fills`` feed of futures and its look-back.

Read: ``{"channel": "executions", "type": "snapshot" | "update", "data": […]}``; ``{"feed": "fills_snapshot" |
"fills", "fills": […]}`` of futures; ``{"result": "success", "fills": […]}`` of futures over REST.

Sources: https://docs.kraken.com/api/docs/websocket-v2/executions,
https://docs.kraken.com/exchange/api-reference/futures-websocket/fills,
https://docs.kraken.com/api/docs/futures-api/trading/get-fills.

Traps:

- A ``trade`` that completes its order says ``partially_filled``; a separate event ``filled`` follows. What trades
  is told by ``exec_type`` alone: ``trade`` is a fill, ``filled`` repeats totals and is counted.
- ``trade_id`` is counted per pair; ``exec_id`` is the execution's own and the identity.
- A snapshot (``snap_trades``) repeats the last 50 fills after any reconnect: the same identities, duplicates.
- ``sequence`` counts a subscription's messages and starts over with each: no part of the identity.
- Fees are a list. Of one asset they are summed; of several there is no one fee, and none is given.
- ``order_userref`` is a number shared by orders: no ClOrdID. ``cl_ord_id`` is.
- Futures: ``account`` is in the snapshot and neither in the updates nor over REST: it is left out everywhere, or
  one fill would have two identities. Symbols are taken in upper case, however they are spelt. The fields have
  other names over REST (``size``, ``side``, ``fillTime``), which gives no fee.
- Futures: an unknown ``fill_type`` is a defect: it may be no trade of ours. Liquidations, assignments and unwinds
  move the position, are fills, and are counted beside that.
- Neither stream takes back a trade: there are no busts and no corrects.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.numbers import EXACT, ZERO, parse_decimal
from ledger.domain.records import Liquidity, Side
from streaming.venues.canonical_defects import RESEND, missing, unknown_value
from streaming.venues.json_fields import (
    Fields,
    Members,
    Of,
    count,
    decode_with,
    each,
    epoch,
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

    from ledger.domain.records import FillReport
    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_LIQUIDITY = {"m": Liquidity.MAKER, "t": Liquidity.TAKER}
_EXECUTIONS = {
    name: name
    for name in (
        "pending_new",
        "new",
        "trade",
        "filled",
        "iceberg_refill",
        "canceled",
        "expired",
        "amended",
        "restated",
        "status",
    )
}
# what kind of fill: its liquidity, and the name it is counted by where nobody of ours traded
_FILL_TYPES: dict[str, tuple[Liquidity | None, str | None]] = {
    "maker": (Liquidity.MAKER, None),
    "taker": (Liquidity.TAKER, None),
    "takerAfterEdit": (Liquidity.TAKER, None),
    "liquidation": (None, "liquidation"),
    "assignee": (None, "assignment"),
    "assignor": (None, "assignment"),
    "unwindBankrupt": (None, "unwind"),
    "unwindCounterparty": (None, "unwind"),
}
_CHANNELS = {"heartbeat": "heartbeat", "status": "system_status", "balances": "balances"}
_FEEDS = {
    name: name
    for name in (
        "heartbeat",
        "open_orders",
        "open_orders_snapshot",
        "open_orders_verbose",
        "open_orders_verbose_snapshot",
        "open_positions",
        "balances",
        "balances_snapshot",
        "account_log",
        "account_log_snapshot",
        "notifications_auth",
    )
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


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one message or one look-back answer. Never raises."""
    return decode_with(partial(_message, Of(venue, account)), raw)


def _message(of: Of, raw: bytes, decoded: Decoded) -> None:
    top = members(raw)
    if "channel" in top:
        _spot(of, top, raw, decoded)
    elif "event" in top:
        count(decoded, _known("event", word(top, "event"), _EVENTS))
    elif "feed" in top:
        feed = word(top, "feed")
        if feed in {"fills", "fills_snapshot"}:
            _list(top, "fills", raw, decoded, partial(_future, of))
        else:
            count(decoded, _known("feed", feed, _FEEDS))
    elif "fills" in top:
        _list(top, "fills", raw, decoded, partial(_future_look_back, of))
    elif "error" in top:
        count(decoded, "error")
    elif "method" in top:
        count(decoded, "response")
    else:
        raise missing("channel, feed or fills")


def _spot(of: Of, top: Members, raw: bytes, decoded: Decoded) -> None:
    channel = word(top, "channel")
    if channel == "executions":
        _list(top, "data", raw, decoded, partial(_execution, of))
    else:
        count(decoded, _known("channel", channel, _CHANNELS))


def _list(top: Members, name: str, raw: bytes, decoded: Decoded, read: partial[None]) -> None:
    if name not in top:
        raise missing(name)
    each(decoded, raw, bytes(top[name]), name, read)


def _known(field: str, value: str | None, known: dict[str, str]) -> str:
    if value is None:
        raise missing(field)
    if value not in known:
        raise unknown_value(field, value, known)
    return known[value]


def _execution(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "execution")
    exec_type = str(one_of(event, "exec_type", _EXECUTIONS))
    if exec_type != "trade":
        count(decoded, exec_type)
        return
    symbol = required(event, "symbol")
    fee, fee_currency = _fee(event)
    report = fill(
        of,
        symbol=symbol,
        exec_id=required(event, "exec_id"),
        order_id=required(event, "order_id"),
        cl_ord_id=text(event, "cl_ord_id"),
        side=one_of(event, "side", _SIDES),
        qty=positive(event, "last_qty"),
        px=positive(event, "last_price"),
        cum_qty=number(event, "cum_qty"),
        avg_px=number(event, "avg_price"),
        currency=symbol.partition("/")[2] or None,  # "BASE/QUOTE"
        fee=fee,
        fee_currency=fee_currency,
        liquidity=one_of(event, "liquidity_ind", _LIQUIDITY) if event.get("liquidity_ind") else None,
        transact_ns=utc(event, "timestamp"),
    )
    decoded.reports.append((report, raw))


def _fee(event: Fields) -> tuple[Decimal | None, str | None]:
    fees = event.get("fees")
    if fees is None:
        return None, None
    if not isinstance(fees, list) or not all(isinstance(entry, dict) for entry in fees):
        raise defect_error("wrong_type", "fees", repr(fees), "a list of objects is required", RESEND)
    assets = {required(entry, "asset") for entry in fees}
    if len(assets) != 1:
        return None, None
    total = ZERO
    for entry in fees:
        total = EXACT.add(total, number(entry, "qty") or ZERO)
    return parse_decimal("fees", total), assets.pop()


def _future(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "fill")
    liquidity, forced = one_of(event, "fill_type", _FILL_TYPES)
    report = fill(
        of,
        symbol=required(event, "instrument").upper(),
        exec_id=required(event, "fill_id"),
        order_id=required(event, "order_id"),
        cl_ord_id=text(event, "cli_ord_id"),
        side=Side.BUY if flag(event, "buy") else Side.SELL,
        qty=positive(event, "qty"),
        px=positive(event, "price"),
        fee=number(event, "fee_paid"),
        fee_currency=text(event, "fee_currency"),
        liquidity=liquidity,
        transact_ns=epoch(event, "time"),
    )
    _keep(decoded, report, raw, forced)


def _future_look_back(of: Of, raw: bytes, decoded: Decoded) -> None:
    event = fields_of(raw, "fill")
    liquidity, forced = one_of(event, "fillType", _FILL_TYPES)
    report = fill(
        of,
        symbol=required(event, "symbol").upper(),
        exec_id=required(event, "fill_id"),
        order_id=required(event, "order_id"),
        cl_ord_id=text(event, "cliOrdId"),
        side=one_of(event, "side", _SIDES),
        qty=positive(event, "size"),
        px=positive(event, "price"),
        liquidity=liquidity,
        transact_ns=utc(event, "fillTime"),
    )
    _keep(decoded, report, raw, forced)


def _keep(decoded: Decoded, report: FillReport, raw: bytes, forced: str | None) -> None:
    decoded.reports.append((report, raw))
    if forced is not None:
        count(decoded, forced)
