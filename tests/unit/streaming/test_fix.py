from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.domain.records import FillReport, Liquidity, OrderReport, ReportKind, Side
from streaming.venues.decoded import Decoded
from streaming.venues.fix import decode

FILL = {
    "8": "FIX.4.4",
    "9": "300",
    "35": "8",
    "34": "77",
    "49": "VENUE",
    "56": "AGENT",
    "52": "20260102-10:02:14.720",
    "37": "V-1",
    "11": "m-1",
    "17": "E-1",
    "150": "F",
    "39": "1",
    "1": "ACC",
    "55": "ACME",
    "54": "1",
    "38": "200",
    "32": "100",
    "31": "101.25",
    "14": "100",
    "151": "100",
    "6": "101.25",
    "12": "-0.05",
    "13": "3",
    "479": "EUR",
    "15": "USD",
    "851": "1",
    "60": "20260102-10:02:14.591",
}
TRANSACT_NS = 1_767_348_134_591_000_000


def message(changes: dict[str, str | None] | None = None) -> bytes:
    fields: dict[str, str | None] = {**FILL, **(changes or {}), "10": "000"}
    return "".join(f"{tag}={value}\x01" for tag, value in fields.items() if value is not None).encode()


def only(raw: bytes) -> FillReport | OrderReport:
    decoded = decode("venue", raw)
    assert not decoded.defects
    assert not decoded.others
    ((found, kept),) = decoded.reports
    assert kept is raw
    return found


def report(changes: dict[str, str | None] | None = None) -> FillReport:
    fill = only(message(changes))
    assert isinstance(fill, FillReport)
    return fill


def state(changes: dict[str, str | None]) -> OrderReport:
    found = only(message(changes))
    assert isinstance(found, OrderReport)
    return found


def defect(changes: dict[str, str | None]) -> tuple[str, str, str]:
    raw = message(changes)
    decoded = decode("venue", raw)
    assert not decoded.reports
    assert not decoded.others
    ((found, kept),) = decoded.defects
    assert kept is raw
    assert found.rule
    assert found.remedy
    return found.reason, found.field, found.value


def test_a_fill_with_everything() -> None:
    fill = report()
    assert fill.kind is ReportKind.FILL
    assert (fill.exec_id, fill.exec_ref_id) == ("E-1", None)
    assert (fill.cl_ord_id, fill.venue_order_id, fill.correlation_id) == ("m-1", "V-1", None)
    assert (fill.account, fill.symbol, fill.side) == ("ACC", "ACME", Side.BUY)
    assert (fill.last_qty, fill.last_px) == (Decimal(100), Decimal("101.25"))
    assert (fill.cum_qty, fill.leaves_qty, fill.avg_px) == (Decimal(100), Decimal(100), Decimal("101.25"))
    assert (fill.currency, fill.fee, fill.fee_currency) == ("USD", Decimal("-0.05"), "EUR")
    assert fill.liquidity is Liquidity.MAKER
    assert (fill.transact_ns, fill.trade_date) == (TRANSACT_NS, date(2026, 1, 2))


def test_a_fill_with_the_least() -> None:
    optional = ("37", "1", "38", "14", "151", "6", "12", "13", "479", "15", "851", "39", "9")
    fill = report(dict.fromkeys(optional))
    assert (fill.account, fill.venue_order_id, fill.currency, fill.fee) == ("", None, None, None)
    assert (fill.cum_qty, fill.leaves_qty, fill.avg_px, fill.liquidity) == (None, None, None, None)


def test_a_correct_and_a_bust_name_what_they_act_on() -> None:
    correct = report({"150": "G", "19": "E-0"})
    bust = report({"150": "H", "19": "E-0"})
    assert (correct.kind, correct.exec_ref_id) == (ReportKind.CORRECT, "E-0")
    assert (bust.kind, bust.exec_ref_id) == (ReportKind.BUST, "E-0")


@pytest.mark.parametrize("figures", [{"32": "0", "31": "0.00"}, {"32": None, "31": None}])
def test_a_bust_may_leave_out_its_figures(figures: dict[str, str | None]) -> None:
    bust = report({"150": "H", "19": "E-0", **figures})
    assert (bust.last_qty, bust.last_px) == (Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("value", "side"), [("1", Side.BUY), ("2", Side.SELL), ("5", Side.SELL), ("6", Side.SELL)]
)
def test_selling_short_is_selling(value: str, side: Side) -> None:
    assert report({"54": value}).side is side


@pytest.mark.parametrize("absent", ["NONE", "", "0"])
def test_a_placeholder_is_no_order_id(absent: str) -> None:
    assert report({"37": absent}).venue_order_id is None
    assert report({"11": absent}).cl_ord_id is None


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("20260102-10:02:14", 1_767_348_134_000_000_000),
        ("20260102-10:02:14.5", 1_767_348_134_500_000_000),
        ("20260102-10:02:14.123456789", 1_767_348_134_123_456_789),
        ("20161231-23:59:60", 1_483_228_799_999_999_999),
        ("20161231-23:59:60.25", 1_483_228_799_999_999_999),
    ],
)
def test_transact_time_to_the_nanosecond(text: str, nanos: int) -> None:
    assert report({"60": text}).transact_ns == nanos


def test_the_venues_trade_date_counts_before_the_utc_day() -> None:
    assert report({"75": "20260105"}).trade_date == date(2026, 1, 5)


def test_exec_ids_repeat_across_days_symbols_accounts_and_kinds() -> None:
    changes: list[dict[str, str | None]] = [
        {},
        {"75": "20260105"},
        {"55": "OTHER"},
        {"1": "ACC2"},
        {"17": "E-2"},
        {"150": "G", "19": "E-0"},
        {"150": "H", "19": "E-0"},
    ]
    assert len({report(each).report_id for each in changes}) == len(changes)


def test_a_resend_is_the_same_report_and_another_price_is_not() -> None:
    again = report({"34": "99", "43": "Y", "52": "20260102-11:00:00", "122": "20260102-10:02:14.720"})
    assert again == report()
    assert report({"32": "100.0"}) == report()
    other = report({"31": "101.26"})
    assert other.report_id == report().report_id
    assert other.content != report().content


def test_a_commission_rate_is_no_fee() -> None:
    fill = report({"13": "2"})
    assert (fill.fee, fill.fee_currency) == (None, None)


def test_a_commission_is_in_the_deals_currency_unless_it_says_otherwise() -> None:
    assert report({"479": None}).fee_currency == "USD"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"35": "B", "150": None}, "news"),
        ({"35": "0", "150": None}, "heartbeat"),
        ({"35": "D", "150": None}, "order_single"),
        ({"35": "F", "150": None}, "cancel_request"),
        ({"35": "G", "150": None}, "replace_request"),
    ],
)
def test_what_concerns_no_order_is_counted_by_name(changes: dict[str, str | None], name: str) -> None:
    assert decode("venue", message(changes)) == Decoded(others={name: 1})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"17": None}, ("missing_field", "ExecID(17)", "")),
        ({"17": ""}, ("missing_field", "ExecID(17)", "")),
        ({"17": "0"}, ("missing_field", "ExecID(17)", "0")),
        ({"150": "G"}, ("missing_field", "ExecRefID(19)", "")),
        ({"150": "H", "19": "0"}, ("missing_field", "ExecRefID(19)", "0")),
        ({"11": None, "37": "NONE"}, ("missing_field", "ClOrdID(11)", "")),
        ({"55": None}, ("missing_field", "Symbol(55)", "")),
        ({"54": None}, ("missing_field", "Side(54)", "")),
        ({"54": "7"}, ("unknown_value", "Side(54)", "7")),
        ({"60": None}, ("missing_field", "TransactTime(60)", "")),
        ({"32": None}, ("missing_field", "LastQty(32)", "")),
        ({"31": ""}, ("missing_field", "LastPx(31)", "")),
        ({"32": "0"}, ("not_positive", "LastQty(32)", "0")),
        ({"31": "-1"}, ("not_positive", "LastPx(31)", "-1")),
        ({"150": "G", "19": "E-0", "32": "0"}, ("not_positive", "LastQty(32)", "0")),
        ({"150": "H", "19": "E-0", "32": "-1"}, ("not_positive", "LastQty(32)", "-1")),
        ({"32": "NaN"}, ("not_a_number", "LastQty(32)", "NaN")),
        ({"32": "1_0"}, ("not_a_number", "LastQty(32)", "1_0")),
        ({"32": " 10"}, ("not_a_number", "LastQty(32)", " 10")),
        ({"31": "1E400"}, ("out_of_range", "LastPx(31)", "1E+400")),
        ({"31": "0." + "1" * 19}, ("out_of_range", "LastPx(31)", "0." + "1" * 19)),
        ({"14": "x"}, ("not_a_number", "CumQty(14)", "x")),
        ({"151": "Infinity"}, ("not_a_number", "LeavesQty(151)", "Infinity")),
        ({"6": "1e999"}, ("out_of_range", "AvgPx(6)", "1E+999")),
        ({"12": "free"}, ("not_a_number", "Commission(12)", "free")),
        ({"60": "2026-01-02T10:02:14Z"}, ("not_a_time", "TransactTime(60)", "2026-01-02T10:02:14Z")),
        ({"60": "20260230-10:02:14"}, ("not_a_time", "TransactTime(60)", "20260230-10:02:14")),
        ({"60": "20260102-24:02:14"}, ("not_a_time", "TransactTime(60)", "20260102-24:02:14")),
        ({"60": "19991231-10:02:14"}, ("not_a_time", "TransactTime(60)", "19991231-10:02:14")),
        ({"60": "22620101-10:02:14"}, ("not_a_time", "TransactTime(60)", "22620101-10:02:14")),
        ({"60": "20260102-10:02:14."}, ("not_a_time", "TransactTime(60)", "20260102-10:02:14.")),
        ({"75": "20260230"}, ("not_a_time", "TradeDate(75)", "20260230")),
        ({"75": "2026-1-2"}, ("not_a_time", "TradeDate(75)", "2026-1-2")),
        ({"17": "a\x00b"}, ("bad_text", "ExecID(17)", "'a\\x00b'")),
        ({"55": "x" * 257}, ("bad_text", "Symbol(55)", "x" * 120 + "…")),
        ({"8": "FIX.5.0"}, ("unknown_value", "BeginString(8)", "FIX.5.0")),
        ({"35": "AS"}, ("unknown_value", "MsgType(35)", "AS")),
        ({"150": "J"}, ("unknown_value", "ExecType(150)", "J")),
        ({"150": "K"}, ("unknown_value", "ExecType(150)", "K")),
        ({"150": "Z"}, ("unknown_value", "ExecType(150)", "Z")),
        ({"150": None}, ("missing_field", "ExecType(150)", "")),
        ({"20": "4"}, ("unknown_value", "ExecTransType(20)", "4")),
        ({"150": "0", "39": "Z"}, ("unknown_value", "OrdStatus(39)", "Z")),
        ({"150": "0", "11": None, "37": "NONE"}, ("missing_field", "ClOrdID(11)", "")),
        ({"150": "0", "60": None, "52": None}, ("missing_field", "TransactTime(60)", "")),
        ({"150": "0", "60": None, "52": "soon"}, ("not_a_time", "SendingTime(52)", "soon")),
        ({"150": "0", "54": "7"}, ("unknown_value", "Side(54)", "7")),
        ({"150": "0", "38": "many"}, ("not_a_number", "OrderQty(38)", "many")),
        ({"35": "9", "150": None, "39": "?"}, ("unknown_value", "OrdStatus(39)", "?")),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, str | None], expected: tuple[str, str, str]) -> None:
    assert defect(changes) == expected


@given(
    st.dictionaries(
        st.sampled_from(sorted(FILL)),
        st.text(st.characters(exclude_characters="\x01"), max_size=40)
        | st.from_regex(r"[-+]?\d{0,20}\.?\d{0,20}([eE][-+]?\d{0,25})?", fullmatch=True)
        | st.none(),
        max_size=6,
    )
)
@example({"32": "1E9999999999999999999999"})
@example({"17": "\ud800"})
def test_arbitrary_values_are_always_decoded(changes: dict[str, str | None]) -> None:
    fields = {**FILL, **changes, "10": "000"}
    raw = b"".join(
        f"{tag}={value}\x01".encode("utf-8", "surrogatepass") for tag, value in fields.items() if value is not None
    )
    decoded = decode("venue", raw)
    assert decoded == decode("venue", raw)
    assert len(decoded.reports) + len(decoded.defects) + len(decoded.others) == 1
    for found, _ in decoded.defects:
        assert "\x00" not in found.value
    for fill, _ in decoded.reports:
        assert isinstance(fill, OrderReport) or fill.last_qty > 0 or fill.kind is ReportKind.BUST
