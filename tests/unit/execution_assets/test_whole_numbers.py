"""Columns of whole numbers do what the domain's decimals do, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from execution_assets.whole_numbers import Column, added, decimals, read_column, rounded_bps, texts_of, times
from ledger.domain.digest import plain
from ledger.domain.numbers import EXACT, exact_ratio

numbers = (
    st.decimals(-(10**17), 10**17, places=10)
    | st.decimals(-1000, 1000, places=4)
    | st.integers(-9, 9).map(Decimal)
)
positive = st.decimals("0.000000000000000001", 10**17) | st.decimals("0.0001", 1000, places=4)


@given(st.lists(numbers, min_size=1, max_size=20))
def test_a_number_is_read_and_written_as_it_is(values: list[Decimal]) -> None:
    column = read_column(pa.array([f"{v:f}" for v in values]))
    assert texts_of(*column).to_pylist() == [plain(v) for v in values]
    doubled = added(column.values, column.values)
    assert texts_of(doubled, column.places).to_pylist() == [plain(EXACT.multiply(v, Decimal(2))) for v in values]
    assert texts_of(times(column.values, 1000), column.places + 3).to_pylist() == [plain(v) for v in values]


@given(st.lists(st.tuples(numbers, positive), min_size=1, max_size=20))
def test_a_ratio_is_rounded_once_half_to_even(pairs: list[tuple[Decimal, Decimal]]) -> None:
    above, below = (read_column(pa.array([f"{pair[n]:f}" for pair in pairs])) for n in (0, 1))
    places = max(above.places, below.places)
    found = texts_of(rounded_bps(above.at(places), below.at(places)), 12).to_pylist()
    assert found == [plain(exact_ratio(EXACT.multiply(a, Decimal(10_000)), b)) for a, b in pairs]


def test_a_tie_goes_to_the_even_neighbour() -> None:
    above = np.array([1, 3, 5, -1, -3], np.int64)  # halves of the last place
    found = rounded_bps(above, np.full(5, 2 * 10**16, np.int64))
    assert found.tolist() == [0, 2, 2, 0, -2]


def test_numbers_beyond_64_bits_are_as_exact() -> None:
    column = decimals([Decimal("98765432109876.123456789012"), Decimal(1)])
    assert isinstance(column, Column)
    assert texts_of(*column).to_pylist() == ["98765432109876.123456789012", "1"]


def test_an_empty_column() -> None:
    column = read_column(pa.array([], pa.string()))
    assert texts_of(rounded_bps(column.values, column.values), 12).to_pylist() == []
