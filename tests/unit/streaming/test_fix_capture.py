"""TradeCaptureReport (AE), the parts of a trade (FillsGrp), and fees."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.order import OrderState
from ledger.domain.records import FillReport, Liquidity, ReportKind, Side
from streaming.venues.decoded import Decoded
from streaming.venues.fix import decode
from tests.unit.streaming.test_fix import TRANSACT_NS, message, report

BODY = "571=T-1|487=0|856=0|55=ACME|32=100|31=101.25|75=20260102|60=20260102-10:02:14.591"
BUY = "54=1|37=V-1|11=m-1|1=ACC|12=0.5|13=3|15=USD"
SELL = "54=2|37=V-2|11=m-2|1=ACC2|15=USD"


def capture(*parts: str, version: str = "FIX.4.4") -> bytes:
    return (
        "|".join([f"8={version}|9=1|35=AE|34=5|52=20260102-10:02:15", *parts, "10=000|"])
        .replace("|", "\x01")
        .encode()
    )


def fills(raw: bytes, account: str = "") -> list[FillReport]:
    decoded = decode("venue", raw, account)
    assert not decoded.defects
    assert all(kept is raw for _, kept in decoded.reports)
    found = [each for each, _ in decoded.reports if isinstance(each, FillReport)]
    assert len(found) == len(decoded.reports)
    return found


def defects(raw: bytes) -> list[tuple[str, str, str]]:
    found = decode("venue", raw).defects
    assert all(kept is raw for _, kept in found)
    return [(each.reason, each.field, each.value) for each, _ in found]


def changed(old: str, new: str, *sides: str) -> bytes:
    assert old in BODY
    return capture(BODY.replace(old, new), "552=1", *(sides or (BUY,)))


@pytest.mark.parametrize("version", ["FIX.4.3", "FIX.4.4", "FIXT.1.1"])
def test_a_captured_trade_is_a_fill_a_side(version: str) -> None:
    buy, sell = fills(capture(BODY, "552=2", BUY, SELL, version=version))
    assert (buy.kind, buy.exec_id, buy.side, buy.symbol) == (ReportKind.FILL, "T-1", Side.BUY, "ACME")
    assert (buy.cl_ord_id, buy.venue_order_id, buy.account) == ("m-1", "V-1", "ACC")
    assert (buy.last_qty, buy.last_px, buy.transact_ns) == (Decimal(100), Decimal("101.25"), TRANSACT_NS)
    assert (buy.fee, buy.fee_currency, buy.currency) == (Decimal("0.5"), "USD", "USD")
    assert (sell.side, sell.cl_ord_id, sell.account, sell.fee) == (Side.SELL, "m-2", "ACC2", None)
    assert buy.trade_date == date(2026, 1, 2)
    assert (buy.cum_qty, buy.leaves_qty, buy.avg_px) == (None, None, None)


def test_both_sides_of_one_account_are_two_fills() -> None:
    buy, sell = fills(capture(BODY, "552=2", BUY, SELL.replace("ACC2", "ACC")))
    assert buy.report_id != sell.report_id
    assert buy.exec_id == sell.exec_id


def test_both_sides_of_one_account_without_order_ids_cannot_be_told_apart() -> None:
    raw = capture(BODY, "552=2", "54=1|11=m-1|1=ACC", "54=2|11=m-2|1=ACC")
    assert len(decode("venue", raw).reports) == 1
    assert defects(raw) == [("missing_field", "OrderID(37)", "")]


@pytest.mark.parametrize(("code", "kind"), [("1", ReportKind.BUST), ("2", ReportKind.CORRECT)])
def test_cancel_and_replace_name_the_trade(code: str, kind: ReportKind) -> None:
    (found,) = fills(changed("487=0", f"487={code}|572=T-0"))
    assert (found.kind, found.exec_id, found.exec_ref_id) == (kind, "T-1", "T-0")
    assert defects(changed("487=0", f"487={code}")) == [("missing_field", "TradeReportRefID(572)", "")]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ("150=F", ReportKind.FILL),
        ("150=2", ReportKind.FILL),
        ("150=H|572=T-0", ReportKind.BUST),
        ("150=G|572=T-0", ReportKind.CORRECT),
        ("856=2", ReportKind.FILL),
        ("856=6|572=T-0", ReportKind.BUST),
        ("856=7|572=T-0", ReportKind.BUST),
        ("856=5|572=T-0", ReportKind.CORRECT),
        ("487=", ReportKind.FILL),
    ],
)
def test_what_a_new_report_says_of_the_trade(fields: str, kind: ReportKind) -> None:
    body = BODY.replace("|856=0", "")
    (found,) = fills(capture(body.replace("|487=0", f"|{fields}"), "552=1", BUY))
    assert found.kind is kind


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("856=0", "856=1", "trade_capture_alleged"),
        ("856=0", "856=3", "trade_capture_declined"),
        ("856=0", "856=4", "trade_capture_addendum"),
        ("856=0", "856=0|150=I", "trade_capture_order_status"),
        ("856=0", "856=0|150=D", "trade_capture_restated"),
    ],
)
def test_what_is_no_trade_of_ours_is_counted(old: str, new: str, name: str) -> None:
    assert decode("venue", changed(old, new)) == Decoded(others={name: 1})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("487=0", "487=3", ("unknown_value", "TradeReportTransType(487)", "3")),
        ("487=0", "487=4", ("unknown_value", "TradeReportTransType(487)", "4")),
        ("856=0", "856=99", ("unknown_value", "TradeReportType(856)", "99")),
        ("856=0", "150=J", ("unknown_value", "ExecType(150)", "J")),
        ("571=T-1|", "", ("missing_field", "TradeReportID(571)", "")),
        ("55=ACME|", "", ("missing_field", "Symbol(55)", "")),
        ("32=100|", "", ("missing_field", "LastQty(32)", "")),
        ("31=101.25", "31=0", ("not_positive", "LastPx(31)", "0")),
        ("60=20260102-10:02:14.591", "60=now", ("not_a_time", "TransactTime(60)", "now")),
        ("32=100", "32=100|32=1", ("repeated_field", "LastQty(32)", "2")),
    ],
)
def test_what_is_wrong_with_a_captured_trade(old: str, new: str, expected: tuple[str, str, str]) -> None:
    assert defects(changed(old, new)) == [expected]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), ("missing_field", "NoSides(552)", "")),
        (("552=0",), ("missing_field", "Side(54)", "")),
        (("552=2", BUY), ("group_count", "NoSides(552)", "2")),
        (("552=one", BUY), ("group_count", "NoSides(552)", "one")),
        (("552=1", "37=V-1|54=1"), ("missing_field", "Side(54)", "")),
        (("552=1", "54=7|37=V-1"), ("unknown_value", "Side(54)", "7")),
        (("552=1", "54=1|1=ACC"), ("missing_field", "OrderID(37)", "")),
        (("552=1", "54=1|37=V-1|37=V-2"), ("repeated_field", "OrderID(37)", "2")),
    ],
)
def test_what_is_wrong_with_its_sides(parts: tuple[str, ...], expected: tuple[str, str, str]) -> None:
    assert defects(capture(BODY, *parts)) == [expected]


def test_a_bad_side_leaves_the_good_one() -> None:
    decoded = decode("venue", capture(BODY, "552=2", BUY, "54=?|37=V-2"))
    assert [each.venue_order_id for each, _ in decoded.reports] == ["V-1"]
    assert [each.field for each, _ in decoded.defects] == ["Side(54)"]


def test_the_other_party_is_counted_only_beside_one_of_ours() -> None:
    decoded = decode("venue", capture(BODY, "552=2", BUY, "54=2|453=1|448=THEM|447=D|452=17"))
    assert [each.venue_order_id for each, _ in decoded.reports] == ["V-1"]
    assert decoded.others == {"trade_capture_other_party": 1}
    assert defects(capture(BODY, "552=2", "54=1", "54=2")) == [("missing_field", "OrderID(37)", "")] * 2


def test_exec_id_goes_before_trade_report_id() -> None:
    (found,) = fills(changed("571=T-1", "571=T-1|17=E-1"))
    assert found.exec_id == "E-1"


@pytest.mark.parametrize(
    ("side", "account"),
    [
        ("54=1|37=V-1|1=ACC|453=1|448=P|447=D|452=24", "ACC"),
        ("54=1|37=V-1|453=2|448=FIRM|447=D|452=1|448=CUST|447=D|452=24", "CUST"),
        ("54=1|37=V-1|453=1|448=FIRM|447=D|452=1", "ours"),
        ("54=1|37=V-1", "ours"),
    ],
)
def test_the_account_of_a_side(side: str, account: str) -> None:
    ((found, _),) = decode("venue", capture(BODY, "552=1", side), "ours").reports
    assert found.account == account


def test_fields_of_the_trade_behind_the_sides_are_of_the_trade() -> None:
    body = BODY.replace("|60=20260102-10:02:14.591", "")
    buy, sell = fills(capture(body, "552=2", BUY, SELL, "60=20260102-10:02:14.591|797=Y"))
    assert buy.transact_ns == sell.transact_ns == TRANSACT_NS
    assert [buy, sell] == fills(capture(BODY, "552=2", BUY, SELL))


def test_a_trade_is_of_the_time_it_was_sent_if_it_says_no_other() -> None:
    (found,) = fills(changed("|60=20260102-10:02:14.591", ""))
    assert found.transact_ns == TRANSACT_NS + 409_000_000


def test_the_currency_of_the_trade_is_that_of_sides_that_do_not_say() -> None:
    buy, sell = fills(capture(BODY, "15=EUR", "552=2", BUY, SELL.replace("|15=USD", "")))
    assert (buy.currency, sell.currency) == ("USD", "EUR")


def test_fees_and_liquidity_are_of_their_side() -> None:
    fees = "136=2|137=1.5|138=USD|139=1|137=0.25|138=USD|139=4"
    buy, sell = fills(capture(BODY, "552=2", f"54=1|37=V-1|{fees}|1444=1", f"{SELL}|1444=2"))
    assert (buy.fee, buy.fee_currency, buy.liquidity) == (Decimal("1.75"), "USD", Liquidity.MAKER)
    assert (sell.fee, sell.liquidity) == (None, Liquidity.TAKER)


@given(
    st.lists(st.sampled_from([BUY, SELL, "54=1", "54=2|37=V-3", "37=V-4", "54=1|11=m|453=1", "526=x"]), max_size=5)
)
def test_sides_in_any_number_are_reports_or_defects(sides: list[str]) -> None:
    raw = capture(BODY, f"552={len(sides)}", *sides)
    decoded = decode("venue", raw)
    assert decoded == decode("venue", raw)
    assert decoded.reports or decoded.defects
    ids = [each.report_id for each, _ in decoded.reports]
    assert len(ids) == len(set(ids))


# FillsGrp


def split_trade(group: str, changes: dict[str, str | None] | None = None) -> bytes:
    raw = message({"8": "FIXT.1.1", **(changes or {})})
    return raw.replace(b"\x0110=", ("|" + group).replace("|", "\x01").encode() + b"\x0110=")


PARTS = "1362=3|1363=P-1|1364=101|1365=40|1443=1|1363=P-2|1364=101.5|1365=50|1443=2|1363=P-3|1364=101.25|1365=10"


def test_a_split_trade_is_a_fill_a_part() -> None:
    first, second, last = fills(split_trade(PARTS))
    assert [(each.exec_id, each.part_of) for each in (first, second, last)] == [
        ("P-1", "E-1"),
        ("P-2", "E-1"),
        ("P-3", "E-1"),
    ]
    assert [each.last_qty for each in (first, second, last)] == [Decimal(40), Decimal(50), Decimal(10)]
    assert [each.last_px for each in (first, second, last)] == [Decimal(101), Decimal("101.5"), Decimal("101.25")]
    assert [each.liquidity for each in (first, second, last)] == [
        Liquidity.MAKER,
        Liquidity.TAKER,
        Liquidity.MAKER,
    ]
    for part in (first, second):
        assert (part.cum_qty, part.leaves_qty, part.avg_px, part.fee, part.fee_currency) == (None,) * 5
    assert (last.cum_qty, last.leaves_qty, last.avg_px) == (Decimal(100), Decimal(100), Decimal("101.25"))
    assert (last.fee, last.fee_currency) == (Decimal("-0.05"), "EUR")
    assert len({each.report_id for each in (first, second, last)}) == 3


@pytest.mark.parametrize("count", ["0", ""])
def test_a_trade_in_no_parts_is_whole(count: str) -> None:
    assert fills(split_trade(f"1362={count}")) == [report()]


def test_a_bust_is_of_the_whole() -> None:
    (found,) = fills(split_trade(PARTS, {"150": "H", "19": "E-0"}))
    assert (found.kind, found.exec_id, found.part_of) == (ReportKind.BUST, "E-1", None)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (PARTS.replace("1365=10", "1365=11"), ("parts_differ", "FillQty(1365)", "101")),
        (PARTS.replace("1362=3", "1362=2"), ("group_count", "NoFills(1362)", "2")),
        (PARTS.replace("1363=P-1|", ""), ("missing_field", "FillExecID(1363)", "")),
        (PARTS.replace("P-1", "0"), ("missing_field", "FillExecID(1363)", "0")),
        (PARTS.replace("|1365=10", ""), ("missing_field", "FillQty(1365)", "")),
        (PARTS.replace("|1364=101.25", ""), ("missing_field", "FillPx(1364)", "")),
        (PARTS.replace("1364=101.25", "1364=x"), ("not_a_number", "FillPx(1364)", "x")),
        (PARTS.replace("1365=10", "1365=10|1365=1"), ("repeated_field", "FillQty(1365)", "2")),
        ("1362=many", ("group_count", "NoFills(1362)", "many")),
    ],
)
def test_parts_that_do_not_make_the_trade_are_a_defect(group: str, expected: tuple[str, str, str]) -> None:
    assert defects(split_trade(group)) == [expected]


# fees


@pytest.mark.parametrize(
    ("fields", "fee", "currency"),
    [
        ("136=1|137=1.5|138=EUR|139=1", "1.5", "EUR"),
        ("136=2|137=1.5|138=EUR|139=1|137=-0.5|138=EUR|139=7", "1.0", "EUR"),
        ("136=1|137=1.5|139=1", "1.5", "USD"),
        ("136=2|137=1.5|139=1|137=1|138=USD|139=2", "2.5", "USD"),
        ("136=2|137=1.5|138=EUR|139=1|137=1|138=USD|139=2", None, None),
        ("136=1|137=1.5|138=EUR|139=1|891=2", None, None),
        ("136=1|137=1.5|138=EUR|139=1|891=0", "1.5", "EUR"),
        ("136=0", None, None),
        ("12=2|13=3|136=1|137=1.5|138=EUR|139=1", "2", "USD"),
        ("12=2|13=2|136=1|137=1.5|138=EUR|139=1", None, None),
    ],
)
def test_fees_are_one_amount_of_one_currency_or_none(fields: str, fee: str | None, currency: str | None) -> None:
    raw = message({"12": None, "13": None, "479": None})
    raw = raw.replace(b"\x0110=", ("|" + fields).replace("|", "\x01").encode() + b"\x0110=")
    (found,) = fills(raw)
    assert (found.fee, found.fee_currency) == (None if fee is None else Decimal(fee), currency)


def test_a_fee_without_an_amount_is_a_defect() -> None:
    raw = message({"12": None}).replace(b"\x0110=", b"\x01136=1\x01137=\x01138=EUR\x0110=")
    assert defects(raw) == [("missing_field", "MiscFeeAmt(137)", "")]


def test_a_sum_of_fees_beyond_what_is_kept_is_a_defect() -> None:
    raw = message({"12": None}).replace(b"\x0110=", b"\x01136=2\x01137=" + b"9" * 18 + b"\x01137=1\x0110=")
    assert [each[:2] for each in defects(raw)] == [("out_of_range", "MiscFeeAmt(137)")]


def test_one_side_under_an_exec_id_is_the_fill_that_an_execution_report_tells() -> None:
    told = report_of("17=E-9|150=F|39=1|37=V-1|11=m-1|1=ACC|55=ACME|54=1|32=100|31=101.25")
    (captured,) = fills(capture(BODY + "|17=E-9", "552=1", BUY))
    assert captured.report_id == told.report_id
    assert (captured.exec_id, captured.trade_report_id) == ("E-9", "T-1")


def test_the_cancel_of_a_captured_trade_names_its_trade_report_id() -> None:
    (captured,) = fills(capture(BODY + "|17=E-9", "552=1", BUY))
    cancel = BODY.replace("571=T-1|487=0", "571=T-2|572=T-1|487=1")
    (canceled,) = fills(capture(cancel, "552=1", BUY))
    order = OrderState("C")
    for each in (captured, canceled):
        order.add_report(each)
    assert order.target(canceled) is captured
    assert [r.exec_id for r in order.chain(captured)] == ["E-9", "T-2"]


def report_of(*parts: str) -> FillReport:
    text = "|".join(["8=FIX.4.4|9=1|35=8|34=4|52=20260102-10:02:15", *parts, "75=20260102", _AT, "10=000|"])
    (found,) = fills(text.replace("|", "\x01").encode())
    return found


_AT = "60=20260102-10:02:14.591"
