from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.errors import DefectError
from ledger.domain.numbers import canonical, exact_ratio, parse_decimal, parse_positive, text

exact = st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**17), max_value=10**17)


@given(exact)
def test_what_is_in_range_is_read_exactly(number: Decimal) -> None:
    assert parse_decimal("px", str(number)) == number
    assert parse_decimal("px", number) == number


@given(st.one_of(st.text(), st.integers(), st.floats(), st.decimals(), st.none(), st.binary()))
def test_whatever_comes_is_a_number_or_a_defect(value: object) -> None:
    field = "px"
    try:
        number = parse_decimal("px", value)
    except DefectError as error:
        field = error.defect.field
    else:
        assert number.is_finite()
    assert field == "px"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "not_a_number"),
        ("Infinity", "not_a_number"),
        ("1E400", "out_of_range"),
        ("1e-9999999", "out_of_range"),
        (Decimal("1e-9999999"), "out_of_range"),
        (Decimal("1e999999"), "out_of_range"),
        (Decimal("0." + "1" * 200), "out_of_range"),
        ("0." + "1" * 19, "out_of_range"),
        ("9" * 19, "out_of_range"),
        ("1" * 100_000, "out_of_range"),
        ("12,5", "not_a_number"),
        ("1_000", "not_a_number"),
        (" 12", "not_a_number"),
        ("12\n", "not_a_number"),
        ("\uff11\uff12", "not_a_number"),
        ("\u0663", "not_a_number"),
        ("", "not_a_number"),
        (True, "not_a_number"),
        (1.5, "not_a_number"),
    ],
)
def test_what_is_no_number_says_why(value: object, reason: str) -> None:
    with pytest.raises(DefectError) as caught:
        parse_decimal("LastPx(31)", value)
    assert caught.value.defect.reason == reason
    assert caught.value.defect.field == "LastPx(31)"


@pytest.mark.parametrize("value", ["12.", ".5", "+5", "1e3", "1.25E-2", "-0.5"])
def test_plain_and_exponent_notation_is_read(value: str) -> None:
    assert parse_decimal("px", value) == Decimal(value)


SPELLING = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@given(st.text(alphabet="0129.+-eE_ \n\x1f\u00a0\uff11\u0663", max_size=8))
def test_text_is_a_number_only_in_plain_or_exponent_notation(value: str) -> None:
    try:
        parse_decimal("px", value)
    except DefectError as error:
        assert error.defect.reason == "out_of_range" or not SPELLING.fullmatch(value)  # noqa: PT017
    else:
        assert SPELLING.fullmatch(value)


@pytest.mark.parametrize("value", ["0", "-1", "-0.000000000000000001"])
def test_a_price_or_quantity_is_positive(value: str) -> None:
    with pytest.raises(DefectError) as caught:
        parse_positive("last_qty", value)
    assert caught.value.defect.reason == "not_positive"


@pytest.mark.parametrize(("given_text", "kept"), [("1.500", "1.5"), ("1E+2", "100"), ("100", "100"), ("-0", "0")])
def test_equal_numbers_have_one_representation(given_text: str, kept: str) -> None:
    assert str(parse_decimal("qty", given_text)) == kept
    assert text(canonical(Decimal(given_text))) == kept


@given(exact, exact.filter(bool))
def test_a_ratio_is_rounded_once_half_to_even(numerator: Decimal, denominator: Decimal) -> None:
    expected = round(Fraction(numerator) / Fraction(denominator) * 10**12)
    assert exact_ratio(numerator, denominator) == Decimal(f"{expected}E-12")
