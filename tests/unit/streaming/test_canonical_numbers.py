"""Numbers of canonical reports: remembered by value, refused by what each one is."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.domain.errors import DefectError
from streaming.venues.canonical_fields import number


def test_equal_numbers_are_one_number_however_they_are_written() -> None:
    written = [Decimal(text) for text in ("1.50", "1.5", "15E-1", "1.5000")]
    assert [str(number("last_qty", value)) for value in written] == ["1.5"] * 4
    assert [str(number("last_qty", value)) for value in (Decimal("1E+2"), Decimal(100))] == ["100", "100"]
    assert [str(number("last_qty", Decimal(text))) for text in ("0", "-0", "0.00", "0E+9")] == ["0"] * 4


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity", "1E+18", "1E-19", "1E+999999"])
def test_what_is_refused_is_refused_each_time_by_the_field_that_holds_it(text: str) -> None:
    for field in ("last_px", "fee", "last_px"):
        with pytest.raises(DefectError) as found:
            number(field, Decimal(text))
        assert found.value.defect.field == field
