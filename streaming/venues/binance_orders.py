"""Binance: one order as ``GET /api/v3/order`` (spot) and ``GET /fapi/v1/order`` (USD-M) give it, for ``decode``.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api (query order),
https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/Query-Order.

Traps:

- ``updateTime`` is when the order last changed; an order is asked about later, but nothing has changed since.
- ``cummulativeQuoteQty`` is negative where the venue does not have it any more; the average is exact or none.
- ``price`` 0 is no limit, ``avgPrice`` (USD-M) 0 no average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.identity import make_order_report
from ledger.domain.numbers import EXACT, ZERO, exact_ratio, parse_decimal
from ledger.domain.records import ExecType, OrdStatus, Side
from streaming.venues import json_fields as read
from streaming.venues.json_messages import Fields, Of, fields_of

if TYPE_CHECKING:
    from decimal import Decimal

    from ledger.domain.records import OrderReport

SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
STATUSES = {
    "NEW": OrdStatus.NEW,
    "PENDING_NEW": OrdStatus.PENDING_NEW,
    "PARTIALLY_FILLED": OrdStatus.PARTIALLY_FILLED,
    "FILLED": OrdStatus.FILLED,
    "CANCELED": OrdStatus.CANCELED,
    "PENDING_CANCEL": OrdStatus.PENDING_CANCEL,
    "REJECTED": OrdStatus.REJECTED,
    "EXPIRED": OrdStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrdStatus.EXPIRED,
    "NEW_INSURANCE": OrdStatus.NEW,
    "NEW_ADL": OrdStatus.NEW,
}


def read_order(of: Of, raw: bytes) -> OrderReport:
    """Read one order. Raises ``DefectError``."""
    order = fields_of(raw, "order")
    return make_order_report(
        **of.at(read.epoch(order, "updateTime", micros=True)),
        symbol=read.required(order, "symbol"),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=read.one_of(order, "status", STATUSES),
        cl_ord_id=read.text(order, "clientOrderId"),
        venue_order_id=read.required(order, "orderId"),
        side=read.maybe(order, "side", SIDES),
        order_qty=read.quantity(order, "origQty"),
        limit_price=read.nonzero(order, "price"),
        cum_qty=read.number(order, "executedQty"),
        avg_px=_average(order),
    )


def _average(order: Fields) -> Decimal | None:
    if order.get("avgPrice") is not None:
        return read.nonzero(order, "avgPrice")
    quote, filled = read.number(order, "cummulativeQuoteQty"), read.number(order, "executedQty")
    if not quote or not filled or quote < ZERO:
        return None
    average = exact_ratio(quote, filled)
    return parse_decimal("cummulativeQuoteQty", average) if EXACT.multiply(average, filled) == quote else None
