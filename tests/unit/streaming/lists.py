"""One good item of every list that a JSON format has, with the message that holds it."""

from __future__ import annotations

from typing import Any

Lists = tuple[tuple[str, dict[str, Any]], ...]

_BINANCE: Lists = (
    (
        "[%s]",
        {
            "symbol": "S",
            "id": 1,
            "orderId": 2,
            "price": "1",
            "qty": "1",
            "commission": "0",
            "commissionAsset": "B",
            "time": 1709654401000,
            "isBuyer": True,
            "isMaker": True,
        },
    ),
)
_KRAKEN: Lists = (
    (
        '{"channel":"executions","data":[%s]}',
        {
            "exec_type": "trade",
            "order_id": "O",
            "exec_id": "E",
            "symbol": "A/B",
            "side": "buy",
            "last_qty": 1,
            "last_price": 2,
            "timestamp": "2023-09-22T10:33:05.709993Z",
        },
    ),
    (
        '{"channel":"executions","data":[%s]}',
        {
            "exec_type": "canceled",
            "order_id": "O",
            "order_status": "canceled",
            "cum_qty": 1,
            "timestamp": "2023-09-22T10:33:05.709993Z",
        },
    ),
    (
        '{"feed":"fills","fills":[%s]}',
        {
            "instrument": "I",
            "time": 1595425047077,
            "price": 2,
            "buy": True,
            "qty": 1,
            "order_id": "O",
            "fill_id": "F",
            "fill_type": "taker",
            "fee_paid": 0.1,
            "fee_currency": "USD",
        },
    ),
    (
        '{"fills":[%s]}',
        {
            "fill_id": "F",
            "symbol": "S",
            "side": "buy",
            "order_id": "O",
            "size": 1,
            "price": 2,
            "fillTime": "2020-07-22T13:37:27.077Z",
            "fillType": "taker",
        },
    ),
    (
        '{"feed":"open_orders_snapshot","orders":[%s]}',
        {
            "instrument": "I",
            "time": 1612275024153,
            "order_id": "O",
            "last_update_time": 1612275024153,
            "qty": 1,
            "filled": 0,
            "limit_price": 2,
            "direction": 0,
        },
    ),
)
_CANONICAL: Lists = (
    (
        '{"fills":[%s]}',
        {
            "type": "fill",
            "exec_id": "E",
            "cl_ord_id": "M",
            "account": "A",
            "symbol": "S",
            "side": "buy",
            "last_qty": "1",
            "last_px": "2",
            "fee": "0.1",
            "transact_time": "2026-01-02T03:04:05Z",
        },
    ),
    (
        '{"channel":"executions","data":[%s]}',
        {
            "type": "canceled",
            "cl_ord_id": "M",
            "ord_status": "Canceled",
            "cum_qty": "1",
            "transact_time": "2026-01-02T03:04:05Z",
        },
    ),
)
_COINBASE: Lists = (
    (
        '{"fills":[%s]}',
        {
            "trade_id": "T",
            "order_id": "O",
            "trade_time": "2024-01-15T10:30:00Z",
            "trade_type": "FILL",
            "price": "1",
            "size": "1",
            "commission": "0.1",
            "product_id": "A-B",
            "side": "BUY",
        },
    ),
    (
        '{"channel":"user","events":[{"orders":[%s]}]}',
        {
            "order_id": "O",
            "status": "OPEN",
            "product_id": "A-B",
            "creation_time": "2024-01-15T10:30:00Z",
            "order_side": "BUY",
            "cumulative_quantity": "0",
        },
    ),
    (
        '{"channel":"user","events":[%s]}',
        {
            "type": "update",
            "orders": [
                {"order_id": "O", "status": "OPEN", "product_id": "A-B", "creation_time": "2024-01-15T10:30:00Z"}
            ],
        },
    ),
)
_DERIBIT: Lists = (
    (
        '{"data":[%s]}',
        {
            "trade_id": "1",
            "order_id": "2",
            "timestamp": 1590484156350,
            "price": 1,
            "amount": 1,
            "direction": "buy",
            "instrument_name": "I",
            "fee": 0.1,
            "fee_currency": "BTC",
            "liquidation": "M",
        },
    ),
    (
        '{"params":{"channel":"user.orders.a","data":[%s]}}',
        {
            "order_id": "2",
            "order_state": "open",
            "amount": 1,
            "last_update_timestamp": 1590484156350,
            "direction": "buy",
            "instrument_name": "I",
        },
    ),
)
LISTS: dict[str, Lists] = {
    "canonical": _CANONICAL,
    "binance": _BINANCE,
    "binance_spot": _BINANCE,
    "binance_usdm": _BINANCE,
    "kraken": _KRAKEN,
    "kraken_futures": _KRAKEN,
    "coinbase": _COINBASE,
    "deribit": _DERIBIT,
}
