from __future__ import annotations

from decimal import Decimal

import pytest

from ledger.db.instruments import read_instrument
from ledger.domain.errors import DefectError
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments, RatePair, notional
from tests.unit.domain.executions import execution

SPOT, LINEAR, INVERSE = InstrumentKind


def spot(venue: str, base: str, quote: str) -> Instrument:
    return Instrument(venue, base + quote, SPOT, base, quote, quote)


def test_the_venues_own_entry_comes_before_that_of_any_venue() -> None:
    anyones, own = spot("*", "BTC", "USDT"), spot("ALPHA", "BTC", "USDT")
    assert Instruments([anyones, own]).find("ALPHA", "BTCUSDT") is own
    assert Instruments([anyones, own]).find("BRAVO", "BTCUSDT") is anyones
    assert Instruments([own]).find("BRAVO", "BTCUSDT") is None
    assert Instruments().find("ALPHA", "BTCUSDT") is None


@pytest.mark.parametrize(
    ("kind", "size", "multiplier", "worth"),
    [
        (SPOT, "1", "1", "120000"),
        (LINEAR, "0.001", "1", "120"),
        (LINEAR, "1", "50", "6000000"),
        (LINEAR, "0.01", "50", "60000"),
        (INVERSE, "1", "1", "0.000033333333"),
        (INVERSE, "100", "1", "0.003333333333"),
    ],
)
def test_the_notional_is_in_quote_or_for_inverse_contracts_in_base(
    kind: InstrumentKind, size: str, multiplier: str, worth: str
) -> None:
    settlement = "BTC" if kind is INVERSE else "USD"
    instrument = Instrument("ALPHA", "X", kind, "BTC", "USD", settlement, Decimal(size), Decimal(multiplier))
    assert notional(execution(qty="2", px="60000"), instrument) == Decimal(worth)
    assert instrument.notional_currency == settlement


def test_without_reference_data_the_notional_is_that_of_spot() -> None:
    assert notional(execution(qty="0.5", px="60000"), None) == 30_000


@pytest.mark.parametrize("field", ["contract_size", "multiplier", "tick", "lot"])
@pytest.mark.parametrize("value", ["0", "-1", "0.0000000000000000001", "NaN"])
def test_a_size_that_is_no_positive_number_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(DefectError, match=rf"instruments\[CME ES\]\.{field}"):
        Instrument("CME", "ES", LINEAR, "ES", "USD", "USD", **{field: Decimal(value)})  # type: ignore[arg-type]


def test_sizes_whose_product_is_out_of_range_are_refused() -> None:
    tiny = Decimal("0.000000000001")
    with pytest.raises(DefectError, match="contract_size x multiplier"):
        Instrument("V", "S", LINEAR, "B", "Q", "Q", tiny, tiny)


def test_an_inverse_contract_that_does_not_settle_in_base_is_refused() -> None:
    with pytest.raises(DefectError, match=r"settlement='USD'.*settles in its base currency, BTC"):
        Instrument("KRAKEN_FUTURES", "PI_XBTUSD", INVERSE, "BTC", "USD", "USD")


def test_a_rate_is_a_pair_quoted_that_way_before_one_quoted_the_other_way() -> None:
    known = Instruments([spot("*", "USDT", "BNB"), spot("OTHER", "BNB", "USDT"), spot("*", "USDT", "EUR")])
    assert known.rate_pair("ALPHA", "BNB", "USDT") == RatePair("BNBUSDT", inverted=False)
    assert known.rate_pair("ALPHA", "EUR", "USDT") == RatePair("USDTEUR", inverted=True)
    assert known.rate_pair("ALPHA", "EUR", "BNB") is None


def test_of_several_pairs_the_venues_own_is_the_rate_then_any_venues_then_the_first_by_name() -> None:
    pairs = [
        Instrument(venue, f"{venue}-BNB", SPOT, "BNB", "USDT", "USDT") for venue in ("ZULU", "BRAVO", "*", "ALPHA")
    ]
    found = Instruments(pairs).rate_pair("ZULU", "BNB", "USDT"), Instruments(pairs).rate_pair("X", "BNB", "USDT")
    assert [pair.symbol for pair in found if pair is not None] == ["ZULU-BNB", "*-BNB"]
    assert Instruments(pairs[:2]).rate_pair("X", "BNB", "USDT") == RatePair("BRAVO-BNB", inverted=False)


def test_a_perpetual_is_no_rate() -> None:
    perpetual = Instrument("BINANCE_USDM", "BNBUSDT", LINEAR, "BNB", "USDT", "USDT")
    assert Instruments([perpetual]).rate_pair("BINANCE_USDM", "BNB", "USDT") is None


ROW = {
    "venue": "CME", "symbol": "ES", "kind": "linear", "base": "ES", "quote": "USD", "settlement": "USD",
    "contract_size": Decimal("0.010"), "multiplier": Decimal("5E+1"), "tick": None, "lot": Decimal("1.0"),
}  # fmt: skip


def test_a_row_is_read_with_its_numbers_spelt_one_way() -> None:
    found = read_instrument(ROW)
    assert (str(found.contract_size), str(found.multiplier), found.tick, str(found.lot)) == (
        "0.01",
        "50",
        None,
        "1",
    )
    assert found.units == Decimal("0.5")


def test_a_row_of_an_unknown_kind_is_named() -> None:
    with pytest.raises(DefectError, match=r"instruments\[CME ES\]\.kind='option': one of spot, linear, inverse"):
        read_instrument({**ROW, "kind": "option"})
