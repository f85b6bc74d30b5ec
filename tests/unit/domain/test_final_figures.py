"""Markouts, interval averages and shortfalls of orders: hand-worked figures, and the published one."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.fees import fee_bps
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.interval import interval_vwap, twap, vwap
from ledger.domain.markouts import HORIZONS, NO_SNAPSHOT, NOT_KNOWN_YET, Horizon, markout
from ledger.domain.numbers import exact_ratio
from ledger.domain.order_costs import OrderState, Worked, fee_money, filled_by, order_cost
from ledger.domain.records import Execution, ExecutionStatus, Side, Snapshot
from ledger.domain.slippage import slippage_bps
from ledger.domain.times import utc_date
from tests.shared import needs_shared, shared
from tests.unit.domain.facts import SECOND, T0, intent, snapshot

D = Decimal
FRESH = 5 * SECOND


def execution(name: str, qty: str, px: str, **changes: object) -> Execution:
    made = Execution(
        name, "C1", "M1", "ALPHA", "ACC-1", "BTCUSDT", Side.BUY, utc_date(T0), name,
        name, ExecutionStatus.ACTIVE, D(qty), D(px), "USDT", D(0), "USDT", None, T0 + SECOND,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def worked(qty: str, executions: list[Execution], **changes: object) -> Worked:
    made = Worked(
        intent(qty=qty, decision="100"),
        D(qty), filled_by(executions, Instruments(), {}), True, snapshot("A", "100.5", "101.5", T0),
        snapshot("Z", "104", "106", T0), T0 + SECOND,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


# --- markouts ---------------------------------------------------------------------------------------------


def test_a_markout_is_a_cost_where_the_market_goes_against_the_trade() -> None:
    later = snapshot("L", "98", "100", T0)  # mid 99: who bought at 100 paid too much, who sold at 100 did well
    known = {"known_until_ns": T0 + SECOND, "stale_after_ns": FRESH}
    bought = markout(Side.BUY, D(100), T0 + SECOND, later, **known)
    sold = markout(Side.SELL, D(100), T0 + SECOND, later, **known)
    assert bought.bps == exact_ratio(D(10_000), D(99)) == slippage_bps(Side.BUY, D(100), D(99))
    assert sold.bps == -bought.bps
    assert (bought.benchmark, bought.snapshot_id, bought.reason) == (D(99), "L", None)


def test_what_the_market_cannot_say_is_null_with_the_reason() -> None:
    later = snapshot("L", "98", "100", T0)
    assert markout(Side.BUY, D(1), T0 + 2, later, known_until_ns=T0 + 1, stale_after_ns=FRESH) == NOT_KNOWN_YET
    assert markout(Side.BUY, D(1), T0 + 2, None, known_until_ns=T0 + 2, stale_after_ns=FRESH) == NO_SNAPSHOT
    old = markout(Side.BUY, D(1), T0 + FRESH + 1, later, known_until_ns=T0 + FRESH + 1, stale_after_ns=FRESH)
    assert (old.reason, old.bps is None) == ("stale_snapshot", False)


def test_the_markout_of_an_inverse_contract_divides_by_the_price() -> None:
    later = snapshot("L", "98", "100", T0)
    found = markout(Side.BUY, D(100), T0, later, known_until_ns=T0, stale_after_ns=FRESH, inverse=True)
    assert found.bps == D(100)  # (100 - 99) / 100


def test_the_horizons_are_those_that_are_asked_for() -> None:
    assert [HORIZONS[h] // SECOND for h in Horizon] == [1, 10, 60, 300]


# --- interval ---------------------------------------------------------------------------------------------


def test_a_mid_counts_for_as_long_as_it_stood() -> None:
    mids = [(0, D(100)), (10, D(110)), (40, D(90))]
    assert twap(mids, 5, 45) == exact_ratio(D(5 * 100 + 30 * 110 + 5 * 90), D(40))
    assert twap(mids, 12, 12) == D(110)
    assert twap(mids, 10, 40) == D(110)
    assert twap([(6, D(1))], 5, 45) is None  # the market at the beginning is not known
    assert twap([], 5, 45) is None


@given(
    st.lists(st.tuples(st.integers(1, 50), st.decimals("0.01", "999999", places=2)), min_size=1, max_size=30),
    st.integers(0, 60),
    st.integers(0, 2_000),
)
def test_the_average_lies_between_the_lowest_and_the_highest(
    steps: list[tuple[int, Decimal]], begin: int, length: int
) -> None:
    at, mids = 0, []
    for step, price in steps:
        mids.append((at, price))
        at += step
    found = twap(mids, begin, begin + length)
    assert found is not None
    assert min(p for _, p in mids) <= found <= max(p for _, p in mids)
    half = begin + length // 2
    parts = [twap(mids, begin, half), twap(mids, half, begin + length)]
    if half > begin and begin + length > half and None not in parts:
        joined = (Fraction(parts[0]) * (half - begin) + Fraction(parts[1]) * (begin + length - half)) / length
        assert abs(joined - Fraction(found)) <= Fraction(1, 10**12)


def test_a_volume_weighted_average() -> None:
    assert vwap(D(4), D(100 + 3 * 104)) == D(103)
    assert vwap(D(0), D(0)) is None


def test_the_markets_average_is_of_what_it_traded_after_the_arrival_up_to_the_last_fill() -> None:
    def traded(at: int, qty: str | None, notional: str | None) -> Snapshot:
        volumes = {"traded_qty": qty and D(qty), "traded_notional": notional and D(notional)}
        return msgspec.structs.replace(snapshot(f"S{at}", "1", "2", at), **volumes)

    market = [
        traded(10, "5", "500"),  # taken at the arrival: all of it was traded before
        traded(11, "2", "202"),
        traded(15, None, None),  # a sender that does not know
        traded(17, "0", "0"),
        traded(20, "1", "104"),  # taken at the last fill: traded up to it
        traded(21, "9", "9000"),
    ]
    assert interval_vwap(market, 10, 20) == exact_ratio(D(306), D(3)) == 102
    assert interval_vwap(market, 11, 17) is None  # nothing but zero and what is not known
    assert interval_vwap([], 10, 20) is None
    # a buyer at 103 paid more than the market, by 1 in 102; a seller got more
    assert slippage_bps(Side.BUY, D(103), D(102)) == D("98.039215686275")
    assert slippage_bps(Side.SELL, D(103), D(102)) == D("-98.039215686275")


# --- shortfall of an order --------------------------------------------------------------------------------


def test_the_parts_of_an_order_add_up() -> None:
    fills = [execution("E1", "4", "102", fee=D("0.5")), execution("E2", "3", "103", fee=D("0.25"))]
    cost = order_cost(worked("10", fills), Instruments(), FRESH)
    assert cost.state is OrderState.CLOSED
    assert cost.paper == 1000
    assert cost.explicit == D("0.75")
    assert cost.delay == 7 * (101 - 100)
    assert cost.trading == 4 * (102 - 101) + 3 * (103 - 101)
    assert cost.opportunity == 3 * (105 - 100)
    assert cost.total == D("32.75") == cost.explicit + cost.delay + cost.trading + cost.opportunity
    assert cost.total_bps == D("327.5")
    assert cost.avg_px == exact_ratio(D(717), D(7))
    assert cost.reason is None


def test_an_order_that_never_traded_costs_its_opportunity() -> None:
    cost = order_cost(worked("10", []), Instruments(), FRESH)
    assert (cost.total, cost.opportunity, cost.delay, cost.trading) == (50, 50, 0, 0)
    assert cost.avg_px is None


def test_what_is_missing_leaves_out_what_needs_it_and_says_so() -> None:
    fills = [execution("E1", "4", "102")]
    half = worked("10", fills, closing=None)
    cost = order_cost(half, Instruments(), FRESH)
    assert (cost.opportunity, cost.total, cost.reason) == (None, None, "no_close")
    assert cost.trading == 4

    no_arrival = order_cost(worked("4", fills, arrival=None), Instruments(), FRESH)
    assert (no_arrival.delay, no_arrival.trading, no_arrival.total) == (None, None, 8)
    assert no_arrival.reason == "no_arrival"

    no_fee = order_cost(worked("4", [execution("E1", "4", "102", fee=None)]), Instruments(), FRESH)
    assert (no_fee.explicit, no_fee.total, no_fee.reason) == (None, None, "no_fee")

    undecided = order_cost(worked("4", fills, root=intent(qty="4")), Instruments(), FRESH)
    assert (undecided.delay, undecided.trading, undecided.paper) == (None, 4, 404)
    assert undecided.reason == "no_decision_price"

    working = order_cost(worked("10", fills, is_closed=False), Instruments(), FRESH)
    assert (working.state, working.reason) == (OrderState.OPEN, "order_open")
    stale = order_cost(worked("10", fills, closing_ns=T0 + FRESH + 1), Instruments(), FRESH)
    assert stale.reason == "stale_close"
    over = order_cost(worked("3", fills), Instruments(), FRESH)
    assert (over.state, over.order_qty, over.reason) == (OrderState.FILLED, 4, "overfill")


def test_contracts_are_worth_their_units_and_inverse_ones_have_no_shortfall() -> None:
    fills = [execution("E1", "4", "102")]
    linear = Instrument("ALPHA", "BTCUSDT", InstrumentKind.LINEAR, "BTC", "USDT", "USDT", D("0.5"), D(10))
    assert order_cost(worked("4", fills), Instruments([linear]), FRESH).total == 4 * 2 * 5
    inverse = Instrument("ALPHA", "BTCUSDT", InstrumentKind.INVERSE, "BTC", "USDT", "BTC", D(100))
    cost = order_cost(worked("4", fills), Instruments([inverse]), FRESH)
    assert (cost.total, cost.reason, cost.filled_qty) == (None, "inverse_contract", 4)


@pytest.mark.parametrize(
    ("fee", "currency", "rate", "money"),
    [("0.5", "USDT", None, "0.5"), ("0.01", "BTC", None, "1.02"), ("3", "BNB", "10", "0.408"),
     ("3", "BNB", None, None), ("3", None, None, None), ("0", None, None, "0")],
)  # fmt: skip
def test_a_fee_in_the_currency_of_the_price(
    fee: str, currency: str | None, rate: str | None, money: str | None
) -> None:
    spot = Instrument("ALPHA", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", "USDT")
    charged = execution("E1", "4", "102", fee=D(fee), fee_currency=currency)
    found = fee_money(charged, spot, None if rate is None else D(rate))
    assert found == (None if money is None else D(money))
    known = fee_bps(charged, Instruments([spot]))
    if found is not None and known is not None:
        assert known == exact_ratio(found * 10_000, D(408))


@needs_shared
def test_the_published_shortfall_by_an_order() -> None:
    """The course's case (gaodun 403v1d) as orders and fills: its parts in percent of the paper investment."""
    told = next(
        one
        for one in json.loads(shared("samples/tca/worked_examples.json").read_text("utf-8"))
        if one["id"] == "gaodun_403v1d"
    )
    given_ = told["inputs"]
    fills = [execution("E1", str(given_["filled"]), "60.07", fee=D(given_["commission"]))]
    order = worked(
        str(given_["ordered"]),
        fills,
        root=intent(qty=str(given_["ordered"]), decision=given_["decision_px"]),
        arrival=snapshot("A", given_["revised_benchmark_px"], given_["revised_benchmark_px"], T0),
        closing=snapshot("Z", "60.08", "60.08", T0),
    )
    cost = order_cost(order, Instruments(), FRESH)
    assert cost.paper == given_["paper_investment"]
    parts = {
        "explicit": cost.explicit, "realized": cost.trading, "delay": cost.delay, "missed": cost.opportunity,
        "total": cost.total,
    }  # fmt: skip
    for name, part in parts.items():
        assert part is not None
        assert f"{(part / cost.paper * 100).quantize(D('0.01'), 'ROUND_HALF_UP')}%" == told["published"][name]
