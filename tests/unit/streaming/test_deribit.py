"""Deribit: every trade of a notification is a fill of its own, on whichever channel it comes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Side
from streaming.venues.deribit import decode
from tests.shared import needs_shared, shared

TRADE: dict[str, Any] = {
    "trade_seq": 30289432, "trade_id": "48079254", "timestamp": 1590484156350, "state": "filled", "price": 8954,
    "order_type": "market", "order_id": "4008965646", "matching_id": None, "mark_price": 8952.86,
    "liquidity": "T", "instrument_name": "BTC-PERPETUAL", "fee_currency": "BTC", "direction": "sell",
    "amount": 20, "label": "m-1",
}  # fmt: skip
ORDER: dict[str, Any] = {
    "order_id": "4008965646", "order_state": "open", "order_type": "limit", "instrument_name": "BTC-PERPETUAL",
    "creation_timestamp": 1590484156000, "last_update_timestamp": 1590484156350, "direction": "sell",
    "price": 8954.5, "amount": 40, "filled_amount": 0, "average_price": 0, "label": "m-1", "replaced": True,
    "contracts": 4, "is_liquidation": False,
}  # fmt: skip


def state(message: Any, others: dict[str, int] | None = None) -> OrderReport:
    decoded = decode("D", json.dumps(message).encode())
    assert not decoded.defects
    assert decoded.others == (others or {})
    ((report, _),) = decoded.reports
    assert isinstance(report, OrderReport)
    return report


def notified(data: Any, channel: str = "user.trades.BTC-PERPETUAL.raw") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def one(message: Any) -> FillReport:
    decoded = decode("D", json.dumps(message).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
    assert isinstance(report, FillReport)
    return report


def others(message: Any) -> dict[str, int]:
    decoded = decode("D", json.dumps(message).encode())
    assert not decoded.reports
    assert not decoded.defects
    return decoded.others


def defect(message: Any) -> tuple[str, str]:
    decoded = decode("D", json.dumps(message).encode())
    assert not decoded.reports
    ((found, _),) = decoded.defects
    return found.reason, found.field


def test_a_trade_is_one_fill_on_every_way_it_comes() -> None:
    report = one(notified([TRADE]))
    assert (report.exec_id, report.venue_order_id, report.cl_ord_id) == ("48079254", "4008965646", "m-1")
    assert (report.side, report.last_qty, report.last_px) == (Side.SELL, Decimal(20), Decimal(8954))
    assert (report.liquidity, report.transact_ns) == (Liquidity.TAKER, 1_590_484_156_350_000_000)
    for other in (
        notified(TRADE),
        {"data": [TRADE]},
        notified({"trades": [TRADE], "positions": []}, "user.changes.BTC-PERPETUAL.100ms"),
        {"jsonrpc": "2.0", "id": 1, "result": {"trades": [TRADE], "has_more": False}},
        {"jsonrpc": "2.0", "id": 1, "result": [TRADE]},
        TRADE,
    ):
        assert one(other) == report


def test_fees_with_an_exponent_are_exact_and_rebates_negative() -> None:
    raw = json.dumps({"data": [TRADE | {"fee": "FEE"}]}).encode()
    for digits, expected in ((b"1.68e-06", "0.00000168"), (b"-0.10000000000000001", "-0.10000000000000001")):
        ((report, _),) = decode("D", raw.replace(b'"FEE"', digits)).reports
        assert report.fee == Decimal(expected)


def test_the_identity_has_the_instrument_and_the_order() -> None:
    changes: tuple[dict[str, Any], ...] = ({}, {"instrument_name": "ETH-PERPETUAL"}, {"order_id": "1"})
    assert len({one({"data": [TRADE | change]}).report_id for change in changes}) == 3


def test_a_liquidation_fills_and_is_counted() -> None:
    decoded = decode("D", json.dumps(notified([TRADE | {"liquidation": "MT"}])).encode())
    assert len(decoded.reports) == 1
    assert decoded.others == {"liquidation": 1}
    assert defect(notified([TRADE | {"liquidation": "Q"}])) == ("unknown_value", "liquidation")


def test_an_order_is_one_state_on_every_way_it_comes() -> None:
    report = state(notified(ORDER, "user.orders.BTC-PERPETUAL.raw"))
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.venue_order_id) == ("m-1", "4008965646")
    assert (report.symbol, report.side) == ("BTC-PERPETUAL", Side.SELL)
    assert (report.order_qty, report.limit_price) == (Decimal(40), Decimal("8954.5"))
    assert (report.cum_qty, report.avg_px, report.reason) == (Decimal(0), None, None)
    assert report.transact_ns == 1_590_484_156_350_000_000
    for other in (
        notified([ORDER], "user.orders.future.BTC.100ms"),
        notified({"trades": [], "orders": [ORDER], "positions": []}, "user.changes.any.BTC.raw"),
        {"id": 1, "result": {"trades": [], "order": ORDER}},
        {"id": 1, "result": [ORDER]},
        ORDER,
    ):
        assert state(other) == report


@pytest.mark.parametrize(
    ("order_state", "exec_type", "ord_status"),
    [
        ("open", ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED),
        ("filled", ExecType.ORDER_STATUS, OrdStatus.FILLED),
        ("rejected", ExecType.REJECTED, OrdStatus.REJECTED),
        ("cancelled", ExecType.CANCELED, OrdStatus.CANCELED),
        ("untriggered", ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
        ("triggered", ExecType.TRIGGERED, OrdStatus.NEW),
        ("archive", ExecType.ORDER_STATUS, None),
    ],
)
def test_the_totals_of_an_order_are_claims(
    order_state: str, exec_type: ExecType, ord_status: OrdStatus | None
) -> None:
    change = {"order_state": order_state, "filled_amount": 20, "average_price": 8954.25, "cancel_reason": "why"}
    report = state(notified(ORDER | change, "user.orders.BTC-PERPETUAL.raw"))
    assert (report.exec_type, report.ord_status, report.reason) == (exec_type, ord_status, "why")
    assert (report.cum_qty, report.avg_px) == (Decimal(20), Decimal("8954.25"))


def test_a_market_order_has_no_limit() -> None:
    assert state(ORDER | {"price": "market_price"}).limit_price is None
    assert defect(ORDER | {"price": "dear"}) == ("not_a_number", "price")


def test_an_order_of_a_liquidation_is_counted_beside() -> None:
    assert state(ORDER | {"is_liquidation": True}, {"liquidation_order": 1}).exec_type is ExecType.NEW


def test_trades_and_orders_of_one_change_are_both_read() -> None:
    change = {"trades": [TRADE], "orders": [ORDER | {"order_state": "filled"}]}
    decoded = decode("D", json.dumps(notified(change, "user.changes.any.BTC.raw")).encode())
    assert [type(report) for report, _ in decoded.reports] == [FillReport, OrderReport]


def test_the_account_of_the_settings_is_whose_they_are() -> None:
    for item in (TRADE, ORDER):
        ((report, _),) = decode("D", json.dumps(item).encode(), "A-1").reports
        assert report.account == "A-1"


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"method": "heartbeat", "params": {"type": "test_request"}}) == {"heartbeat": 1}
    assert others(notified({}, "user.portfolio.btc")) == {"portfolio": 1}
    assert defect(notified({}, "user.orders.BTC-PERPETUAL.raw")) == ("missing_field", "order_state")
    lost = notified(ORDER | {"order_state": "lost"}, "user.orders.BTC-PERPETUAL.raw")
    assert defect(lost) == ("unknown_value", "order_state")
    assert others({"id": 1, "result": ["user.trades.any.any.raw"]}) == {"response": 1}
    assert others({"id": 1, "result": "ok"}) == {"response": 1}
    assert others({"id": 1, "error": {"code": 13004}}) == {"error": 1}
    assert defect(notified([], "user.busts.any")) == ("unknown_value", "channel")
    assert defect({"method": "bust"}) == ("unknown_value", "method")
    assert defect({"method": "subscription", "params": {}}) == ("missing_field", "channel")
    assert defect({"params": {"channel": "user.trades.x"}}) == ("missing_field", "data")
    assert defect({}) == ("missing_field", "params, data or result")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"trade_id": ""}, ("missing_field", "trade_id")),
        ({"direction": "zero"}, ("unknown_value", "direction")),
        ({"amount": 0}, ("not_positive", "amount")),
        ({"timestamp": 1590484156350000}, ("not_a_time", "timestamp")),
        ({"price": [1]}, ("not_a_number", "price")),
        ({"label": "x" * 257}, ("out_of_range", "label")),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert defect(notified([TRADE | change])) == expected


@needs_shared
@pytest.mark.shared
def test_two_real_fills_of_one_millisecond_stay_two() -> None:
    name = "samples/deribit/doc_user_trades_instrument_two_fills_same_ms.json"
    decoded = decode("D", shared(name).read_bytes())
    assert not decoded.defects
    first, second = (report for report, _ in decoded.reports)
    assert isinstance(first, FillReport)
    assert isinstance(second, FillReport)
    assert (first.exec_id, second.exec_id) == ("48079254", "48079255")
    assert first.report_id != second.report_id
    assert (first.transact_ns, first.fee, first.fee_currency) == (second.transact_ns, Decimal("0.00000168"), "BTC")
    assert (first.last_qty, first.last_px, first.cl_ord_id) == (Decimal(20), Decimal(8954), None)
