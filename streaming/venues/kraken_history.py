"""Kraken spot's look-back: one trade of ``TradesHistory``, one order of ``QueryOrders``, for ``kraken.decode``.

Read: ``{"exec_id": …, "symbol": "BTC/USD", "trade": {…}}``: the trade as Kraken wrote it, with its id, which is
the key beside it there, and the stream's name of its pair (``streaming.look_back.kraken``).

``{"order_id": …, "symbol": …, "cl_ord_id": …, "queried": {…}}`` is an order in the same way, with the names that
it was asked for by.

Sources: https://docs.kraken.com/api-reference/account-data/get-trades-history, …/query-orders-info.

Traps:

- The key is the stream's ``exec_id``; ``trade_id`` is counted per pair and both sides share it.
- ``time`` is seconds with four decimals, the stream's has six: one instant, cut. Only its date is in the identity.
- ``fee`` is in the quote currency, as the documentation says.
- There is no client order id: the fill is tied by ``ordertxid``.
- Of an order only its beginning and its end are dated (``opentm``, ``closetm``): an open order's totals count as
  old, and are compared with no fill that came later.
- ``price`` is the average of what was executed, 0 of nothing; ``closed`` is filled; ``pending`` has not got to the
  book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_order_report
from ledger.domain.numbers import EXACT
from ledger.domain.records import ExecType, Liquidity, OrdStatus, Side
from ledger.domain.times import NANOS
from streaming.venues import json_fields as read
from streaming.venues.canonical_defects import RESEND
from streaming.venues.json_messages import Fields, Of, fields_of

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_ORDERS = {
    "pending": OrdStatus.PENDING_NEW,
    "open": OrdStatus.NEW,
    "closed": OrdStatus.FILLED,
    "canceled": OrdStatus.CANCELED,
    "expired": OrdStatus.EXPIRED,
}
_EARLIEST, _LATEST = 946_684_800, 9_214_646_400  # 2000 to 2261, as for all times


def read_trade(of: Of, raw: bytes, decoded: Decoded) -> None:
    """Read one trade. Raises ``DefectError``."""
    item = fields_of(raw, "trade")
    trade = item.get("trade")
    if not isinstance(trade, dict):
        raise defect_error("wrong_type", "trade", repr(trade), "an object is required", RESEND)
    symbol = read.required(item, "symbol")
    quote = symbol.partition("/")[2] or None
    fee = read.number(trade, "fee")
    maker = None if trade.get("maker") is None else read.flag(trade, "maker")
    report = read.fill(
        **of.at(_time(trade)),
        symbol=symbol,
        exec_id=read.required(item, "exec_id"),
        venue_order_id=read.required(trade, "ordertxid"),
        side=read.one_of(trade, "type", _SIDES),
        last_qty=read.positive(trade, "vol"),
        last_px=read.positive(trade, "price"),
        currency=quote,
        fee=fee,
        fee_currency=None if fee is None else quote,
        liquidity={None: None, True: Liquidity.MAKER, False: Liquidity.TAKER}[maker],
    )
    decoded.reports.append((report, raw))


def _time(fields: Fields, name: str = "time") -> int:
    seconds = read.positive(fields, name)
    if not _EARLIEST <= seconds < _LATEST:
        raise defect_error("not_a_time", name, str(seconds), "seconds from 2000 to 2261 are required", RESEND)
    return int(EXACT.multiply(seconds, NANOS))


def read_order(of: Of, raw: bytes, decoded: Decoded) -> None:
    """Read one order. Raises ``DefectError``."""
    item = fields_of(raw, "order")
    order = item.get("queried")
    if not isinstance(order, dict):
        raise defect_error("wrong_type", "queried", repr(order), "an object is required", RESEND)
    said = order.get("descr")
    described: Fields = said if isinstance(said, dict) else {}
    status, filled = read.one_of(order, "status", _ORDERS), read.number(order, "vol_exec")
    if status is OrdStatus.NEW and filled:
        status = OrdStatus.PARTIALLY_FILLED
    report = make_order_report(
        **of.at(_time(order, "opentm" if order.get("closetm") is None else "closetm")),
        symbol=read.required(item, "symbol"),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=status,
        cl_ord_id=read.text(order, "cl_ord_id") or read.text(item, "cl_ord_id"),
        venue_order_id=read.required(item, "order_id"),
        side=read.maybe(described, "type", _SIDES),
        order_qty=read.quantity(order, "vol"),
        cum_qty=filled,
        avg_px=read.nonzero(order, "price"),
        reason=read.text(order, "reason"),
    )
    decoded.reports.append((report, raw))
