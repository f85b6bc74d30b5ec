"""Coinbase: the user channel says states, the REST list fills; adjustments and inexact sizes go to a person."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Side
from streaming.venues.coinbase import decode
from tests.shared import needs_shared, shared

FILL: dict[str, Any] = {
    "entry_id": "22222-2222222-22222222", "trade_id": "1111-11111-111111", "order_id": "0000-000000-000000",
    "trade_time": "2024-01-15T10:30:00Z", "trade_type": "FILL", "price": "45123.45", "size": "0.005",
    "commission": "1.14", "product_id": "BTC-USD", "sequence_timestamp": "2024-01-15T10:30:00.123456Z",
    "liquidity_indicator": "MAKER", "size_in_quote": False, "user_id": "3333-333333-3333333", "side": "BUY",
    "retail_portfolio_id": "",
}  # fmt: skip
ORDER: dict[str, Any] = {
    "order_id": "0000-000000-000000", "client_order_id": "m-1", "cumulative_quantity": "0",
    "leaves_quantity": "0.01", "avg_price": "0", "total_fees": "0", "status": "OPEN", "product_id": "BTC-USD",
    "creation_time": "2024-01-15T10:29:00Z", "order_side": "BUY", "order_type": "Limit", "limit_price": "45000",
    "cancel_reason": "", "reject_reason": "", "retail_portfolio_id": "P-1",
}  # fmt: skip
SENT = "2024-01-15T10:30:00.5Z"


def user(*orders: Any, **event: Any) -> dict[str, Any]:
    return {"channel": "user", "timestamp": SENT, "events": [{"type": "update", "orders": list(orders)} | event]}


def state(**changes: Any) -> OrderReport:
    decoded = decode("C", json.dumps(user(ORDER | changes)).encode())
    assert not decoded.defects
    assert not decoded.others
    ((report, kept),) = decoded.reports
    assert isinstance(report, OrderReport)
    assert json.loads(kept) == ORDER | changes
    return report


def one(**changes: Any) -> FillReport:
    decoded = decode("C", json.dumps({"fills": [FILL | changes], "cursor": ""}).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
    assert isinstance(report, FillReport)
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


def test_an_order_of_the_user_channel_is_a_state_and_no_fill() -> None:
    report = state()
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.venue_order_id) == ("m-1", "0000-000000-000000")
    assert (report.symbol, report.side, report.account) == ("BTC-USD", Side.BUY, "P-1")
    assert (report.cum_qty, report.leaves_qty, report.avg_px) == (Decimal(0), Decimal("0.01"), None)
    assert (report.order_qty, report.limit_price, report.reason) == (None, Decimal(45000), None)
    assert report.transact_ns == 1_705_314_600_500_000_000  # the message's, not the creation's


@pytest.mark.parametrize(
    ("status", "exec_type", "ord_status"),
    [
        ("PENDING", ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
        ("OPEN", ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED),
        ("FILLED", ExecType.ORDER_STATUS, OrdStatus.FILLED),
        ("CANCELLED", ExecType.CANCELED, OrdStatus.CANCELED),
        ("EXPIRED", ExecType.EXPIRED, OrdStatus.EXPIRED),
        ("FAILED", ExecType.REJECTED, OrdStatus.REJECTED),
        ("CANCEL_QUEUED", ExecType.ORDER_STATUS, OrdStatus.PENDING_CANCEL),
        ("EDIT_QUEUED", ExecType.ORDER_STATUS, OrdStatus.PENDING_REPLACE),
        ("UNKNOWN_ORDER_STATUS", ExecType.ORDER_STATUS, None),
    ],
)
def test_the_totals_of_an_order_are_claims(status: str, exec_type: ExecType, ord_status: OrdStatus | None) -> None:
    report = state(status=status, cumulative_quantity="0.004", leaves_quantity="0.006", avg_price="44999.5")
    assert (report.exec_type, report.ord_status) == (exec_type, ord_status)
    assert (report.cum_qty, report.leaves_qty) == (Decimal("0.004"), Decimal("0.006"))
    assert report.avg_px == Decimal("44999.5")


def test_an_order_says_why_it_ended() -> None:
    assert state(status="CANCELLED", cancel_reason="User requested cancel").reason == "User requested cancel"
    assert state(status="FAILED", reject_reason="INSUFFICIENT_FUND").reason == "INSUFFICIENT_FUND"


def test_a_bad_order_costs_only_itself() -> None:
    decoded = decode("C", json.dumps(user(ORDER, ORDER | {"status": "LOST"}, 7)).encode())
    assert len(decoded.reports) == 1
    assert [(d.reason, d.field) for d, _ in decoded.defects] == [
        ("unknown_value", "status"),
        ("wrong_type", "order"),
    ]
    assert json.loads(decoded.defects[0][1])["status"] == "LOST"


def test_one_order_one_event_or_one_fill_alone_is_read() -> None:
    ((alone, _),) = decode("C", json.dumps(ORDER).encode()).reports
    assert isinstance(alone, OrderReport)
    assert alone.transact_ns == 1_705_314_540_000_000_000  # nothing but its creation is known
    ((event, _),) = decode("C", json.dumps({"type": "update", "orders": [ORDER]}).encode()).reports
    assert event == alone
    ((fill, _),) = decode("C", json.dumps(FILL).encode()).reports
    assert fill == one()


def test_positions_are_counted() -> None:
    positions = {"perpetual_futures_positions": [], "expiring_futures_positions": []}
    assert others(user(positions=positions)) == {"positions": 1}
    assert others(user(positions={})) == {}
    assert defect(user(positions=7)) == ("wrong_type", "positions")


def test_the_account_of_the_settings_is_whose_they_are_where_no_portfolio_is_said() -> None:
    for value in ({"fills": [FILL]}, user(ORDER | {"retail_portfolio_id": ""})):
        ((report, _),) = decode("C", json.dumps(value).encode(), "A-1").reports
        assert report.account == "A-1"
    assert decode("C", json.dumps(user(ORDER)).encode(), "A-1").reports[0][0].account == "P-1"


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"channel": "heartbeats", "events": []}) == {"heartbeat": 1}
    assert others({"channel": "subscriptions", "events": []}) == {"subscriptions": 1}
    assert others({"type": "error", "message": "authentication failure"}) == {"error": 1}
    assert defect({"channel": "fills"}) == ("unknown_value", "channel")
    assert defect({"channel": "user"}) == ("missing_field", "events")
    assert defect({"channel": "user", "events": [{"type": "update"}]}) == ("missing_field", "orders or positions")
    assert defect({"channel": "user", "events": [{"orders": 1}]}) == ("wrong_type", "orders")
    assert defect({}) == ("missing_field", "channel or fills")


@needs_shared
@pytest.mark.shared
def test_the_real_message() -> None:
    decoded = decode("C", shared("samples/coinbase/ws_user.json").read_bytes())
    ((report, _),) = decoded.reports
    assert (decoded.defects, decoded.others) == ([], {})
    assert isinstance(report, OrderReport)
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.venue_order_id) == (
        "11111-000000-000001",
        "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    )
    assert (report.symbol, report.side, report.account) == ("BTC-USD", Side.BUY, "")
    assert (report.cum_qty, report.leaves_qty, report.avg_px) == (Decimal(0), Decimal("0.001"), None)
    assert report.transact_ns == 1_775_572_206_000_000_000
