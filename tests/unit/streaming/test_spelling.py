"""Numbers that Python's Decimal reads and we do not: in every way in, however the JSON is laid out."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.errors import DefectError
from streaming.decoding import decode_intent, decode_snapshot
from streaming.venues.canonical_report import decode_report
from streaming.venues.fix import decode as decode_fix
from tests.unit.streaming.test_decoding import INTENT, SNAPSHOT

REPORT: dict[str, Any] = {
    "type": "fill", "exec_id": "E1", "cl_ord_id": "M1", "account": "A", "symbol": "S", "side": "buy",
    "last_qty": "1", "last_px": "2", "transact_time": "2026-11-23T09:30:00Z",
}  # fmt: skip
ODD = [
    "1_000",
    "_1",
    "1_",
    "1_.5",
    "-_5",
    "1_e2",
    "1e_2",
    " 12",
    "12 ",
    "  12  ",
    "12.  ",
    "\t12",
    "\uff11\uff12",
    "\u0663",
    "1\u00a0",
]
PLAIN = ["12", "12.", ".5", "+5", "1e2", "1.25E+2"]
LAYOUTS: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}]
SPELLING = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def laid_out(message: dict[str, Any], layout: dict[str, Any], **change: str) -> bytes:
    return json.dumps({**message, **change}, **layout).encode()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", ODD)
def test_an_odd_spelling_is_a_defect_that_names_the_field(value: str, layout: dict[str, Any]) -> None:
    with pytest.raises(DefectError) as intent:
        decode_intent(laid_out(INTENT, layout, limit_price=value))
    with pytest.raises(DefectError) as snapshot:
        decode_snapshot(laid_out(SNAPSHOT, layout, ask_size=value))
    with pytest.raises(DefectError) as report:
        decode_report("BRAVO", laid_out(REPORT, layout, avg_px=value))
    fields = [caught.value.defect.field for caught in (intent, snapshot, report)]
    assert fields == ["limit_price", "ask_size", "avg_px"]
    assert {caught.value.defect.reason for caught in (intent, snapshot, report)} == {"not_a_number"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", PLAIN)
def test_plain_and_exponent_notation_is_read(value: str, layout: dict[str, Any]) -> None:
    assert decode_intent(laid_out(INTENT, layout, limit_price=value)).limit_price is not None
    assert decode_snapshot(laid_out(SNAPSHOT, layout, ask_size=value)).ask_size is not None
    assert decode_report("BRAVO", laid_out(REPORT, layout, avg_px=value)).avg_px is not None


@pytest.mark.parametrize("exec_id", ["FILL_12_3", "a b", "7 ", " x", "Zürich-1", 'quote " 1'])
def test_text_that_looks_odd_is_no_defect(exec_id: str) -> None:
    assert decode_report("BRAVO", laid_out(REPORT, {}, exec_id=exec_id)).exec_id == exec_id


@given(st.text(alphabet="019.+-eE_ \t\u00a0\uff11", max_size=7), st.sampled_from(LAYOUTS))
def test_a_report_takes_a_number_only_in_plain_or_exponent_notation(value: str, layout: dict[str, Any]) -> None:
    try:
        decode_report("BRAVO", laid_out(REPORT, layout, fee=value))
    except DefectError as error:
        assert error.defect.field == "fee"  # noqa: PT017
        assert error.defect.reason == "out_of_range" or not SPELLING.fullmatch(value)  # noqa: PT017
    else:
        assert SPELLING.fullmatch(value)


@pytest.mark.parametrize("value", ["1_000", " 12", "\uff11\uff12"])
def test_an_odd_spelling_in_fix_is_a_defect(value: str) -> None:
    fields = ["8=FIX.4.4", "9=1", "35=8", "17=E1", "37=O1", "11=M1", "150=F", "39=1", "1=A", "55=S", "54=1",
              f"32={value}", "31=2", "60=20261123-09:30:00", "10=000"]  # fmt: skip
    decoded = decode_fix("ALPHA", "".join(field + "\x01" for field in fields).encode())
    assert not decoded.reports
    assert [(defect.field, defect.reason) for defect, _ in decoded.defects] == [("LastQty(32)", "not_a_number")]
