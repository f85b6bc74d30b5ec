"""A slice of ``make oracle``: the ledger's figures are the exact fractions, rounded once."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest

from bench.oracle import Tally, compare, stored
from ledger.domain import numbers
from ledger.domain.records import BenchmarkKind

FILLS, SLICES = 20_000, 4


@pytest.mark.parametrize("part", range(SLICES))
def test_the_figures_of_random_fills_are_the_exact_fractions_rounded_once(part: int) -> None:
    tally = compare(f"slice/{part}", FILLS // SLICES)
    assert tally.sample == []
    assert tally.fills == FILLS // SLICES
    assert {name.partition(" ")[0] for name in tally.figures} == {*BenchmarkKind, "fee_bps"}
    assert tally.between > tally.fills / 10  # a figure between two 12-place numbers tells how it is rounded


def test_the_oracle_notices_another_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    up = numbers._STORE.copy()
    up.rounding = ROUND_HALF_UP
    monkeypatch.setattr(numbers, "_STORE", up)
    tally = compare("rounding", 500)
    assert tally.differences > 0
    assert "ledger" in tally.sample[0]


def test_chunks_add_up() -> None:
    whole, half = Tally(), compare("chunk", 10)
    whole.add(half)
    whole.add(half)
    assert (whole.fills, whole.figures.total()) == (20, 2 * half.figures.total())


@pytest.mark.parametrize(("exact", "kept"), [("0.5", "0"), ("1.5", "2"), ("-0.5", "0"), ("2.5000001", "3")])
def test_the_oracle_rounds_half_to_even(exact: str, kept: str) -> None:
    assert stored(Fraction(exact) / 10**12) == Fraction(Decimal(kept)) / 10**12
