"""Deribit: every trade of a notification is a fill of its own, on whichever channel it comes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import FillReport, Liquidity, Side
from streaming.venues.deribit import decode
from tests.shared import needs_shared, shared

TRADE: dict[str, Any] = {
    "trade_seq": 30289432, "trade_id": "48079254", "timestamp": 1590484156350, "state": "filled", "price": 8954,
    "order_type": "market", "order_id": "4008965646", "matching_id": None, "mark_price": 8952.86,
    "liquidity": "T", "instrument_name": "BTC-PERPETUAL", "fee_currency": "BTC", "direction": "sell",
    "amount": 20, "label": "m-1",
}  # fmt: skip


def notified(data: Any, channel: str = "user.trades.BTC-PERPETUAL.raw") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def one(message: Any) -> FillReport:
    decoded = decode("D", json.dumps(message).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
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


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"method": "heartbeat", "params": {"type": "test_request"}}) == {"heartbeat": 1}
    assert others(notified({}, "user.orders.BTC-PERPETUAL.raw")) == {"order_update": 1}
    changes = {"trades": [], "orders": [{"order_id": "1"}]}
    assert others(notified(changes, "user.changes.any.BTC.raw")) == {"order_update": 1}
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
    assert (first.exec_id, second.exec_id) == ("48079254", "48079255")
    assert first.report_id != second.report_id
    assert (first.transact_ns, first.fee, first.fee_currency) == (second.transact_ns, Decimal("0.00000168"), "BTC")
    assert (first.last_qty, first.last_px, first.cl_ord_id) == (Decimal(20), Decimal(8954), None)
