"""Provisional hedges: exposure, limit, confidence, and what trues one up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.hedges import (
    Confidence,
    Exposure,
    Hedge,
    HedgeStatus,
    NoHedge,
    confidence_of,
    estimated_price,
    exposure_of,
    hedge_of,
    true_up,
)
from ledger.domain.instruments import Instrument, InstrumentKind
from ledger.domain.records import Side
from tests.unit.domain.facts import T0, snapshot

D = Decimal
SNAPSHOT = snapshot("S1", "99", "101", T0)
LINEAR = Instrument("ALPHA", "ES", InstrumentKind.LINEAR, "ES", "USD", "USD", D(50))
INVERSE = Instrument("ALPHA", "XBTUSD", InstrumentKind.INVERSE, "XBT", "USD", "XBT", D(10))
quantities = st.decimals(min_value="0.00000001", max_value="1e9", places=8)


@pytest.mark.parametrize(
    ("instrument", "currency", "wanted"),
    [
        (None, "USDT", Exposure(D(300), "USDT")),
        (None, None, None),
        (LINEAR, None, Exposure(D(15_000), "USD")),
        (LINEAR, "EUR", Exposure(D(15_000), "USD")),
        (INVERSE, None, Exposure(D("0.3"), "XBT")),
    ],
    ids=["without reference data", "and without a currency", "linear", "the instrument's currency", "inverse"],
)
def test_the_exposure_is_leaves_at_the_mid(
    instrument: Instrument | None, currency: str | None, wanted: Exposure | None
) -> None:
    assert exposure_of(D(3), SNAPSHOT, instrument, currency) == wanted


def test_the_price_is_that_of_the_side_it_would_have_taken() -> None:
    assert (estimated_price(Side.BUY, SNAPSHOT), estimated_price(Side.SELL, SNAPSHOT)) == (D(101), D(99))


@pytest.mark.parametrize(
    ("is_market", "is_learned", "is_fresh", "wanted"),
    [
        (True, True, True, Confidence.HIGH),
        (False, True, True, Confidence.MEDIUM),
        (True, False, True, Confidence.MEDIUM),
        (True, True, False, Confidence.MEDIUM),
        (False, False, True, Confidence.LOW),
        (True, False, False, Confidence.LOW),
        (False, False, False, Confidence.LOW),
    ],
)
def test_confidence(is_market: bool, is_learned: bool, is_fresh: bool, wanted: Confidence) -> None:
    assert confidence_of(is_market=is_market, is_learned=is_learned, is_fresh=is_fresh) is wanted


@pytest.mark.parametrize(
    ("exposure", "limits", "why"),
    [
        (None, {"USDT": D(1)}, "the currency of the exposure is not known"),
        (Exposure(D(300), "USDT"), {}, "the venue has no limit in USDT"),
        (Exposure(D(300), "USDT"), {"EUR": D(0)}, "the venue has no limit in USDT"),
        (Exposure(D(300), "USDT"), {"USDT": D(300)}, "the exposure is within the venue's limit"),
        (Exposure(D(300), "USDT"), {"USDT": D("299.99")}, None),
        (Exposure(D(300), "USDT"), {"USDT": D(0)}, None),
    ],
)
@pytest.mark.parametrize("side", Side)
def test_what_passes_the_limit_is_hedged(
    side: Side, exposure: Exposure | None, limits: dict[str, Decimal], why: str | None
) -> None:
    decided = hedge_of(side, D(3), exposure, limits, SNAPSHOT, 5, Confidence.HIGH)
    if why is not None:
        assert decided == NoHedge(why)
        return
    assert isinstance(decided, Hedge)
    assert decided.side is not side
    assert (decided.quantity, decided.price) == (D(3), estimated_price(side, SNAPSHOT))
    assert (decided.snapshot_id, decided.snapshot_age_ns, decided.limit_value) == ("S1", 5, limits["USDT"])


@pytest.mark.parametrize(
    ("quantity", "filled", "status", "difference"),
    [
        ("10", "10", HedgeStatus.CONFIRMED, "0"),
        ("10", "3", HedgeStatus.ADJUSTED, "-7"),
        ("10", "12", HedgeStatus.ADJUSTED, "2"),
        ("10", "0", HedgeStatus.WITHDRAWN, "-10"),
        ("10", "-2", HedgeStatus.WITHDRAWN, "-10"),
    ],
    ids=["all", "a part", "a replace raised it", "nothing", "less than nothing: an earlier fill was busted"],
)
def test_the_table_of_true_ups(quantity: str, filled: str, status: HedgeStatus, difference: str) -> None:
    told = true_up(D(quantity), D(filled))
    assert (told.status, told.difference) == (status, D(difference))


@given(quantities, st.one_of(st.just(D(0)), quantities))
def test_quantity_and_difference_are_what_filled(quantity: Decimal, filled: Decimal) -> None:
    told = true_up(quantity, filled)
    assert quantity + told.difference == filled == told.filled
    assert (told.status is HedgeStatus.WITHDRAWN) == (not filled)
    assert (told.status is HedgeStatus.CONFIRMED) == (filled == quantity)
