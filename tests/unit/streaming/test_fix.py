from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.domain.records import FillReport, Liquidity, ReportKind, Side
from streaming.venues.decoded import Decoded
from streaming.venues.fix44 import decode

SAMPLES = Path(__file__).parents[4] / "shared/samples/fix/messages.jsonl"

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


def report(changes: dict[str, str | None] | None = None) -> FillReport:
    raw = message(changes)
    decoded = decode("venue", raw)
    assert not decoded.defects
    assert not decoded.others
    ((fill, kept),) = decoded.reports
    assert kept is raw
    return fill


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
    again = report({"34": "99", "43": "Y", "52": "20260102-11:00:00", "14": None})
    assert (again.report_id, again.content) == (report().report_id, report().content)
    assert report({"32": "100.0"}).content == report().content
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
        ({"150": "0"}, "new"),
        ({"150": "4", "17": None}, "canceled"),
        ({"150": "5"}, "replaced"),
        ({"150": "I", "17": "0"}, "order_status"),
        ({"150": "8"}, "rejected"),
        ({"35": "9", "150": None}, "order_cancel_reject"),
        ({"35": "B", "150": None}, "news"),
        ({"35": "0", "150": None}, "heartbeat"),
    ],
)
def test_what_moves_no_quantity_is_counted_by_name(changes: dict[str, str | None], name: str) -> None:
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
        ({"8": "FIX.4.2"}, ("unknown_value", "BeginString(8)", "FIX.4.2")),
        ({"35": "AE"}, ("unknown_value", "MsgType(35)", "AE")),
        ({"150": "2"}, ("unknown_value", "ExecType(150)", "2")),
        ({"150": None}, ("unknown_value", "ExecType(150)", "")),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, str | None], expected: tuple[str, str, str]) -> None:
    assert defect(changes) == expected


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x01", b"no fix", b"8=FIX.4.4\x01", message()[:-20], message() + b"x", message() + b"58=x\x01"],
)
def test_bytes_that_are_no_whole_message_are_malformed(raw: bytes) -> None:
    ((found, kept),) = decode("venue", raw).defects
    assert found.reason == "malformed"
    assert kept is raw


def test_a_field_given_twice_is_no_fact() -> None:
    raw = message().replace(b"\x0132=100\x01", b"\x0132=100\x0132=1\x01")
    ((found, _),) = decode("venue", raw).defects
    assert (found.reason, found.field) == ("repeated_field", "LastQty(32)")


def test_repeating_groups_are_no_repeated_fields() -> None:
    parties = "453=2\x01448=A\x01447=D\x01452=1\x01448=B\x01447=D\x01452=3"
    assert report({"453": parties[4:]}).report_id == report().report_id


def test_a_text_that_holds_soh_is_not_read_as_fields() -> None:
    smuggled = "x\x0132=999\x01\x00é"
    length = len(smuggled.encode())
    fill = report({"354": str(length), "355": smuggled})
    assert fill.last_qty == Decimal(100)


@given(st.binary(max_size=300))
@example(b"8=FIX.4.4\x01355")
@example(b"8=FIX.4.4\x01354=5\x01355=")
@example(b"8=FIX.4.4\x01354=5\x01355=a\xff\x01")
@example(b"8=FIX.4.4\x01354=99999999999999999999\x01355=a\x0110=1\x01")
def test_arbitrary_bytes_are_always_decoded(raw: bytes) -> None:
    for each in (raw, b"8=FIX.4.4\x0135=8\x01" + raw + b"\x0110=000\x01"):
        decoded = decode("venue", each)
        assert len(decoded.reports) + len(decoded.defects) + len(decoded.others) == 1


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
    assert len(decoded.reports) + len(decoded.defects) + len(decoded.others) == 1
    for found, _ in decoded.defects:
        assert "\x00" not in found.value
    for fill, _ in decoded.reports:
        assert fill.last_qty > 0 or fill.kind is ReportKind.BUST


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_file(), reason="../shared is not here")
def test_messages_of_real_venues() -> None:
    outcomes: dict[str, object] = {}
    for line in SAMPLES.read_text().splitlines():
        row = json.loads(line)
        decoded = decode("venue", row["raw"].replace("|", "\x01").encode())
        outcomes[row["id"]] = (
            next(iter(decoded.others), None)
            or [fill for fill, _ in decoded.reports]
            or [(found.reason, found.field) for found, _ in decoded.defects]
        )
    assert outcomes == {
        "cme_ilink_fill": [("unknown_value", "BeginString(8)")],
        "qfj_possdup_unsolicited_cancel": [("unknown_value", "BeginString(8)")],
        "qfj_gapfill": [("unknown_value", "BeginString(8)")],
        "asx_restated": "restated",
        "rbs_trade_correct": [("malformed", "message")],  # a tag without value, fields after CheckSum(10)
        "epam_fix43_correct_no_ref": [("unknown_value", "BeginString(8)")],
        "ctrader_new": "new",
        "binance_er_new": "new",
    }


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_file(), reason="../shared is not here")
def test_a_real_trade_correct_whose_tail_is_mended() -> None:
    (line,) = [each for each in SAMPLES.read_text().splitlines() if '"rbs_trade_correct"' in each]
    body, _, _ = json.loads(line)["raw"].partition("|1|10=010|")
    ((correct, _),) = decode("venue", f"{body}|10=010|".replace("|", "\x01").encode()).reports
    assert (correct.kind, correct.exec_ref_id) == (ReportKind.CORRECT, "20170525.43")
    assert (correct.last_qty, correct.last_px) == (Decimal(5), Decimal("98.695"))
    assert (correct.cum_qty, correct.trade_date) == (Decimal(0), date(2017, 5, 25))
