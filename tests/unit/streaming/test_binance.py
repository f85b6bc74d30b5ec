"""Binance: what trades is a fill, by the trade's own fields; the rest are order states; the traps hold."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Side
from streaming.venues.binance import decode
from tests.shared import needs_shared, shared
from tests.unit.streaming.agreement import assert_one_report

SPOT: dict[str, Any] = {
    "e": "executionReport", "E": 1709654401000, "s": "ETHUSDT", "c": "m-1", "S": "BUY", "q": "1.0", "p": "2500",
    "x": "TRADE", "X": "FILLED", "i": 12345678, "l": "0.4", "z": "1.0", "L": "2499.50", "n": "0.001", "N": "ETH",
    "T": 1709654401000, "t": 98765432, "m": True,
}  # fmt: skip
FUTURE: dict[str, Any] = {
    "s": "BTCUSDT", "c": "m-2", "S": "SELL", "x": "TRADE", "X": "FILLED", "i": 8886774, "l": "0.040", "z": "0.04",
    "L": "64089.20", "ap": "64089.2", "N": "USDT", "n": "0.01", "T": 1721895408214, "t": 109100866, "m": False,
}  # fmt: skip
LITE = {name: FUTURE[name] for name in "scSlLtimT"} | {"e": "TRADE_LITE", "E": 1721895408092}
MY_TRADE = {
    "symbol": "ETHUSDT", "id": 98765432, "orderId": 12345678, "orderListId": -1, "price": "2499.50000000",
    "qty": "0.40000000", "quoteQty": "999.8", "commission": "0.001", "commissionAsset": "ETH",
    "time": 1709654401000, "isBuyer": True, "isMaker": True, "isBestMatch": True,
}  # fmt: skip


ORDER: dict[str, Any] = {
    "e": "executionReport", "E": 1709654400001, "s": "ETHUSDT", "c": "m-1", "S": "BUY", "q": "1.0", "p": "2500.00",
    "C": "", "x": "NEW", "X": "NEW", "r": "NONE", "i": 12345678, "l": "0.00", "z": "0.00", "L": "0.00", "n": "0",
    "N": None, "T": 1709654400000, "t": -1, "I": 8641984, "Z": "0.00", "m": False,
}  # fmt: skip


def one(message: Any) -> FillReport:
    decoded = decode("B", json.dumps(message).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
    assert isinstance(report, FillReport)
    return report


def state(message: Any, others: dict[str, int] | None = None) -> OrderReport:
    raw = json.dumps(message).encode()
    decoded = decode("B", raw)
    assert not decoded.defects
    assert decoded.others == (others or {})
    ((report, kept),) = decoded.reports
    assert isinstance(report, OrderReport)
    assert kept == raw
    return report


def defect(message: Any) -> tuple[str, str]:
    raw = json.dumps(message).encode()
    decoded = decode("B", raw)
    assert not decoded.reports
    ((found, kept),) = decoded.defects
    assert kept == raw
    return found.reason, found.field


def update(**changes: Any) -> dict[str, Any]:
    return {"e": "ORDER_TRADE_UPDATE", "E": 1, "T": 1, "o": FUTURE | changes}


def test_a_spot_trade_is_a_fill() -> None:
    report = one(SPOT)
    assert (report.exec_id, report.venue_order_id, report.cl_ord_id) == ("98765432", "12345678", "m-1")
    assert (report.side, report.last_qty, report.last_px) == (Side.BUY, Decimal("0.4"), Decimal("2499.5"))
    assert (report.fee, report.fee_currency, report.liquidity) == (Decimal("0.001"), "ETH", Liquidity.MAKER)
    assert report.transact_ns == 1_709_654_401_000_000_000
    assert (report.account, report.cum_qty, report.avg_px) == ("", Decimal(1), None)
    assert one({"subscriptionId": 0, "event": SPOT}) == report
    assert one({"stream": "key", "data": SPOT}) == report
    assert one(SPOT | {"T": 1709654401000000}) == report  # microseconds


def test_the_average_of_spot_is_told_where_it_comes_out_exactly() -> None:
    assert one(SPOT | {"Z": "2499.50"}).avg_px == Decimal("2499.5")
    assert one(SPOT | {"z": "0.3", "Z": "100"}).avg_px is None
    assert one(SPOT | {"z": "0", "Z": "0"}).avg_px is None


def test_the_look_back_gives_the_same_identity_without_a_client_order_id() -> None:
    live, seen = one(SPOT), one([MY_TRADE])
    assert_one_report(live, seen)
    assert one(MY_TRADE) == seen  # one row, as a dead letter keeps it
    assert (seen.cl_ord_id, seen.venue_order_id) == (None, "12345678")
    assert (seen.fee, seen.fee_currency, seen.liquidity) == (live.fee, live.fee_currency, live.liquidity)
    assert one({"id": "q", "status": 200, "result": [MY_TRADE]}) == seen


def test_a_futures_look_back_says_buyer_and_maker() -> None:
    row = {k: v for k, v in MY_TRADE.items() if k not in {"isBuyer", "isMaker"}} | {"buyer": False, "maker": False}
    assert (one([row]).side, one([row]).liquidity) == (Side.SELL, Liquidity.TAKER)


def test_a_bad_row_of_a_look_back_costs_only_itself() -> None:
    decoded = decode("B", json.dumps([MY_TRADE | {"price": "x"}, MY_TRADE]).encode())
    assert len(decoded.reports) == 1
    ((found, raw),) = decoded.defects
    assert (found.reason, found.field) == ("not_a_number", "price")
    assert json.loads(raw)["price"] == "x"


def test_trade_lite_is_the_same_trade() -> None:
    lite, full = one(LITE), one(update())
    assert_one_report(lite, full)
    assert lite.content != full.content
    assert (lite.fee, full.fee) == (None, Decimal("0.01"))
    assert full.avg_px == Decimal("64089.2")


def test_trade_ids_repeat_across_symbols_and_on_both_orders_of_a_self_trade() -> None:
    ids = {one(SPOT | change).report_id for change in ({}, {"s": "BTCUSDT"}, {"i": 12345679, "S": "SELL"})}
    assert len(ids) == 3


@pytest.mark.parametrize("trade_id", [-1, 0, None, ""])
def test_a_trade_without_its_id_is_a_dead_letter(trade_id: object) -> None:
    assert defect(SPOT | {"t": trade_id}) == ("missing_field", "t")


def test_null_commission_is_no_fee() -> None:
    for change in ({"n": None, "N": None}, {"n": "0", "N": None}):
        report = one(SPOT | change)
        assert (report.fee, report.fee_currency) == (None, None)


@pytest.mark.parametrize(
    ("client_id", "name"),
    [("autoclose-1721", "liquidation"), ("adl_autoclose", "adl"), ("settlement_autoclose-9", "settlement")],
)
def test_forced_orders_fill_by_their_order_id_and_are_counted(client_id: str, name: str) -> None:
    decoded = decode("B", json.dumps(update(c=client_id)).encode())
    ((report, _),) = decoded.reports
    assert (report.cl_ord_id, report.venue_order_id) == (None, "8886774")
    assert decoded.others == {f"{name}_trade": 1}
    placed = state(update(c=client_id, x="NEW", X="NEW", l="0", t=0), {f"{name}_new": 1})
    assert (placed.cl_ord_id, placed.venue_order_id, placed.reason) == (None, "8886774", name)


def test_calculated_fills_where_it_trades() -> None:
    assert one(update(x="CALCULATED")).last_qty == Decimal("0.04")
    assert state(update(x="CALCULATED", l="0")).exec_type is ExecType.CALCULATED
    assert defect(update(x="CALCULATED", t=0)) == ("missing_field", "t")


def test_a_new_order_is_a_state_with_what_it_asks() -> None:
    report = state(ORDER)
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.orig_cl_ord_id, report.venue_order_id) == ("m-1", None, "12345678")
    assert (report.symbol, report.side, report.exec_id) == ("ETHUSDT", Side.BUY, "8641984")
    assert (report.order_qty, report.limit_price) == (Decimal(1), Decimal(2500))
    assert (report.cum_qty, report.avg_px, report.reason) == (Decimal(0), None, None)
    assert report.transact_ns == 1_709_654_400_000_000_000
    assert state({"subscriptionId": 0, "event": ORDER}) == report
    assert state(ORDER | {"p": "0.00"}).limit_price is None


@pytest.mark.parametrize(
    ("execution", "status", "exec_type", "ord_status"),
    [
        ("CANCELED", "CANCELED", ExecType.CANCELED, OrdStatus.CANCELED),
        ("REPLACED", "PARTIALLY_FILLED", ExecType.REPLACED, OrdStatus.PARTIALLY_FILLED),
        ("REJECTED", "REJECTED", ExecType.REJECTED, OrdStatus.REJECTED),
        ("EXPIRED", "EXPIRED", ExecType.EXPIRED, OrdStatus.EXPIRED),
        ("AMENDMENT", "NEW", ExecType.RESTATED, OrdStatus.NEW),
        ("NEW", "NEW_ADL", ExecType.NEW, OrdStatus.NEW),
    ],
)
def test_what_does_not_trade_is_an_order_state(
    execution: str, status: str, exec_type: ExecType, ord_status: OrdStatus
) -> None:
    report = state(ORDER | {"x": execution, "X": status})
    assert (report.exec_type, report.ord_status) == (exec_type, ord_status)


def test_a_cancel_says_the_request_and_the_order_it_ended() -> None:
    report = state(ORDER | {"x": "CANCELED", "X": "CANCELED", "c": "cancel-1", "C": "m-1"})
    assert (report.cl_ord_id, report.orig_cl_ord_id) == ("cancel-1", "m-1")


def test_an_amendment_restates_quantity_and_price() -> None:
    report = state(update(x="AMENDMENT", X="NEW", q="0.05", p="64000", z="0", ap="0", l="0", t=0))
    assert (report.order_qty, report.limit_price, report.avg_px) == (Decimal("0.05"), Decimal(64000), None)
    assert (report.exec_type, report.cl_ord_id) == (ExecType.RESTATED, "m-2")


def test_trade_prevention_ends_an_order_only_if_it_expired_in_match() -> None:
    prevented = ORDER | {"x": "TRADE_PREVENTION", "z": "0.5", "Z": "1250"}
    ended, left = state(prevented | {"X": "EXPIRED_IN_MATCH"}), state(prevented | {"X": "PARTIALLY_FILLED"})
    assert (ended.exec_type, ended.ord_status, ended.order_qty) == (
        ExecType.EXPIRED,
        OrdStatus.EXPIRED,
        Decimal(1),
    )
    assert (ended.reason, ended.cum_qty, ended.avg_px) == ("TRADE_PREVENTION", Decimal("0.5"), Decimal(2500))
    assert (left.exec_type, left.ord_status, left.order_qty) == (
        ExecType.RESTATED,
        OrdStatus.PARTIALLY_FILLED,
        None,
    )


def test_a_reject_says_why() -> None:
    rejected = {"x": "REJECTED", "X": "REJECTED", "r": "INSUFFICIENT_BALANCE"}
    assert state(ORDER | rejected).reason == "INSUFFICIENT_BALANCE"
    assert defect(ORDER | {"X": "VANISHED"}) == ("unknown_value", "X")
    assert defect(ORDER | {"i": ""}) == ("missing_field", "i")


def test_the_account_of_the_settings_is_whose_they_are() -> None:
    for message in (SPOT, ORDER, [MY_TRADE]):
        ((report, _),) = decode("B", json.dumps(message).encode(), "A-1").reports
        assert report.account == "A-1"


def test_other_messages_are_counted_or_refused() -> None:
    def others(message: Any) -> dict[str, int]:
        return decode("B", json.dumps(message).encode()).others

    assert others({"e": "balanceUpdate"}) == {"balance_update": 1}
    assert others({"result": None, "id": 1}) == {"response": 1}
    assert others({"code": -1121, "msg": "Invalid symbol."}) == {"error": 1}
    assert others([]) == {}
    assert defect({"e": "tradeBusted"}) == ("unknown_value", "e")
    assert defect(SPOT | {"x": "BUST"}) == ("unknown_value", "x")
    assert defect({}) == ("missing_field", "e")
    assert defect({"e": "ORDER_TRADE_UPDATE", "o": 1}) == ("wrong_type", "o")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"l": "0"}, ("not_positive", "l")),
        ({"L": None}, ("missing_field", "L")),
        ({"S": "HOLD"}, ("unknown_value", "S")),
        ({"T": 0}, ("not_a_time", "T")),
        ({"T": "1709654401000"}, ("wrong_type", "T")),
        ({"s": ""}, ("missing_field", "s")),
        ({"i": True}, ("wrong_type", "i")),
        ({"m": "yes"}, ("wrong_type", "m")),
        ({"c": "a\0b"}, ("control_character", "c")),
        ({"n": "1e-30"}, ("out_of_range", "n")),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert defect(SPOT | change) == expected


@needs_shared
@pytest.mark.shared
def test_real_messages() -> None:
    def read(name: str) -> Any:
        return decode("B", shared(f"samples/{name}").read_bytes())

    trade = read("binance_spot/execution_report_trade.json")
    ((report, _),) = trade.reports
    assert (report.exec_id, report.cl_ord_id) == ("98765432", "x-TD67BGP9-T0000000000000")
    assert (report.last_qty, report.last_px, report.fee) == (Decimal(1), Decimal(2500), Decimal("0.001"))
    assert (report.cum_qty, report.avg_px) == (Decimal(1), Decimal(2500))
    documented = read("binance_spot/doc_executionReport_NEW_payload.json").reports[0][0]
    assert (documented.exec_type, documented.cl_ord_id) == (ExecType.NEW, "mUvoqJxFIILMdfAW5iGSOW")
    assert (documented.symbol, documented.side, documented.venue_order_id) == ("ETHBTC", Side.BUY, "4293153")
    assert (documented.order_qty, documented.limit_price) == (Decimal(1), Decimal("0.1026441"))
    new = read("binance_spot/execution_report_new.json").reports[0][0]
    canceled = read("binance_spot/execution_report_canceled.json").reports[0][0]
    assert (new.exec_type, new.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (canceled.exec_type, canceled.ord_status) == (ExecType.CANCELED, OrdStatus.CANCELED)
    assert canceled.cl_ord_id == new.cl_ord_id == "x-TD67BGP9-T0000000000000"
    assert canceled.venue_order_id == new.venue_order_id == "12345678"
    assert (canceled.orig_cl_ord_id, canceled.cum_qty, canceled.order_qty) == (None, Decimal(0), Decimal(1))
    future = read("binance_futures/order_update_new.json").reports[0][0]
    assert (future.exec_type, future.cl_ord_id, future.venue_order_id) == (ExecType.NEW, "TEST", "8886774")
    assert (future.order_qty, future.limit_price, future.avg_px) == (Decimal("0.001"), None, None)
    full, partial = (
        read(f"binance_futures/order_update_trade{end}.json").reports[0][0] for end in ("", "_partial")
    )
    assert (full.last_qty, full.last_px, full.liquidity) == (Decimal("0.001"), Decimal("7100.5"), Liquidity.MAKER)
    assert full.report_id == partial.report_id  # the samples share their trade id
