"""The requests of venues' lists of fills against the examples that the venues publish, and their traps."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from ledger.domain.delay_events import StatusRequest
from ledger.domain.records import ExecType, OrderReport, OrdStatus, Side
from ledger.domain.times import NANOS
from streaming.look_back import binance, canonical, deribit, kraken
from streaming.look_back.asking import Access, Ask, AskedOrder, BusyError, Call, LookBackError, StatesOrders
from streaming.look_back.formats import LISTS
from streaming.settings import RestFeedSettings, VenueSettings
from streaming.venues import DECODERS

T0 = 1_700_000_000 * NANOS
ASK = Ask(T0, T0 + 60 * NANOS, "BTCUSDT")
ORDER = AskedOrder("BTCUSDT", ("M1",), ("41", "42"))


def asked(target: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}


def test_binance_signs_as_its_documentation_shows() -> None:
    query = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
        "&timestamp=1499827319559"
    )
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    assert binance.signature(secret, query) == "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def test_kraken_signs_as_its_documentation_shows() -> None:
    secret = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    nonce = "1616492376594"
    body = f"nonce={nonce}&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    assert kraken.signature(secret, "/0/private/AddOrder", nonce, body) == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


def test_a_kraken_secret_that_is_not_base64_is_said() -> None:
    with pytest.raises(LookBackError, match=r"look_back\.secret is not base64"):
        kraken.signature("no base64!", kraken.PATH, "1", "nonce=1")


def test_the_canonical_signature_is_over_time_method_and_target() -> None:
    one = canonical.signature("s3cret", "1700000000", "GET", "/v1/fills?limit=1")
    assert one.startswith("v1,")
    assert one == canonical.signature("whsec_czNjcmV0", "1700000000", "GET", "/v1/fills?limit=1")
    others = [("1700000001", "GET", "/v1/fills?limit=1"), ("1700000000", "POST", "/v1/fills?limit=1")]
    assert one not in [canonical.signature("s3cret", *other) for other in others]
    assert one != canonical.signature("s3cret", "1700000000", "GET", "/v1/fills?limit=2")


def test_the_canonical_list_takes_a_bearer_where_there_is_no_secret() -> None:
    call = LISTS["canonical"].call(ASK, Access(key="k"), T0)
    assert call.headers == {"authorization": "Bearer k"}
    signed = LISTS["canonical"].call(ASK, Access(key="k", secret="s"), T0)
    assert set(signed.headers) == {"look-back-key", "look-back-timestamp", "look-back-signature"}


def test_a_canonical_order_is_asked_for_by_all_its_names() -> None:
    lister = LISTS["canonical"]
    (order,) = lister.of_order(ORDER)
    target = lister.call(Ask(T0, T0 + 1, None, order, "C"), Access(page_size=7), T0).target
    query = parse_qs(urlsplit(target).query)
    assert (query["cl_ord_id"], query["venue_order_id"]) == (["M1"], ["41", "42"])
    assert (query["cursor"], query["limit"], query["from"]) == (["C"], ["7"], ["2023-11-14T22:13:20.000000000Z"])


def binance_trade(number: int, millis: int) -> dict[str, Any]:
    return {
        "symbol": "BTCUSDT", "id": number, "orderId": 41, "price": "1", "qty": "1", "commission": "0",
        "commissionAsset": "BNB", "time": millis, "isBuyer": True, "isMaker": False,
    }  # fmt: skip


def test_binance_is_asked_by_time_first_and_then_from_an_id_on() -> None:
    lister, access = LISTS["binance_spot"], Access("key", "secret", page_size=2)
    first = lister.call(ASK, access, T0)
    assert first.headers == {"X-MBX-APIKEY": "key"}
    query = asked(first.target)
    assert (query["startTime"], query["endTime"]) == ("1700000000000", "1700000059999")  # the end is included
    assert "fromId" not in query
    assert query["signature"] == binance.signature("secret", urlsplit(first.target).query.rpartition("&")[0])
    page = lister.page(
        json.dumps([binance_trade(7, 1_700_000_000_000), binance_trade(8, 1_700_000_001_000)]).encode(),
        ASK,
        access,
    )
    assert (len(page.items), page.cursor) == (2, "9")
    following = Ask(ASK.since_ns, ASK.until_ns, ASK.symbol, cursor=page.cursor)
    query = asked(lister.call(following, access, T0).target)
    assert query["fromId"] == "9"
    assert not {"startTime", "endTime"} & set(query)
    late = json.dumps([binance_trade(9, 1_700_000_059_999), binance_trade(10, 1_700_000_060_000)]).encode()
    page = lister.page(late, following, access)
    assert (len(page.items), page.cursor) == (1, None)  # what lies beyond the window ends the list


def test_usdm_of_binance_has_a_path_of_its_own() -> None:
    assert urlsplit(LISTS["binance_usdm"].call(ASK, Access(), T0).target).path == "/fapi/v1/userTrades"


def test_binance_is_asked_for_each_of_an_orders_ids() -> None:
    lister = LISTS["binance"]
    ids = [
        asked(lister.call(Ask(T0, T0 + 1, o.symbol, o), Access(), T0).target)["orderId"]
        for o in lister.of_order(ORDER)
    ]
    assert ids == ["41", "42"]


@pytest.mark.parametrize(
    ("name", "answer", "wanted"),
    [
        ("binance", {"code": -1003, "msg": "Too many requests"}, BusyError),
        ("binance", {"code": -2015, "msg": "Invalid API-key"}, LookBackError),
        ("kraken", {"error": ["EAPI:Rate limit exceeded"]}, BusyError),
        ("kraken", {"error": ["EAPI:Invalid key"]}, LookBackError),
        ("deribit", {"error": {"code": 10028, "message": "too_many_requests"}}, BusyError),
        ("deribit", {"error": {"code": 13009, "message": "unauthorized"}}, LookBackError),
        ("canonical", {"fills": 3}, LookBackError),
    ],
)
def test_a_refusal_is_told_from_a_wish_for_patience(name: str, answer: object, wanted: type[Exception]) -> None:
    with pytest.raises(LookBackError) as caught:
        LISTS[name].page(json.dumps(answer).encode(), ASK, Access())
    assert type(caught.value) is wanted


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("raw", [b"", b"<html>", b"\xff", b"7", b'"x"', b"[" * 2000])
def test_an_answer_that_is_none_is_said_and_names_the_setting(name: str, raw: bytes) -> None:
    with pytest.raises(LookBackError, match=r"look_back\.url"):
        LISTS[name].page(raw, ASK, Access())


TRADE = {
    "ordertxid": "OQCLML-BW3P3-BUCMWZ", "pair": "XXBTZUSD", "time": 1_700_000_001.1234, "type": "buy",
    "ordertype": "limit", "price": "37500.1", "cost": "46875.125", "fee": "75.00", "vol": "1.25", "margin": "0",
    "maker": False,
}  # fmt: skip


def kraken_page(trades: dict[str, Any], ask: Ask = ASK) -> list[bytes]:
    raw = json.dumps({"error": [], "result": {"count": len(trades), "trades": trades}}).encode()
    return list(LISTS["kraken"].page(raw, ask, Access(pairs={"XXBTZUSD": "BTC/USD"})).items)


def test_krakens_trades_have_the_identity_of_its_stream() -> None:
    (raw,) = kraken_page({"TWDLAJ-AAAAA-BBBBBB": TRADE})
    streamed = {
        "exec_type": "trade", "order_id": "OQCLML-BW3P3-BUCMWZ", "exec_id": "TWDLAJ-AAAAA-BBBBBB",
        "symbol": "BTC/USD", "side": "buy", "last_qty": 1.25, "last_price": 37500.1,
        "timestamp": "2023-11-14T22:13:21.123456Z", "fees": [{"asset": "USD", "qty": 75.0}], "liquidity_ind": "t",
    }  # fmt: skip
    (listed, _), (told, _) = (
        DECODERS["kraken"]("K", one, account="A").reports[0] for one in (raw, json.dumps(streamed).encode())
    )
    assert listed.report_id == told.report_id
    for field in ("side", "last_qty", "last_px", "fee", "fee_currency", "liquidity", "currency", "venue_order_id"):
        assert getattr(listed, field) == getattr(told, field), field
    assert listed.side is Side.BUY


def test_a_kraken_pair_that_nobody_named_is_an_error_and_not_another_identity() -> None:
    with pytest.raises(LookBackError, match=r"look_back\.pairs does not name the pair 'XETHZUSD'"):
        kraken_page({"T": {**TRADE, "pair": "XETHZUSD"}})


def test_kraken_is_asked_wider_and_what_lies_outside_is_left_out() -> None:
    body = asked("?" + LISTS["kraken"].call(ASK, Access(secret="AAAA"), T0).body.decode())
    assert (body["start"], body["end"], body["consolidate_taker"]) == ("1699999999", "1700000061", "false")
    times = (1_699_999_999.5, 1_700_000_000, 1_700_000_059.9, 1_700_000_060)
    assert len(kraken_page({f"T{n}": {**TRADE, "time": at} for n, at in enumerate(times)})) == 2


def test_kraken_pages_by_offset_and_a_short_page_is_the_last() -> None:
    access = Access(pairs={"XXBTZUSD": "BTC/USD"})
    full = {"error": [], "result": {"trades": {f"T{n}": TRADE for n in range(50)}}}
    page = LISTS["kraken"].page(json.dumps(full).encode(), ASK, access)
    assert page.cursor == "50"
    following = Ask(ASK.since_ns, ASK.until_ns, cursor="50")
    assert asked("?" + LISTS["kraken"].call(following, Access(secret="AAAA"), T0).body.decode())["ofs"] == "50"
    short = {"error": [], "result": {"trades": {"T51": TRADE}}}
    assert LISTS["kraken"].page(json.dumps(short).encode(), following, access).cursor is None


def test_deribit_signs_as_its_rules_say() -> None:
    wanted = "9bfbc51a2bc372d72cc396cf1a213dc78d42eb74cb7dc272351833ad0de276ab"
    target = "/api/v2/private/get_account_summary?currency=BTC"
    assert deribit.signature("AMANDASECRECT", "1576074319000", "1iqt2wls", "GET", target) == wanted


def test_deribit_goes_on_at_the_last_trades_time_and_does_not_turn_in_circles() -> None:
    ask = Ask(T0, T0 + NANOS, "BTC")
    answer = json.dumps({"result": {"trades": [{"timestamp": 5}, {"timestamp": 6}], "has_more": True}}).encode()
    page = LISTS["deribit"].page(answer, ask, Access())
    following = Ask(T0, T0 + NANOS, "BTC", cursor=page.cursor)
    assert asked(LISTS["deribit"].call(following, Access(), T0).target)["start_timestamp"] == "6"
    with pytest.raises(LookBackError, match="page_size"):
        LISTS["deribit"].page(answer, following, Access())


@pytest.mark.parametrize(
    ("symbol", "covered"),
    [("BTC-PERPETUAL", True), ("ETH-PERPETUAL", False), ("BTC_USDC-PERPETUAL", False), ("ETH_BTC", True)],
)
def test_deribit_lists_what_settles_in_the_currency(symbol: str, covered: bool) -> None:
    assert LISTS["deribit"].covers(symbol, ["BTC"]) is covered


@pytest.mark.parametrize("name", LISTS)
def test_every_list_speaks_a_format_that_can_be_decoded(name: str) -> None:
    assert name in DECODERS


@pytest.mark.parametrize(
    ("spoken", "look_back", "said"),
    [
        ("fix44", {}, r"look_back\.format: 'fix44' has no list"),
        ("coinbase", {}, r"look_back\.format: 'coinbase' has no list"),
        ("binance_spot", {}, r"look_back\.symbols: \[\] is empty"),
        ("kraken", {}, r"look_back\.pairs: \{\} is empty"),
        ("canonical", {"url": "ftp://x"}, "url"),
        ("canonical", {"requests_per_second": 0}, "requests_per_second"),
    ],
)
def test_settings_that_do_not_do_are_refused_with_the_remedy(
    spoken: str, look_back: dict[str, Any], said: str
) -> None:
    feed = RestFeedSettings.model_validate({"secrets": ["whsec_AAAA"]})
    with pytest.raises(ValidationError, match=said):
        VenueSettings.model_validate(
            {"format": spoken, "feed": feed, "look_back": {"url": "http://x", **look_back}}
        )


def test_a_fix_venue_may_list_in_another_format() -> None:
    feed = RestFeedSettings.model_validate({"secrets": ["whsec_AAAA"]})
    venue = {"format": "fix44", "feed": feed, "look_back": {"url": "http://x", "format": "canonical"}}
    assert VenueSettings.model_validate(venue).look_back is not None


QUESTION = StatusRequest("r1", "ALPHA", "ACC", "BTCUSDT", Side.BUY, "M1", "41")
NAMELESS = StatusRequest("r1", "ALPHA", "ACC", "BTCUSDT", Side.BUY, "M1", None)
ACCESS = Access("key", "c2VjcmV0")


def question(name: str, order: StatusRequest = QUESTION) -> Call | None:
    lister = LISTS[name]
    assert isinstance(lister, StatesOrders)
    return lister.ask_state(order, ACCESS, T0)


def state(name: str, answer: object, order: StatusRequest = QUESTION) -> OrderReport | None:
    lister = LISTS[name]
    assert isinstance(lister, StatesOrders)
    found = lister.state(json.dumps(answer).encode(), order)
    if found is None:
        return None
    decoded = DECODERS[name]("ALPHA", found, "ACC")
    assert not decoded.defects
    ((report, raw),) = decoded.reports
    assert isinstance(report, OrderReport)
    assert raw == found
    return report


def test_an_order_is_asked_for_by_the_names_that_each_api_takes() -> None:
    call = question("canonical")
    assert call is not None
    assert asked(call.target) == {"cl_ord_id": "M1", "venue_order_id": "41", "request_id": "r1"}
    assert call.headers["look-back-signature"].startswith("v1,")
    for name, path in (("binance_spot", "/api/v3/order"), ("binance_usdm", "/fapi/v1/order")):
        call = question(name)
        assert call is not None
        assert call.target.partition("?")[0] == path
        parameters = asked(call.target)
        assert (parameters["symbol"], parameters["orderId"]) == ("BTCUSDT", "41")
        assert "origClientOrderId" not in parameters, "the id finds an order that was replaced, too"
    call = question("binance_spot", NAMELESS)
    assert call is not None
    assert asked(call.target)["origClientOrderId"] == "M1"
    call = question("kraken")
    assert call is not None
    assert (call.method, call.target) == ("POST", "/0/private/QueryOrders")
    assert call.body == b"nonce=%d&txid=41" % T0
    assert question("kraken", NAMELESS) is None
    assert not isinstance(LISTS["deribit"], StatesOrders)


BINANCE_ORDER = {
    "symbol": "BTCUSDT", "orderId": 41, "orderListId": -1, "clientOrderId": "M1", "price": "101.5",
    "origQty": "10.0", "executedQty": "4.0", "cummulativeQuoteQty": "400.0", "status": "PARTIALLY_FILLED",
    "timeInForce": "GTC", "type": "LIMIT", "side": "BUY", "stopPrice": "0.0", "icebergQty": "0.0",
    "time": 1_700_000_000_000, "updateTime": 1_700_000_001_000, "isWorking": True,
}  # fmt: skip
KRAKEN_ORDER = {
    "refid": None, "userref": 0, "cl_ord_id": "M1", "status": "open", "opentm": 1_700_000_001.5, "starttm": 0,
    "expiretm": 0, "descr": {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "price": "101.5"},
    "vol": "10.00000000", "vol_exec": "4.00000000", "cost": "400.0", "fee": "0.4", "price": "100.0",
    "stopprice": "0.00000", "limitprice": "0.00000", "misc": "", "oflags": "fciq",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("binance_spot", BINANCE_ORDER),
        ("binance_usdm", {**BINANCE_ORDER, "avgPrice": "100.00", "cummulativeQuoteQty": None}),
        ("kraken", {"error": [], "result": {"41": KRAKEN_ORDER}}),
    ],
)
def test_an_orders_state_is_an_order_report(name: str, answer: object) -> None:
    report = state(name, answer)
    assert report is not None
    assert (report.exec_type, report.ord_status) == (ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED)
    assert (report.cl_ord_id, report.venue_order_id, report.symbol, report.side) == (
        "M1",
        "41",
        "BTCUSDT",
        Side.BUY,
    )
    assert [report.order_qty, report.cum_qty, report.avg_px] == [10, 4, 100]
    assert report.transact_ns in {T0 + NANOS, T0 + NANOS * 3 // 2}


def test_traps_of_orders_states() -> None:
    old = state("binance_spot", {**BINANCE_ORDER, "cummulativeQuoteQty": "-1.0", "price": "0.0"})
    assert old is not None
    assert (old.avg_px, old.limit_price) == (None, None)
    closed = {**KRAKEN_ORDER, "status": "closed", "closetm": 1_700_000_009.25, "vol_exec": "10.0"}
    done = state("kraken", {"error": [], "result": {"41": closed}})
    assert done is not None
    assert (done.ord_status, done.transact_ns) == (OrdStatus.FILLED, T0 + 9 * NANOS + NANOS // 4)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("canonical", {"order": None}),
        ("binance_spot", {"code": -2013, "msg": "Order does not exist."}),
        ("kraken", {"error": ["EOrder:Unknown order"]}),
        ("kraken", {"error": [], "result": {}}),
    ],
)
def test_an_order_that_the_venue_does_not_know_is_none(name: str, answer: object) -> None:
    assert state(name, answer) is None


@pytest.mark.parametrize(
    ("name", "answer", "wanted"),
    [
        ("canonical", {"fills": []}, "an order"),
        ("binance_spot", {"code": -2014, "msg": "API-key format invalid."}, "refuses: -2014"),
        ("kraken", {"error": ["EAPI:Invalid key"]}, "refuses: EAPI:Invalid key"),
        ("kraken", {"error": ["EAPI:Rate limit exceeded"]}, "patience"),
    ],
)
def test_an_answer_that_is_no_order_is_an_error(name: str, answer: object, wanted: str) -> None:
    with pytest.raises(LookBackError, match=wanted):
        state(name, answer)
