"""Coinbase: the user channel holds no fills, the REST list does; adjustments and inexact sizes go to a person."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import FillReport, Liquidity, Side
from streaming.venues.coinbase import decode
from tests.shared import needs_shared, shared

FILL: dict[str, Any] = {
    "entry_id": "22222-2222222-22222222", "trade_id": "1111-11111-111111", "order_id": "0000-000000-000000",
    "trade_time": "2024-01-15T10:30:00Z", "trade_type": "FILL", "price": "45123.45", "size": "0.005",
    "commission": "1.14", "product_id": "BTC-USD", "sequence_timestamp": "2024-01-15T10:30:00.123456Z",
    "liquidity_indicator": "MAKER", "size_in_quote": False, "user_id": "3333-333333-3333333", "side": "BUY",
    "retail_portfolio_id": "",
}  # fmt: skip


def one(**changes: Any) -> FillReport:
    decoded = decode("C", json.dumps({"fills": [FILL | changes], "cursor": ""}).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
    return report


def others(value: Any) -> dict[str, int]:
    decoded = decode("C", json.dumps(value).encode())
    assert not decoded.reports
    assert not decoded.defects
    return decoded.others


def defect(value: Any) -> tuple[str, str]:
    decoded = decode("C", json.dumps(value).encode())
    assert not decoded.reports
    ((found, _),) = decoded.defects
    return found.reason, found.field


def test_a_fill_of_the_list() -> None:
    report = one()
    assert (report.exec_id, report.venue_order_id, report.cl_ord_id) == (
        "1111-11111-111111",
        "0000-000000-000000",
        None,
    )
    assert (report.side, report.last_qty, report.last_px) == (Side.BUY, Decimal("0.005"), Decimal("45123.45"))
    assert (report.fee, report.fee_currency, report.currency) == (Decimal("1.14"), "USD", "USD")
    assert (report.liquidity, report.account) == (Liquidity.MAKER, "")
    assert one(retail_portfolio_id="P-1").account == "P-1"
    assert one(liquidity_indicator="UNKNOWN_LIQUIDITY_INDICATOR").liquidity is None


def test_a_currency_is_not_guessed() -> None:
    report = one(product_id="BIT-28JUL23-CDE")
    assert (report.currency, report.fee, report.fee_currency) == (None, Decimal("1.14"), None)


@pytest.mark.parametrize("kind", ["REVERSAL", "CORRECTION", "SYNTHETIC", "NEW_ONE"])
def test_an_adjustment_is_for_a_person(kind: str) -> None:
    assert defect({"fills": [FILL | {"trade_type": kind}]}) == ("unknown_value", "trade_type")


def test_a_size_in_quote_is_a_quantity_only_where_it_is_exact() -> None:
    assert one(size="225.61725", size_in_quote=True).last_qty == Decimal("0.005")
    assert defect({"fills": [FILL | {"size": "10", "size_in_quote": True}]}) == ("inexact", "size")


def test_a_bad_fill_costs_only_itself() -> None:
    decoded = decode("C", json.dumps({"fills": [FILL, FILL | {"side": "HOLD"}, 7]}).encode())
    assert len(decoded.reports) == 1
    assert [(d.reason, d.field) for d, _ in decoded.defects] == [("unknown_value", "side"), ("wrong_type", "fill")]


def test_the_user_channel_is_counted_not_taken_for_fills() -> None:
    order = {"order_id": "o", "cumulative_quantity": "0.5", "avg_price": "100", "status": "OPEN"}
    events = [{"type": "update", "orders": [order, order]}, {"type": "snapshot", "orders": [], "positions": {}}]
    assert others({"channel": "user", "events": events}) == {"order_update": 2}
    positions = {"perpetual_futures_positions": [], "expiring_futures_positions": []}
    assert others({"channel": "user", "events": [{"orders": [], "positions": positions}]}) == {"positions": 1}


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"channel": "heartbeats", "events": []}) == {"heartbeat": 1}
    assert others({"channel": "subscriptions", "events": []}) == {"subscriptions": 1}
    assert others({"type": "error", "message": "authentication failure"}) == {"error": 1}
    assert defect({"channel": "fills"}) == ("unknown_value", "channel")
    assert defect({"channel": "user"}) == ("missing_field", "events")
    assert defect({"channel": "user", "events": [{"type": "update"}]}) == ("missing_field", "orders or positions")
    assert defect({"channel": "user", "events": [{"orders": [1]}]}) == ("wrong_type", "orders")
    assert defect({}) == ("missing_field", "channel or fills")


@needs_shared
@pytest.mark.shared
def test_the_real_message() -> None:
    decoded = decode("C", shared("samples/coinbase/ws_user.json").read_bytes())
    assert (decoded.reports, decoded.defects, decoded.others) == ([], [], {"order_update": 1})
