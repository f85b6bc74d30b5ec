"""The published figures of textbooks, courses and FIX, reproduced from their own inputs.

A figure that is published rounded is compared at its published places.
"""

from __future__ import annotations

import csv
import json
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest

from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.numbers import EXACT, ZERO, exact_ratio
from ledger.domain.records import BenchmarkKind, ExecutionStatus, ReportKind, Side
from ledger.domain.shortfall import (
    Dealt,
    Decided,
    average,
    effective_spread,
    implementation_shortfall,
    quoted_spread,
    shortfall_per_unit,
)
from ledger.domain.slippage import mid, slippage_bps
from tests.shared import needs_shared, shared
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot

pytestmark = needs_shared
CENT = Decimal("0.01")


def example(name: str) -> Any:
    found = json.loads(shared("samples/tca/worked_examples.json").read_text("utf-8"))
    return next(one for one in found if one["id"] == name)


def decimals(inputs: dict[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(str(value)) for name, value in inputs.items() if name != "side"}


def percent(fraction: Decimal) -> str:
    return f"{(fraction * 100).quantize(CENT, ROUND_HALF_UP)}%"


def test_the_arrival_cost_of_a_buy() -> None:
    told = example("ap_arrival_buy")
    given = decimals(told["inputs"])
    ours = slippage_bps(Side(told["inputs"]["side"]), given["avg_exec_px"], given["arrival_px"])
    assert ours == Decimal("5.334044539272")
    assert ours.quantize(Decimal("1E-6"), ROUND_HALF_EVEN) == Decimal(str(round(told["recomputed"], 6)))


def shortfall_of_the_course(dealt_price: Decimal, closing_price: Decimal) -> tuple[dict[str, str], Any]:
    told = example("gaodun_403v1d")
    given = decimals(told["inputs"])
    found = implementation_shortfall(
        Decided(
            Side.BUY,
            given["ordered"],
            given["decision_px"],
            given["revised_benchmark_px"],
            closing_price,
            given["commission"],
        ),
        [Dealt(given["filled"], dealt_price)],
    )
    assert found.paper == given["paper_investment"]
    parts = {
        "explicit": found.explicit,
        "realized": found.realised,
        "delay": found.delay,
        "missed": found.missed,
        "total": found.total,
    }
    adjusted = found.market_adjusted(Side.BUY, given["beta"], given["market_return_pct"] / 100)
    ours = {name: percent(found.ratio(part)) for name, part in parts.items()}
    return {**ours, "market_adjusted": percent(adjusted)}, told["published"]


def test_implementation_shortfall_in_its_parts() -> None:
    # The dealt and the closing price are not among the inputs; in whole cents only these give the published parts.
    ours, published = shortfall_of_the_course(Decimal("60.07"), Decimal("60.08"))
    assert ours == published


def test_no_other_prices_in_cents_give_the_published_shortfall() -> None:
    cents = [Decimal(6000 + n) * CENT for n in range(20)]
    fitting = []
    for dealt_price in cents:
        ours, published = shortfall_of_the_course(dealt_price, Decimal("60.08"))
        if ours["realized"] == published["realized"]:
            fitting.append(dealt_price)
    assert fitting == [Decimal("60.07")]
    closing = [c for c in cents if shortfall_of_the_course(Decimal("60.07"), c)[0]["missed"] == "0.04%"]
    assert closing == [Decimal("60.07"), Decimal("60.08")]  # 0.035 % is rounded up


def test_the_delay_cost_is_negative_where_the_wait_paid() -> None:
    told = example("analystforum_63141_prob11")
    given = decimals(told["inputs"])
    found = implementation_shortfall(
        Decided(
            Side.BUY,
            given["ordered"],
            given["original_benchmark"],
            given["revised_benchmark"],
            given["original_benchmark"],
        ),
        [Dealt(given["filled"], given["revised_benchmark"])],
    )
    assert percent(found.ratio(found.delay)) == told["published"]


def test_the_shortfall_of_a_share() -> None:
    told = example("pastpaperhero_is")
    given, side = decimals(told["inputs"]), Side(told["inputs"]["side"])
    each = shortfall_per_unit(side, given["exec_px"], given["decision_px"])
    whole = implementation_shortfall(
        Decided(side, given["shares"], given["decision_px"], given["decision_px"]),
        [Dealt(given["shares"], given["exec_px"])],
    )
    bps = slippage_bps(side, given["exec_px"], given["decision_px"])
    assert {"per_share": each, "bps": bps, "total": whole.total} == told["recomputed"]


@pytest.mark.parametrize("name", ["gaodun_403v0v_12pm", "fincyclopedia_eff", "analystforum_62338"])
def test_an_effective_spread(name: str) -> None:
    told = example(name)
    given, side = decimals(told["inputs"]), Side(told["inputs"]["side"])
    effective = effective_spread(side, given["exec_px"], given["bid"], given["ask"])
    quoted = quoted_spread(given["bid"], given["ask"])
    ours = {
        "effective": effective,
        "quoted": quoted,
        "improvement": EXACT.subtract(quoted, effective),
        "mid": mid(snapshot("S", str(given["bid"]), str(given["ask"]))),
    }
    published = told["published"] if isinstance(told["published"], dict) else {"effective": told["published"]}
    for figure, value in published.items():
        assert ours[figure].quantize(Decimal(value)) == Decimal(value), figure


def test_the_effective_spread_is_twice_the_slippage_against_the_mid() -> None:
    price, bid, ask = Decimal("9.92"), Decimal("9.90"), Decimal("9.96")
    middle = mid(snapshot("S", str(bid), str(ask)))
    in_bps = Fraction(effective_spread(Side.SELL, price, bid, ask)) / Fraction(middle) / 2 * 10_000
    assert slippage_bps(Side.SELL, price, middle) == exact_ratio(
        Decimal(in_bps.numerator), Decimal(in_bps.denominator)
    )


def test_the_average_effective_spread() -> None:
    told = example("gaodun_403v0v_avg")
    ours = average(Decimal(value) for value in told["inputs"]["values"])
    assert ours.quantize(Decimal(told["published"])) == Decimal(told["published"])
    with pytest.raises(ValueError, match="at least one value"):
        average([])


def test_average_price_and_slippage_follow_every_bust_and_correct() -> None:
    """FIX matrix J.1.a: one benchmark, so the fills' weighted slippage is that of their average price."""
    told = example("fix_J1a_avgpx")
    matrix = json.loads(shared("samples/fix/order_state_matrices.json").read_text("utf-8"))["J.1.a"]
    kinds = {"Trade": ReportKind.FILL, "Trade Cancel": ReportKind.BUST, "Trade Correct": ReportKind.CORRECT}
    book = Book()
    book.apply(decide(book, [intent("C1", "X", qty="12000", decision="100")], Policy()))
    averages = []
    for n, step in enumerate(s for s in matrix["steps"] if s.get("exec_type") in kinds):
        # a bust says quantity and price 0: what it takes back is the execution
        fact = report(
            step["exec_id"],
            kind=kinds[step["exec_type"]],
            ref=step.get("exec_ref_id"),
            cl_ord_id="X",
            qty=str(step["last_qty"] or 1),
            px=str(step["last_px"] or 1),
            at=T0 + n * SECOND,
        )
        book.apply(decide(book, [fact], Policy()))
        order = book.orders["C1"]
        active = [e for e in order.executions.values() if e.status is ExecutionStatus.ACTIVE]
        total = sum((e.last_qty for e in active), ZERO)
        averages.append(exact_ratio(sum((e.last_qty * e.last_px for e in active), ZERO), total))
        measured = {
            m.execution_id: m.bps
            for metrics in order.metrics.values()
            for m in metrics
            if m.kind is BenchmarkKind.DECISION_PRICE and m.bps is not None
        }
        assert measured.keys() == {e.execution_id for e in active}
        weighted = sum((e.last_qty * measured[e.execution_id] for e in active), ZERO)
        assert exact_ratio(weighted, total) == slippage_bps(Side.BUY, averages[-1], Decimal(100))
    assert averages == told["published"]


def tcapy_trades() -> list[dict[str, str]]:
    with shared("samples/tca/tcapy_mini_trades.csv").open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["event_type"] == "trade"]


def test_tcapys_slippage_is_ours_with_the_other_sign_and_as_a_fraction() -> None:
    rows = tcapy_trades()
    assert len(rows) == 27
    for row in rows:
        price, benchmark, sign = Decimal(row["executed_price"]), Decimal(row["market_mid"]), int(row["side"])
        theirs = -sign * (Fraction(price) / Fraction(benchmark) - 1)  # MetricSlippage
        ours = slippage_bps(Side.BUY if sign == 1 else Side.SELL, price, benchmark)
        assert Fraction(ours) == Fraction(round(-theirs * 10_000 * 10**12), 10**12)
        assert ours > 0  # each of these trades was dearer than its mid


def test_tcapys_mids_are_ours_to_the_precision_of_its_single_floats() -> None:
    for row in tcapy_trades():
        ours = mid(snapshot("S", row["market_bid"], row["market_ask"]))
        assert abs(ours - Decimal(row["market_mid"])) < Decimal(2) ** -23  # the step of a float32 between 1 and 2


def test_a_shortfall_needs_a_closing_price_for_what_never_traded_and_no_overfill() -> None:
    decided = Decided(Side.SELL, Decimal(10), Decimal(100), Decimal(99))
    with pytest.raises(ValueError, match="3 never traded"):
        implementation_shortfall(decided, [Dealt(Decimal(7), Decimal(98))])
    with pytest.raises(ValueError, match="no more than the decided quantity 10"):
        implementation_shortfall(decided, [Dealt(Decimal(11), Decimal(98))])


def test_the_parts_of_a_sellers_shortfall_add_up_to_paper_less_reality() -> None:
    decided = Decided(Side.SELL, Decimal(10), Decimal(100), Decimal(99), Decimal(97), Decimal("1.5"))
    found = implementation_shortfall(decided, [Dealt(Decimal(4), Decimal(98)), Dealt(Decimal(3), Decimal(101))])
    proceeds = 4 * 98 + 3 * 101 - Decimal("1.5")
    assert (found.realised, found.delay, found.missed) == (4 * 1 - 3 * 2, 7, 9)
    assert found.total == found.paper - (proceeds + 3 * 97)  # what is left is still there, at the closing price
    fallen = found.market_adjusted(Side.SELL, Decimal(2), Decimal("-0.01"))
    assert fallen == found.ratio(found.total) - Decimal("0.02")
