"""Kraken: exec_type alone tells a fill; futures fills have one identity on the feed and over REST."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.records import FillReport, Liquidity, Side
from streaming.venues.kraken import decode
from tests.shared import needs_shared, shared

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
    return report


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


def test_filled_repeats_what_traded_and_is_counted() -> None:
    filled = TRADE | {"exec_type": "filled", "order_status": "filled"}
    decoded = decode("K", json.dumps(message(TRADE, filled)).encode())
    assert len(decoded.reports) == 1
    assert decoded.others == {"filled": 1}


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
    assert (update.report_id, update.content) == (rest.report_id, rest.content)
    assert (update.fee, update.fee_currency, update.cl_ord_id) == (Decimal("0.001120305"), "USD", "m-2")
    assert (rest.fee, rest.cl_ord_id, rest.venue_order_id) == (None, None, "o-1")
    assert (rest.account, rest.symbol, rest.liquidity) == ("", "PF_XRPUSD", Liquidity.TAKER)


@pytest.mark.parametrize(("kind", "name"), [("liquidation", "liquidation"), ("unwindBankrupt", "unwind")])
def test_forced_fills_move_quantity_and_are_counted(kind: str, name: str) -> None:
    decoded = decode("K", json.dumps({"feed": "fills", "fills": [FUTURE | {"fill_type": kind}]}).encode())
    assert len(decoded.reports) == 1
    assert decoded.others == {name: 1}
    assert defect({"feed": "fills", "fills": [FUTURE | {"fill_type": "gift"}]}) == ("unknown_value", "fill_type")


def test_other_messages_are_counted_or_refused() -> None:
    assert others({"channel": "heartbeat"}) == {"heartbeat": 1}
    assert others({"method": "subscribe", "success": True, "result": {}}) == {"response": 1}
    assert others({"event": "info", "version": 1}) == {"info": 1}
    assert others({"event": "subscribed", "feed": "fills"}) == {"response": 1}
    assert others({"feed": "open_orders"}) == {"open_orders": 1}
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
    assert read("seq8_pending_new").others == {"pending_new": 1}
    assert read("seq9_new").others == {"new": 1}
