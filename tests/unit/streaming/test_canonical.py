"""The canonical report: every defect by its name, exact numbers, and bytes that cannot hurt."""

from __future__ import annotations

import json
import re
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.domain.errors import DefectError
from ledger.domain.identity import identify, make_fill, make_order_report
from ledger.domain.numbers import canonical
from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, ReportKind, Side
from ledger.domain.times import format_utc, utc_date
from streaming.venues.canonical import decode
from streaming.venues.canonical_defects import MAX_DEFECTS
from streaming.venues.canonical_report import decode_report

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "events/canonical.report.schema.json").read_text())
FILL: dict[str, Any] = SCHEMA["examples"][0]
BUST: dict[str, Any] = SCHEMA["examples"][1]
CORRECT: dict[str, Any] = SCHEMA["examples"][2]
STATE: dict[str, Any] = SCHEMA["examples"][3]
STATES = sorted(set(SCHEMA["properties"]["type"]["enum"]) - {"fill", "bust", "correct"})
DROP = object()


def report(base: dict[str, Any] = FILL, **changes: Any) -> bytes:
    fields = {name: value for name, value in (base | changes).items() if value is not DROP}
    return json.dumps(fields, ensure_ascii=False).encode()


def fill_of(raw: bytes) -> FillReport:
    found = decode_report("ALPHA", raw)
    assert isinstance(found, FillReport)
    return found


def state_of(raw: bytes) -> OrderReport:
    found = decode_report("ALPHA", raw)
    assert isinstance(found, OrderReport)
    return found


def defect_of(raw: bytes) -> tuple[str, str]:
    with pytest.raises(DefectError) as caught:
        decode_report("ALPHA", raw)
    defect = caught.value.defect
    assert defect.rule
    assert defect.remedy
    assert "\0" not in str(defect)
    return defect.reason, defect.field


def test_a_fill_says_what_it_says() -> None:
    fill = fill_of(report())
    assert fill.report_id == identify("ALPHA", "DC-1", "BTC-USD", "2026-11-23", "E-20261123-000017", "fill")
    assert fill == make_fill(
        venue="ALPHA",
        account="DC-1",
        symbol="BTC-USD",
        trade_date=utc_date(fill.transact_ns),
        exec_id="E-20261123-000017",
        kind=ReportKind.FILL,
        exec_ref_id=None,
        cl_ord_id="M-81f3",
        venue_order_id="V-55120",
        correlation_id="C-4471",
        side=Side.BUY,
        last_qty=Decimal("0.25"),
        last_px=Decimal("64012.55"),
        cum_qty=Decimal("0.75"),
        leaves_qty=Decimal("1.25"),
        avg_px=Decimal("64010.1"),
        currency="USD",
        fee=Decimal("-0.0125"),
        fee_currency="USD",
        liquidity=Liquidity.MAKER,
        transact_ns=1_795_426_200_123_456_789,
    )


@pytest.mark.parametrize("written", ["0.1", '"0.1"', "1e-1", '"0.10"', "0.100"])
def test_json_numbers_and_strings_are_the_same_exact_decimal(written: str) -> None:
    raw = report(last_px="PX").replace(b'"PX"', written.encode())
    fill = fill_of(raw)
    assert str(fill.last_px) == "0.1"
    assert fill.content == fill_of(report(last_px="0.1")).content


def test_a_number_beyond_a_float_keeps_every_digit() -> None:
    raw = report(last_px="PX").replace(b'"PX"', b"123456789012345678.123456789012345678")
    assert fill_of(raw).last_px == Decimal("123456789012345678.123456789012345678")


@pytest.mark.parametrize("quantity", [DROP, None, "0", 0])
def test_a_bust_may_leave_quantity_and_price_out(quantity: Any) -> None:
    bust = fill_of(report(BUST, last_qty=quantity, last_px=quantity))
    assert (bust.kind, bust.last_qty, bust.last_px) == (ReportKind.BUST, Decimal(0), Decimal(0))


def test_an_empty_optional_text_is_none_as_in_bybits_fast_fills() -> None:
    fill = fill_of(report(cl_ord_id="", currency="", liquidity=""))
    assert (fill.cl_ord_id, fill.currency, fill.liquidity) == (None, None, None)


def test_a_fill_refers_to_nothing_even_if_it_says_so() -> None:
    assert decode_report("ALPHA", report(exec_ref_id="E-1")) == decode_report("ALPHA", report())


def test_unknown_fields_are_ignored() -> None:
    assert decode_report("ALPHA", report(news={"a": [1, 2.5]})) == decode_report("ALPHA", report())


def test_a_no_break_space_is_no_control_character() -> None:
    assert decode_report("ALPHA", report(account="DC\u00a01")).account == "DC\u00a01"


@pytest.mark.parametrize("field", ["type", "exec_id", "account", "symbol", "side", "transact_time"])
@pytest.mark.parametrize("absent", [DROP, None, ""])
def test_missing_field(field: str, absent: Any) -> None:
    assert defect_of(report(**{field: absent})) == ("missing_field", field)


def test_blank_exec_id_is_missing() -> None:
    assert defect_of(report(exec_id="  ")) == ("missing_field", "exec_id")


@pytest.mark.parametrize("field", ["last_qty", "last_px"])
def test_missing_number_of_a_fill(field: str) -> None:
    absent: dict[str, Any] = {field: DROP}
    assert defect_of(report(**absent)) == ("missing_field", field)


@pytest.mark.parametrize("base", [BUST, CORRECT])
def test_bust_and_correct_must_say_what_they_refer_to(base: dict[str, Any]) -> None:
    assert defect_of(report(base, exec_ref_id=DROP)) == ("missing_field", "exec_ref_id")


def test_no_order_named() -> None:
    raw = report(cl_ord_id=None, venue_order_id="")
    assert defect_of(raw) == ("missing_field", "cl_ord_id or venue_order_id")


@pytest.mark.parametrize("value", ["NaN", "nan", "sNaN", "Infinity", "-Infinity", "", "abc", "1,5", "0x10"])
def test_not_a_number(value: str) -> None:
    assert defect_of(report(last_qty=value)) == ("not_a_number", "last_qty")
    assert defect_of(report(fee=value)) == ("not_a_number", "fee")


@pytest.mark.parametrize("value", ["0", "-1", 0, -2, "-0", "0.000"])
@pytest.mark.parametrize("base", [FILL, CORRECT])
def test_not_positive(base: dict[str, Any], value: Any) -> None:
    assert defect_of(report(base, last_qty=value)) == ("not_positive", "last_qty")
    assert defect_of(report(base, last_px=value)) == ("not_positive", "last_px")


def test_negative_quantity_of_a_bust() -> None:
    assert defect_of(report(BUST, last_qty="-1")) == ("not_positive", "last_qty")


@pytest.mark.parametrize(
    "value",
    [
        b"1" + b"0" * 400,
        b'"1' + b"0" * 400 + b'"',
        b"1e400",
        b'"1e400"',
        b"1e999999",
        b"0." + b"1" * 400,
        b'"0.0000000000000000001"',
        b"1" + b"0" * 40_000,
        b"1e-30",
        b"1e-9999999",
        b'"1e-9999999"',
    ],
)
def test_out_of_range_and_at_once(value: bytes) -> None:
    raw = report(last_px="PX").replace(b'"PX"', value)
    before = time.process_time()
    assert defect_of(raw) == ("out_of_range", "last_px")
    assert time.process_time() - before < 0.1


def test_an_exponent_beyond_decimal_itself_is_no_number() -> None:
    raw = report(last_px="PX").replace(b'"PX"', b"1e99999999999999999999")
    assert defect_of(raw) == ("not_a_number", "last_px")


def test_a_text_of_257_characters() -> None:
    assert decode_report("ALPHA", report(exec_id="x" * 256)).exec_id == "x" * 256
    assert defect_of(report(exec_id="x" * 257)) == ("out_of_range", "exec_id")
    assert defect_of(report(correlation_id="x" * 257)) == ("out_of_range", "correlation_id")


def test_a_report_over_64_kib() -> None:
    assert defect_of(report(padding="x" * 70_000)) == ("out_of_range", "report")


@pytest.mark.parametrize("character", ["\x00", "\n", "\x1f", "\x7f", "\x85"])
def test_control_character_such_as_nul_which_postgres_cannot_store(character: str) -> None:
    assert defect_of(report(account="DC" + character)) == ("control_character", "account")
    assert defect_of(report(currency=character + "U")) == ("control_character", "currency")


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-11-23",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-23T09:30:00",
        "2026-11-23T24:00:00Z",
        "1999-12-31T23:59:59.999999999Z",
        "2262-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-11-23T09:30:00.1234567890Z",
    ],
)
def test_not_a_time(value: str) -> None:
    assert defect_of(report(transact_time=value)) == ("not_a_time", "transact_time")


def test_the_first_and_last_time() -> None:
    for moment in ("2000-01-01T00:00:00.000000000Z", "2261-12-31T23:59:59.999999999Z"):
        assert format_utc(decode_report("ALPHA", report(transact_time=moment)).transact_ns) == moment


@pytest.mark.parametrize(
    ("field", "value"),
    [("type", "trade"), ("type", "fi\x00ll"), ("side", "BUY"), ("side", "short"), ("liquidity", "both")],
)
def test_unknown_value(field: str, value: Any) -> None:
    assert defect_of(report(**{field: value})) == ("unknown_value", field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("side", 7),
        ("exec_id", 17),
        ("type", []),
        ("last_qty", True),
        ("last_qty", {"value": "1"}),
        ("fee", [1]),
        ("transact_time", 1_795_426_200),
    ],
)
def test_wrong_type(field: str, value: Any) -> None:
    assert defect_of(report(**{field: value})) == ("wrong_type", field)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"not json",
        report()[:-20],
        report() + b"}",
        report(last_qty="X").replace(b'"X"', b"NaN"),
        report().replace(b"DC-1", b"DC\xff1"),
        report(unknown="X").replace(b'"X"', b'"\xff"'),
        report().replace(b"DC-1", b"DC\\ud8001"),
        b"[" * 100_000,
    ],
)
def test_malformed(raw: bytes) -> None:
    assert defect_of(raw) in {("malformed", "report"), ("out_of_range", "report")}


def test_an_array_is_no_report() -> None:
    assert defect_of(b"[]") == ("wrong_type", "report")


def test_an_order_state_says_what_it_says() -> None:
    state = state_of(report(STATE, exec_id="X-1", correlation_id="C-4471"))
    assert (state.exec_type, state.ord_status) == (ExecType.CANCELED, OrdStatus.CANCELED)
    assert (state.cl_ord_id, state.orig_cl_ord_id, state.venue_order_id) == ("M-81f9", "M-81f3", "V-55120")
    assert (state.account, state.symbol, state.side, state.exec_id) == ("DC-1", "BTC-USD", Side.BUY, "X-1")
    assert (state.order_qty, state.limit_price) == (Decimal(2), Decimal("64012.55"))
    assert (state.cum_qty, state.leaves_qty, state.avg_px) == (Decimal("0.75"), Decimal(0), Decimal("64010.1"))
    assert (state.reason, state.correlation_id) == ("canceled by request", "C-4471")
    assert (state.venue, state.trade_date) == ("ALPHA", date(2026, 11, 23))


def test_every_order_state_of_the_domain_has_its_type_and_no_other() -> None:
    found = {state_of(report(STATE, type=name)).exec_type for name in STATES}
    assert found == set(ExecType)
    assert len(found) == len(STATES)
    statuses = {state_of(report(STATE, ord_status=status.value)).ord_status for status in OrdStatus}
    assert statuses == set(OrdStatus) == set(SCHEMA["properties"]["ord_status"]["enum"]) - {"", None}


def test_an_order_state_need_only_name_its_order_and_its_time() -> None:
    least = {"type": "cancel_reject", "cl_ord_id": "M-1", "transact_time": "2026-11-23T09:45:00Z"}
    jsonschema.validate(least, SCHEMA)
    state = state_of(json.dumps(least).encode())
    assert (state.account, state.symbol, state.side, state.exec_id) == ("", "", None, None)
    assert (state.ord_status, state.order_qty, state.cum_qty) == (None, None, None)


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cl_ord_id": None, "venue_order_id": ""}, ("missing_field", "cl_ord_id or venue_order_id")),
        ({"transact_time": DROP}, ("missing_field", "transact_time")),
        ({"ord_status": "filled"}, ("unknown_value", "ord_status")),
        ({"side": "short"}, ("unknown_value", "side")),
        ({"order_qty": "-1"}, ("not_positive", "order_qty")),
        ({"limit_price": "1_0"}, ("not_a_number", "limit_price")),
        ({"reason": "a\x00"}, ("control_character", "reason")),
        ({"last_qty": "0.25"}, ("out_of_range", "last_qty")),
        ({"trade_date": "23.11.2026"}, ("not_a_time", "trade_date")),
    ],
)
def test_a_wrong_field_of_an_order_state_is_named(
    name: str, changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert defect_of(report(STATE, type=name, **changes)) == expected
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(report(STATE, type=name, **changes)), SCHEMA)


@pytest.mark.parametrize("nothing", [None, "", "0", 0, "0.00"])
def test_an_order_state_in_which_nothing_traded_may_say_so(nothing: Any) -> None:
    if nothing == "":
        assert defect_of(report(STATE, last_qty=nothing)) == ("not_a_number", "last_qty")
    else:
        assert state_of(report(STATE, last_qty=nothing)) == state_of(report(STATE))
        jsonschema.validate(STATE | {"last_qty": nothing}, SCHEMA)


def test_the_trade_date_is_the_venues_where_it_gives_one() -> None:
    late = report(transact_time="2026-11-23T23:59:59Z", trade_date="2026-11-24")
    assert fill_of(late).trade_date == date(2026, 11, 24)
    assert fill_of(late).report_id != fill_of(report(transact_time="2026-11-23T23:59:59Z")).report_id
    assert fill_of(report(trade_date="")).trade_date == date(2026, 11, 23)
    assert state_of(report(STATE, trade_date="2026-11-24")).trade_date == date(2026, 11, 24)


@pytest.mark.parametrize(
    "value", ["2026-02-30", "1999-12-31", "2262-01-01", "20261123", "2026-11-23T00:00:00Z", " "]
)
def test_no_trade_date(value: str) -> None:
    assert defect_of(report(trade_date=value)) == ("not_a_time", "trade_date")


def test_a_part_names_the_report_of_the_whole() -> None:
    assert fill_of(report(part_of="E-9")).part_of == "E-9"
    assert fill_of(report()).part_of is None
    assert fill_of(report(CORRECT, part_of="E-9")).part_of is None  # a correct names its fill


def test_one_report_alone_is_read_as_a_dead_letter_keeps_it() -> None:
    for base in SCHEMA["examples"]:
        raw = report(base)
        assert decode("ALPHA", raw).reports == [(decode_report("ALPHA", raw), raw)]
    ((defect, kept),) = decode("ALPHA", report(last_qty="NaN", channel="executions")).defects
    assert (defect.reason, defect.field, kept) == (
        "not_a_number",
        "last_qty",
        report(last_qty="NaN", channel="executions"),
    )


def test_a_frame_keeps_the_bytes_of_each_report() -> None:
    first, second = report(), report(exec_id="E-2", fee=1.0)
    raw = b'{"channel": "executions", "sequence": 17, "data": [ ' + first + b" ,\n" + second + b"]}"
    decoded = decode("ALPHA", raw)
    assert [kept for _, kept in decoded.reports] == [first, second]
    assert not decoded.defects


def test_the_good_reports_beside_a_bad_one_are_returned() -> None:
    bad = (report(last_qty="NaN"), report().replace(b"DC-1", b"\xff"), b"7")
    raw = b'{"fills":[' + b",".join([bad[0], report(), bad[1], report(CORRECT), bad[2]]) + b"]}"
    decoded = decode("ALPHA", raw)
    kinds = [found.kind for found, _ in decoded.reports if isinstance(found, FillReport)]
    assert kinds == [ReportKind.FILL, ReportKind.CORRECT]
    assert [kept for _, kept in decoded.defects] == list(bad)
    assert [defect.reason for defect, _ in decoded.defects] == ["not_a_number", "malformed", "wrong_type"]


def test_heartbeats_are_counted() -> None:
    decoded = decode("ALPHA", b'{"channel": "heartbeat", "last_sequence": 17}')
    assert decoded.others == {"heartbeat": 1}
    assert not decoded.reports
    assert not decoded.defects


def test_a_channel_with_no_name_to_speak_of_is_counted_as_unnamed() -> None:
    assert decode("ALPHA", b'{"channel": "status"}').others == {"status": 1}
    assert decode("ALPHA", b'{"channel": "a b"}').others == {"unnamed": 1}


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (b"", "malformed", "message"),
        (b'{"fills":[', "malformed", "message"),
        (b'{"channel":"executions","sequence":3,"data":[{"exec_id":"E', "malformed", "message"),
        (b'{"channel":7,"data":[}', "malformed", "message"),
        (b'{"channel":"\xff"}', "malformed", "message"),
        (b'{"fills":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed", "message"),
        (b"[]", "wrong_type", "message"),
        (b'{"fills": {}}', "wrong_type", "message"),
        (b'{"channel": 7}', "wrong_type", "message"),
        (b"{}", "missing_field", "channel or fills"),
        (b'{"channel": "executions", "sequence": 1}', "missing_field", "data"),
        (b'{"channel": "trades", "data": []}', "unknown_value", "channel"),
    ],
)
def test_a_message_that_is_none_is_kept_whole(raw: bytes, reason: str, field: str) -> None:
    decoded = decode("ALPHA", raw)
    assert not decoded.reports
    assert [(defect.reason, defect.field, kept) for defect, kept in decoded.defects] == [(reason, field, raw)]


def test_half_a_million_bad_reports_are_not_half_a_million_dead_letters() -> None:
    raw = b'{"fills":[' + b"1," * 20_000 + report() + b"]}"
    decoded = decode("ALPHA", raw)
    assert len(decoded.reports) == 1
    assert len(decoded.defects) == MAX_DEFECTS + 1
    assert decoded.defects[-1] == (decoded.defects[-1][0], raw)
    assert decoded.defects[-1][0].value == str(20_000 - MAX_DEFECTS)


_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(
    lambda text: not text.isspace()
)
_decimals = st.decimals(
    min_value=Decimal("-1e17"), max_value=Decimal("1e17"), allow_nan=False, allow_infinity=False, places=9
)
_positives = _decimals.map(abs).filter(bool)
_times = st.integers(min_value=946_684_800 * 10**9, max_value=9_214_646_400 * 10**9 - 1)


@st.composite
def reports(draw: st.DrawFn) -> FillReport:
    kind = draw(st.sampled_from(ReportKind))
    venue_order_id = draw(_names | st.none())
    fields: dict[str, Any] = {
        "venue": "ALPHA",
        "account": draw(_names),
        "symbol": draw(_names),
        "exec_id": draw(_names),
        "kind": kind,
        "exec_ref_id": None if kind is ReportKind.FILL else draw(_names),
        "cl_ord_id": draw(_names) if venue_order_id is None else draw(_names | st.none()),
        "venue_order_id": venue_order_id,
        "correlation_id": draw(_names | st.none()),
        "side": draw(st.sampled_from(Side)),
        "last_qty": draw(_positives),
        "last_px": draw(_positives),
        "cum_qty": draw(_decimals | st.none()),
        "leaves_qty": draw(_decimals | st.none()),
        "avg_px": draw(_decimals | st.none()),
        "currency": draw(_names | st.none()),
        "fee": draw(_decimals | st.none()),
        "fee_currency": draw(_names | st.none()),
        "liquidity": draw(st.sampled_from(Liquidity) | st.none()),
        "transact_ns": draw(_times),
        "part_of": draw(_names | st.none()) if kind is ReportKind.FILL else None,
    }
    day = draw(st.none() | st.dates(date(2000, 1, 1), date(2261, 12, 31))) or utc_date(fields["transact_ns"])
    for name in ("last_qty", "last_px", "cum_qty", "leaves_qty", "avg_px", "fee"):
        if fields[name] is not None:
            fields[name] = canonical(fields[name])
    return make_fill(**fields, trade_date=day)


@given(reports(), st.booleans())
def test_what_is_encoded_is_decoded(fill: FillReport, as_numbers: bool) -> None:
    fields: dict[str, Any] = {name: getattr(fill, name) for name in FILL if hasattr(fill, name)}
    fields |= {"type": fill.kind, "transact_time": format_utc(fill.transact_ns), "part_of": fill.part_of}
    if fill.trade_date != utc_date(fill.transact_ns):
        fields["trade_date"] = fill.trade_date.isoformat()
    if fill.exec_ref_id is not None:
        fields["exec_ref_id"] = fill.exec_ref_id
    encoder = msgspec.json.Encoder(decimal_format="number" if as_numbers else "string")
    raw = encoder.encode(fields)
    assert decode_report("ALPHA", raw) == fill
    if not as_numbers:
        jsonschema.validate(json.loads(raw), SCHEMA)


@st.composite
def states(draw: st.DrawFn) -> OrderReport:
    numbers = {
        name: draw(_decimals.map(canonical) | st.none())
        for name in ("limit_price", "cum_qty", "leaves_qty", "avg_px")
    }
    texts = {name: draw(_names | st.none()) for name in ("exec_id", "orig_cl_ord_id", "correlation_id", "reason")}
    at = draw(_times)
    return make_order_report(
        venue="ALPHA",
        trade_date=utc_date(at),
        exec_type=draw(st.sampled_from(ExecType)),
        ord_status=draw(st.sampled_from(OrdStatus) | st.none()),
        cl_ord_id=draw(_names),
        venue_order_id=draw(_names | st.none()),
        account=draw(_names | st.just("")),
        symbol=draw(_names | st.just("")),
        side=draw(st.sampled_from(Side) | st.none()),
        order_qty=draw(_positives.map(canonical) | st.none()),
        transact_ns=at,
        **numbers,
        **texts,
    )


@given(states())
def test_what_is_encoded_of_an_order_state_is_decoded(state: OrderReport) -> None:
    fields = {name: getattr(state, name) for name in SCHEMA["properties"] if hasattr(state, name)}
    fields |= {"type": state.exec_type.name.lower(), "transact_time": format_utc(state.transact_ns)}
    raw = msgspec.json.encode(fields)
    assert decode_report("ALPHA", raw) == state
    jsonschema.validate(json.loads(raw), SCHEMA)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def checked(raw: bytes) -> None:
    """Nothing raised, nothing dropped: reports, defects and others say where every message went."""
    decoded = decode("ALPHA", raw)
    for defect, _ in decoded.defects:
        assert "\0" not in defect.value
        str(defect).encode()  # no lone surrogate either: Postgres stores it
    for fill, _ in decoded.reports:
        assert not any(isinstance(value, float) for value in msgspec.structs.astuple(fill))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_raise(raw: bytes) -> None:
    checked(raw)
    assert decode("ALPHA", raw).defects


@given(_json)
def test_arbitrary_json_never_raises(value: object) -> None:
    raw = json.dumps(value).encode()
    checked(raw)
    checked(b'{"fills":[%s]}' % raw)
    checked(b'{"channel":"executions","data":[%s]}' % raw)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([FILL, STATE]), st.sampled_from(sorted(SCHEMA["properties"])), _json)
def test_any_value_in_any_field_is_a_report_or_one_defect(base: dict[str, Any], field: str, value: Any) -> None:
    decoded = decode("ALPHA", b'{"fills":[%s]}' % json.dumps(base | {field: value}).encode())
    assert len(decoded.reports) + len(decoded.defects) == 1


@given(
    st.sampled_from(["last_qty", "last_px", "fee"]),
    st.from_regex(r"-?[0-9]{0,9}\.?[0-9]{1,9}([eE][+-]?[0-9]{1,12})?"),
)
def test_any_number_is_a_report_or_one_defect(field: str, value: str) -> None:
    decoded = decode("ALPHA", b'{"fills":[%s]}' % report(**dict[str, Any]({field: value})))
    assert len(decoded.reports) + len(decoded.defects) == 1


@given(st.integers(0, 600), st.integers(0, 255))
def test_one_wrong_byte_is_a_report_or_a_defect(at: int, byte: int) -> None:
    raw = bytearray(b'{"fills":[%s]}' % report())
    raw[at % len(raw)] = byte
    checked(bytes(raw))


def test_schema_and_decoder_have_the_same_fields() -> None:
    """Every property is read: an odd spelling or type in it is found, or its text is kept."""
    for name in SCHEMA["properties"]:
        assert defect_of(report(**{name: {"an": "object"}})) == ("wrong_type", name)


def test_the_page_of_formats_names_what_the_schema_does_and_no_other() -> None:
    section = (DOCS / "formats.md").read_text().split("## Canonical report")[1].split("### WebSocket")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row[0])} == set(SCHEMA["properties"])
    types = [row for row in rows if row[0] == "| `type`"]
    assert {name for row in types for name in re.findall(r"`(\w+)`", "".join(row[1:-1]))} == {
        *STATES,
        "fill",
        "bust",
        "correct",
    }
    (statuses,) = (row[1] for row in rows if row[0] == "| `ord_status`")
    assert set(re.findall(r"`(\w+)`", statuses)) == {status.value for status in OrdStatus}


def test_the_rest_callback_takes_the_same_reports() -> None:
    openapi = json.loads((DOCS / "openapi.json").read_text())
    body = openapi["paths"]["/v1/venues/{venue}/fills"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["fills"]["items"] == {"$ref": "events/canonical.report.schema.json"}


def test_the_examples_of_the_schema_validate_and_decode() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for example in SCHEMA["examples"]:
        jsonschema.validate(example, SCHEMA)
        assert decode_report("ALPHA", json.dumps(example).encode()).exec_id == example.get("exec_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "trade"},
        {"exec_id": ""},
        {"last_qty": "NaN"},
        {"last_qty": "-1"},
        {"last_px": "0"},
        {"side": 7},
        {"cl_ord_id": None, "venue_order_id": None},
        {"type": "bust"},
        {"transact_time": "yesterday"},
        {"account": "a\x00"},
        {"account": None},
        {"side": ""},
        {"part_of": 7},
        {"trade_date": "today"},
    ],
)
def test_schema_and_decoder_refuse_the_same(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(FILL | changes, SCHEMA)
    defect_of(report(**changes))
