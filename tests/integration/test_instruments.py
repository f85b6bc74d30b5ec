"""The seeded reference data: read alike by both drivers, and the real samples' fees in bps by it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine

from ledger.db.instruments import load_instruments, read_instruments
from ledger.db.urls import plain_url, psycopg_url
from ledger.domain.chain import execute
from ledger.domain.instruments import InstrumentKind, notional
from ledger.domain.records import Execution, FillReport
from streaming.venues import DECODERS
from tests.shared import needs_shared, shared

if TYPE_CHECKING:
    from ledger.domain.instruments import Instruments


@pytest.fixture
def seeded(ledger_url: str) -> Instruments:
    async def load() -> Instruments:
        connection = await asyncpg.connect(plain_url(ledger_url))
        try:
            return await load_instruments(connection)
        finally:
            await connection.close()

    return asyncio.run(load())


def test_both_drivers_read_the_same_reference_data(ledger_url: str, seeded: Instruments) -> None:
    engine = create_engine(psycopg_url(ledger_url))
    with engine.connect() as connection:
        assert list(read_instruments(connection)) == list(seeded)
    engine.dispose()
    perpetual = seeded.find("DERIBIT", "BTC-PERPETUAL")
    assert perpetual is not None
    assert (perpetual.kind, perpetual.settlement) == (InstrumentKind.INVERSE, "BTC")
    assert seeded.find("ALPHA", "SOLUSDT") is seeded.find("*", "SOLUSDT")


@pytest.mark.parametrize(
    "values",
    [
        "('V', 'S', 'option', 'B', 'Q', 'Q', 1, 1)",
        "('V', 'S', 'linear', 'B', 'Q', 'Q', 0, 1)",
        "('V', 'S', 'linear', 'B', 'Q', 'Q', 1, -1)",
        "('V', 'S', 'inverse', 'B', 'Q', 'Q', 1, 1)",
        "('CME', 'ES', 'linear', 'B', 'Q', 'Q', 1, 1)",
    ],
)
def test_the_table_refuses_what_would_make_wrong_figures(ledger_url: str, values: str) -> None:
    statement = (
        b"INSERT INTO execution.instruments "
        b"(venue, symbol, kind, base, quote, settlement, contract_size, multiplier) VALUES "
    )
    with psycopg.connect(ledger_url) as connection, pytest.raises(psycopg.errors.IntegrityError):
        connection.execute(statement + values.encode())


def sample(decoder: str, venue: str, file: str, known: Instruments) -> Execution:
    decoded = DECODERS[decoder](venue, shared(f"samples/{file}").read_bytes())
    fills = [report for report, _ in decoded.reports if isinstance(report, FillReport)]
    return execute(fills[:1], "C1", "M1", known)


@needs_shared
@pytest.mark.parametrize(
    ("decoder", "venue", "file", "bps"),
    [
        ("binance", "BINANCE", "binance_spot/execution_report_trade.json", "10"),  # 0.001 ETH of 1 ETH
        ("binance", "BINANCE_USDM", "binance_futures/order_update_trade_partial.json", "14.083515245405"),
        ("kraken", "KRAKEN", "kraken/ws_v2_executions_seq10_trade_full_but_partially_filled.json",
         "26.000097744728"),
        ("deribit", "DERIBIT", "deribit/doc_user_trades_instrument_two_fills_same_ms.json", "7.52136"),
    ],
)  # fmt: skip
def test_the_fees_of_real_fills(decoder: str, venue: str, file: str, bps: str, seeded: Instruments) -> None:
    assert sample(decoder, venue, file, seeded).fee_bps == Decimal(bps)


@needs_shared
def test_an_inverse_contracts_notional_is_in_its_coin(seeded: Instruments) -> None:
    file = "deribit/doc_user_trades_instrument_two_fills_same_ms.json"
    fill = sample("deribit", "DERIBIT", file, seeded)
    assert notional(fill, seeded.find("DERIBIT", "BTC-PERPETUAL")) == Decimal("0.002233638597")  # 20 / 8954 BTC


def test_an_es_future_is_fifty_dollars_a_point_at_prices_without_a_point(seeded: Instruments) -> None:
    instrument = seeded.find("CME", "ES")
    assert instrument is not None
    assert instrument.multiplier == 50
    assert Decimal(208700) * instrument.units == Decimal("2087.00") * 50
