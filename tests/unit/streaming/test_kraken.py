"""Kraken: exec_type alone tells a fill; futures fills have one identity on the feed and over REST."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, Side
from streaming.venues.kraken import decode
from tests.shared import needs_shared, shared
from tests.unit.streaming.agreement import assert_one_report

TRADE: dict[str, Any] = {
    "order_id": "O-1", "order_userref": 3, "exec_id": "T-1", "exec_type": "trade", "trade_id": 62887576,
    "cl_ord_id": "m-1", "symbol": "BTC/USD", "side": "sell", "last_qty": 0.005, "last_price": 26599.9,
    "liquidity_ind": "t", "timestamp": "2023-09-22T10:33:05.709993Z", "order_status": "partially_filled",
    "cum_qty": 0.005, "avg_price": 26599.9, "fees": [{"asset": "USD", "qty": 0.3458}],
}  # fmt: skip
FUTURE: dict[str, Any] = {
    "instrument": "PF_XRPUSD", "time": 1595425047077, "price": 2.24061, "seq": 1, "buy": True, "qty": 1.0,
    "remaining_order_qty": 0.0, "order_id": "o-1", "cli_ord_id": "m-2", "fill_id": "f-1", "fill_type": "taker",
    "fee_paid": 0.001120305, "fee_currency": "USD", "order_type": "lmt",
}  # fmt: skip
REST: dict[str, Any] = {
    "fill_id": "f-1", "symbol": "pf_xrpusd", "side": "buy", "order_id": "o-1", "size": 1, "price": 2.24061,
    "fillTime": "2020-07-22T13:37:27.077Z", "fillType": "taker",
}  # fmt: skip
ORDER: dict[str, Any] = {
    "order_id": "O-1", "order_userref": 3, "cl_ord_id": "m-1", "symbol": "BTC/USD", "side": "sell",
    "order_qty": 0.005, "limit_price": 26500.0, "exec_type": "new", "order_status": "new", "cum_qty": 0,
    "avg_price": 0.0, "timestamp": "2023-09-22T10:33:05.709982Z",
}  # fmt: skip
OPEN: dict[str, Any] = {
    "instrument": "pf_xbtusd", "time": 1612275024153, "last_update_time": 1612275025153, "qty": 1000.0,
    "filled": 0.0, "limit_price": 34900.5, "stop_price": 0.0, "type": "limit", "order_id": "o-1",
    "cli_ord_id": "m-2", "direction": 1, "reduce_only": False,
}  # fmt: skip


def message(*events: dict[str, Any], kind: str = "update") -> dict[str, Any]:
    return {"channel": "executions", "type": kind, "data": list(events), "sequence": 10}


def others(value: Any) -> dict[str, int]:
    decoded = decode("K", json.dumps(value).encode())
    assert not decoded.reports
    assert not decoded.defects
    return decoded.others


def one(value: Any) -> FillReport:
    decoded = decode("K", json.dumps(value).encode())
    assert not decoded.defects
    ((report, _),) = decoded.reports
    assert isinstance(report, FillReport)
    return report


def state(value: Any, others: dict[str, int] | None = None) -> OrderReport:
    decoded = decode("K", json.dumps(value).encode())
    assert not decoded.defects
    assert decoded.others == (others or {})
    ((report, _),) = decoded.reports
    assert isinstance(report, OrderReport)
    return report


def change(reason: str, *, leaves: bool, feed: str = "open_orders", **changes: Any) -> dict[str, Any]:
    return {"feed": feed, "order": OPEN | changes, "is_cancel": leaves, "reason": reason}


def defect(value: Any) -> tuple[str, str]:
    decoded = decode("K", json.dumps(value).encode())
    assert not decoded.reports
    ((found, _),) = decoded.defects
    return found.reason, found.field


def test_a_trade_is_a_fill_to_the_last_digit() -> None:
    report = one(message(TRADE))
    assert (report.exec_id, report.venue_order_id, report.cl_ord_id) == ("T-1", "O-1", "m-1")
    assert (report.side, report.last_qty, report.last_px) == (Side.SELL, Decimal("0.005"), Decimal("26599.9"))
    assert (report.fee, report.fee_currency, report.currency) == (Decimal("0.3458"), "USD", "USD")
    assert (report.liquidity, report.transact_ns) == (Liquidity.TAKER, 1_695_378_785_709_993_000)


def test_filled_repeats_what_traded_and_is_an_order_status() -> None:
    filled = TRADE | {"exec_type": "filled", "order_status": "filled"}
    decoded = decode("K", json.dumps(message(TRADE, filled)).encode())
    (fill, _), (status, _) = decoded.reports
    assert isinstance(fill, FillReport)
    assert isinstance(status, OrderReport)
    assert (status.exec_type, status.ord_status) == (ExecType.ORDER_STATUS, OrdStatus.FILLED)
    assert (status.cum_qty, status.avg_px) == (Decimal("0.005"), Decimal("26599.9"))


def test_a_state_says_what_its_order_asks() -> None:
    report = state(message(ORDER))
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.venue_order_id) == ("m-1", "O-1")
    assert (report.symbol, report.side) == ("BTC/USD", Side.SELL)
    assert (report.order_qty, report.limit_price) == (Decimal("0.005"), Decimal(26500))
    assert (report.cum_qty, report.avg_px, report.transact_ns) == (Decimal(0), None, 1_695_378_785_709_982_000)


@pytest.mark.parametrize(
    ("exec_type", "order_status", "expected", "status"),
    [
        ("pending_new", "pending_new", ExecType.PENDING_NEW, OrdStatus.PENDING_NEW),
        ("canceled", "canceled", ExecType.CANCELED, OrdStatus.CANCELED),
        ("expired", "expired", ExecType.EXPIRED, OrdStatus.EXPIRED),
        ("amended", "new", ExecType.REPLACED, OrdStatus.NEW),
        ("restated", "partially_filled", ExecType.RESTATED, OrdStatus.PARTIALLY_FILLED),
        ("status", "triggered", ExecType.ORDER_STATUS, OrdStatus.NEW),
    ],
)
def test_what_does_not_trade_is_an_order_state(
    exec_type: str, order_status: str, expected: ExecType, status: OrdStatus
) -> None:
    report = state(message(ORDER | {"exec_type": exec_type, "order_status": order_status, "reason": "why"}))
    assert (report.exec_type, report.ord_status, report.reason) == (expected, status, "why")


def test_an_iceberg_refill_is_counted() -> None:
    assert others(message(ORDER | {"exec_type": "iceberg_refill"})) == {"iceberg_refill": 1}


def test_a_liquidated_execution_fills_and_is_counted() -> None:
    decoded = decode("K", json.dumps(message(TRADE | {"liquidated": True})).encode())
    assert len(decoded.reports) == 1
    assert decoded.others == {"liquidation": 1}


@pytest.mark.parametrize(
    ("raw", "field"),
    [(ORDER | {"order_status": "gone"}, "order_status"), (ORDER | {"side": "both"}, "side")],
)
def test_an_unknown_word_of_a_state_is_a_defect(raw: dict[str, Any], field: str) -> None:
    assert defect(message(raw)) == ("unknown_value", field)


@pytest.mark.parametrize("item", [TRADE, ORDER, FUTURE, REST, OPEN])
def test_an_item_alone_is_what_it_is_in_its_list(item: dict[str, Any]) -> None:
    listed = {"fills": {"feed": "fills", "fills": [FUTURE]}, "rest": {"result": "success", "fills": [REST]},
              "open": {"feed": "open_orders_snapshot", "orders": [OPEN]}}  # fmt: skip
    name = {id(FUTURE): "fills", id(REST): "rest", id(OPEN): "open"}.get(id(item))
    whole = message(item) if name is None else listed[name]
    alone = decode("K", json.dumps(item).encode())
    assert alone == decode("K", json.dumps(whole).encode())
    assert len(alone.reports) == 1


def test_the_account_of_the_settings_is_whose_they_are() -> None:
    for value in (message(TRADE), message(ORDER), {"feed": "fills_snapshot", "account": "x", "fills": [FUTURE]}):
        ((report, _),) = decode("K", json.dumps(value).encode(), "A-1").reports
        assert report.account == "A-1"


def test_a_snapshot_repeats_the_same_identity() -> None:
    live, again = one(message(TRADE)), one(message(TRADE, kind="snapshot"))
    assert live == again


def test_trade_ids_are_not_the_identity() -> None:
    assert one(message(TRADE)).report_id != one(message(TRADE | {"exec_id": "T-2"})).report_id
    assert one(message(TRADE)).report_id == one(message(TRADE | {"trade_id": 1})).report_id


@pytest.mark.parametrize(
    ("fees", "expected"),
    [
        ([{"asset": "USD", "qty": 0.1}, {"asset": "USD", "qty": 0.2}], (Decimal("0.3"), "USD")),
        ([{"asset": "USD", "qty": 0.1}, {"asset": "BTC", "qty": 0.2}], (None, None)),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_fees_of_one_asset_are_summed(fees: Any, expected: tuple[Decimal | None, str | None]) -> None:
    report = one(message(TRADE | {"fees": fees}))
    assert (report.fee, report.fee_currency) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"exec_id": ""}, ("missing_field", "exec_id")),
        ({"exec_type": "bust"}, ("unknown_value", "exec_type")),
        ({"last_qty": 0}, ("not_positive", "last_qty")),
        ({"liquidity_ind": "x"}, ("unknown_value", "liquidity_ind")),
        ({"timestamp": "2023-09-22 10:33"}, ("not_a_time", "timestamp")),
        ({"fees": {"USD": 1}}, ("wrong_type", "fees")),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert defect(message(TRADE | change)) == expected


def test_a_futures_fill_is_one_on_the_feed_in_its_snapshot_and_over_rest() -> None:
    update = one({"feed": "fills", "username": "u", "fills": [FUTURE]})
    snapshot = one({"feed": "fills_snapshot", "account": "a-b-c", "fills": [FUTURE]})
    rest = one({"result": "success", "fills": [REST], "serverTime": "2020-07-22T13:44:24.311Z"})
    assert update == snapshot
    assert_one_report(update, rest)
    assert (update.fee, update.fee_currency, update.cl_ord_id) == (Decimal("0.001120305"), "USD", "m-2")
    assert (rest.fee, rest.cl_ord_id, rest.venue_order_id) == (None, None, "o-1")
    assert (rest.account, rest.symbol, rest.liquidity) == ("", "PF_XRPUSD", Liquidity.TAKER)


@pytest.mark.parametrize(("kind", "name"), [("liquidation", "liquidation"), ("unwindBankrupt", "unwind")])
def test_forced_fills_move_quantity_and_are_counted(kind: str, name: str) -> None:
    decoded = decode("K", json.dumps({"feed": "fills", "fills": [FUTURE | {"fill_type": kind}]}).encode())
    assert len(decoded.reports) == 1
    assert decoded.others == {name: 1}
    assert defect({"feed": "fills", "fills": [FUTURE | {"fill_type": "gift"}]}) == ("unknown_value", "fill_type")


def test_an_open_futures_order_is_a_state() -> None:
    report = state(change("new_placed_order_by_user", leaves=False))
    assert (report.exec_type, report.ord_status) == (ExecType.NEW, OrdStatus.NEW)
    assert (report.cl_ord_id, report.venue_order_id, report.symbol) == ("m-2", "o-1", "PF_XBTUSD")
    assert (report.side, report.order_qty, report.limit_price) == (Side.SELL, Decimal(1000), Decimal("34900.5"))
    assert (report.cum_qty, report.reason) == (Decimal(0), "new_placed_order_by_user")
    assert report.transact_ns == 1_612_275_025_153_000_000
    verbose = change("new_placed_order_by_user", leaves=False, feed="open_orders_verbose")
    assert state(verbose) == report
    snapshot = state({"feed": "open_orders_snapshot", "account": "x", "orders": [OPEN]})
    assert (snapshot.exec_type, snapshot.ord_status) == (ExecType.ORDER_STATUS, OrdStatus.NEW)


@pytest.mark.parametrize(
    ("reason", "leaves", "expected", "status"),
    [
        ("partial_fill", False, ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED),
        ("partial_fill", True, ExecType.CANCELED, OrdStatus.CANCELED),
        ("full_fill", True, ExecType.ORDER_STATUS, OrdStatus.FILLED),
        ("cancelled_by_user", True, ExecType.CANCELED, OrdStatus.CANCELED),
        ("not_enough_margin", True, ExecType.CANCELED, OrdStatus.CANCELED),
        ("a_reason_of_next_year", True, ExecType.CANCELED, OrdStatus.CANCELED),
        ("contract_expired", True, ExecType.EXPIRED, OrdStatus.EXPIRED),
        ("post_order_failed_because_it_would_filled", True, ExecType.REJECTED, OrdStatus.REJECTED),
        ("stop_order_triggered", True, ExecType.TRIGGERED, None),
        ("edited_by_user", False, ExecType.REPLACED, OrdStatus.PARTIALLY_FILLED),
    ],
)
def test_the_reason_tells_what_became_of_a_futures_order(
    reason: str, leaves: bool, expected: ExecType, status: OrdStatus | None
) -> None:
    report = state(change(reason, leaves=leaves, filled=250.0))
    assert (report.exec_type, report.ord_status, report.reason) == (expected, status, reason)
    assert (report.cum_qty, report.order_qty) == (Decimal(250), None)  # qty may be what is left


def test_a_futures_order_in_liquidation_is_counted_beside_its_state() -> None:
    assert state(change("liquidation", leaves=True), {"liquidation_order": 1}).exec_type is ExecType.CANCELED


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("cancelled_by_user", "removed_cancel"),
        ("full_fill", "removed_fill"),
        ("stop_order_triggered", "removed_trigger"),
    ],
)
def test_an_order_that_is_gone_at_no_time_is_counted(reason: str, name: str) -> None:
    gone = {"feed": "open_orders", "order_id": "o-1", "cli_ord_id": "m-2", "is_cancel": True, "reason": reason}
    assert others(gone) == {name: 1}
    assert defect(gone | {"is_cancel": False}) == ("missing_field", "last_update_time")
    assert defect(gone | {"order_id": None}) == ("missing_field", "order_id")


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"channel": "heartbeat"}) == {"heartbeat": 1}
    assert others({"method": "subscribe", "success": True, "result": {}}) == {"response": 1}
    assert others({"event": "info", "version": 1}) == {"info": 1}
    assert others({"event": "subscribed", "feed": "fills"}) == {"response": 1}
    assert others({"feed": "open_positions"}) == {"open_positions": 1}
    assert defect({"feed": "open_orders_snapshot"}) == ("missing_field", "orders")
    assert defect({"feed": "open_orders", "order": 1}) == ("wrong_type", "order")
    assert others({"result": "error", "error": "apiLimitExceeded"}) == {"error": 1}
    assert defect({"channel": "busts", "data": []}) == ("unknown_value", "channel")
    assert defect({"feed": "busts"}) == ("unknown_value", "feed")
    assert defect({"channel": "executions"}) == ("missing_field", "data")
    assert defect({}) == ("missing_field", "channel, feed or fills")


@needs_shared
@pytest.mark.shared
def test_real_messages() -> None:
    def read(name: str) -> Any:
        return decode("K", shared(f"samples/kraken/ws_v2_executions_{name}.json").read_bytes())

    ((report, _),) = read("seq10_trade_full_but_partially_filled").reports
    assert (report.exec_id, report.last_qty, report.cum_qty) == (
        "TGBB7L-HT5LX-J3BZ4A",
        Decimal("0.005"),
        Decimal("0.005"),
    )
    assert (report.last_px, report.fee, report.cl_ord_id) == (Decimal("26599.9"), Decimal("0.3458"), None)
    (pending, _), (new, _) = (read(name).reports[0] for name in ("seq8_pending_new", "seq9_new"))
    assert (pending.exec_type, new.exec_type) == (ExecType.PENDING_NEW, ExecType.NEW)
    assert (pending.symbol, pending.side) == ("BTC/USD", Side.SELL)
    assert (pending.order_qty, pending.limit_price) == (Decimal("0.005"), Decimal(26500))
    assert (new.symbol, new.side, new.order_qty) == ("", None, None)  # an update gives what changed
    assert pending.venue_order_id == new.venue_order_id == report.venue_order_id == "OK4GJX-KSTLS-7DZZO5"
