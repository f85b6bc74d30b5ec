from __future__ import annotations

import json
import random
from decimal import Decimal
from fractions import Fraction

import pytest

from ledger.domain.records import Side
from ledger.domain.slippage import mid, slippage_bps
from tests.shared import needs_shared, shared
from tests.unit.domain.facts import snapshot


def oracle(side: Side, price: Decimal, benchmark: Decimal) -> Decimal:
    exact = side.sign * (Fraction(price) - Fraction(benchmark)) / Fraction(benchmark) * 10_000
    return Decimal(f"{round(exact * 10**12)}E-12")


def test_every_figure_of_100_000_random_fills_is_the_exact_fraction_rounded_once() -> None:
    rng = random.Random(11)
    for _ in range(100_000):
        side = rng.choice(list(Side))
        price = Decimal(rng.randrange(1, 10**11)).scaleb(-rng.randrange(9))
        benchmark = Decimal(rng.randrange(1, 10**11)).scaleb(-rng.randrange(9))
        assert slippage_bps(side, price, benchmark) == oracle(side, price, benchmark)


@pytest.mark.parametrize(
    ("side", "price", "sign"),
    [(Side.BUY, "101", 1), (Side.BUY, "99", -1), (Side.SELL, "99", 1), (Side.SELL, "101", -1)],
)
def test_a_positive_figure_is_a_cost_on_either_side(side: Side, price: str, sign: int) -> None:
    assert slippage_bps(side, Decimal(price), Decimal(100)) == sign * 100


def test_the_mid_is_exact() -> None:
    assert mid(snapshot("S", "0.000000000000000001", "0.000000000000000002")) == Decimal("1.5E-18")


@needs_shared
def test_the_published_arrival_cost_is_ours() -> None:
    examples = json.loads(shared("samples/tca/worked_examples.json").read_text("utf-8"))
    example = next(e for e in examples if e["metric"] == "arrival_cost_bps")["inputs"]
    ours = slippage_bps(Side(example["side"]), Decimal(example["avg_exec_px"]), Decimal(example["arrival_px"]))
    assert ours == Decimal("5.334044539272")
