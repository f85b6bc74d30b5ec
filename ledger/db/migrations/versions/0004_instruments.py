"""Reference data of symbols: contract sizes, and the currencies of price, quantity and settlement.

Seeded with what the sample venues and the practice venues trade; a site adds its own rows. The venues' names are
those that the settings have; "*" is any venue.
"""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# venue, symbol, kind, base, quote, settlement, contract_size, multiplier
_SEED = (
    # the practice venues; and pairs that are rates of fees
    ("*", "BTCUSDT", "spot", "BTC", "USDT", "USDT", "1", "1"),
    ("*", "ETHUSDT", "spot", "ETH", "USDT", "USDT", "1", "1"),
    ("*", "SOLUSDT", "spot", "SOL", "USDT", "USDT", "1", "1"),
    ("*", "BNBUSDT", "spot", "BNB", "USDT", "USDT", "1", "1"),
    ("BINANCE", "BTCUSDT", "spot", "BTC", "USDT", "USDT", "1", "1"),
    ("BINANCE", "ETHUSDT", "spot", "ETH", "USDT", "USDT", "1", "1"),
    ("BINANCE", "ETHBTC", "spot", "ETH", "BTC", "BTC", "1", "1"),
    ("BINANCE", "LTCBNB", "spot", "LTC", "BNB", "BNB", "1", "1"),
    ("BINANCE", "BNBUSDT", "spot", "BNB", "USDT", "USDT", "1", "1"),
    ("BINANCE", "BNBBTC", "spot", "BNB", "BTC", "BTC", "1", "1"),
    ("BINANCE_USDM", "BTCUSDT", "linear", "BTC", "USDT", "USDT", "1", "1"),
    ("BINANCE_USDM", "ETHUSDT", "linear", "ETH", "USDT", "USDT", "1", "1"),
    ("KRAKEN", "BTC/USD", "spot", "BTC", "USD", "USD", "1", "1"),
    ("KRAKEN", "ETH/USD", "spot", "ETH", "USD", "USD", "1", "1"),
    ("KRAKEN_FUTURES", "PI_XBTUSD", "inverse", "BTC", "USD", "BTC", "1", "1"),
    ("KRAKEN_FUTURES", "PI_ETHUSD", "inverse", "ETH", "USD", "ETH", "1", "1"),
    ("KRAKEN_FUTURES", "PF_XBTUSD", "linear", "BTC", "USD", "USD", "1", "1"),
    ("KRAKEN_FUTURES", "PF_ETHUSD", "linear", "ETH", "USD", "USD", "1", "1"),
    ("COINBASE", "BTC-USD", "spot", "BTC", "USD", "USD", "1", "1"),
    ("COINBASE", "ETH-USD", "spot", "ETH", "USD", "USD", "1", "1"),
    # the quantity that Deribit reports is in dollars, not in contracts of 10 (streaming/venues/deribit.py)
    ("DERIBIT", "BTC-PERPETUAL", "inverse", "BTC", "USD", "BTC", "1", "1"),
    ("DERIBIT", "ETH-PERPETUAL", "inverse", "ETH", "USD", "ETH", "1", "1"),
    # 50 dollars a point; iLink sends prices in hundredths (LastPx 208700 is 2087.00 points)
    ("CME", "ES", "linear", "ES", "USD", "USD", "0.01", "50"),
)
_COMMENTS = {
    "venue": "a venue''s name in the settings; * is any venue",
    "kind": "spot, linear, inverse",
    "quote": "the currency of the price",
    "settlement": "what it is paid in; of an inverse contract its base",
}


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE execution.instruments (
            venue text NOT NULL,
            symbol text NOT NULL,
            kind text NOT NULL CHECK (kind IN ('spot', 'linear', 'inverse')),
            base text NOT NULL,
            quote text NOT NULL,
            settlement text NOT NULL,
            contract_size numeric NOT NULL DEFAULT 1 CHECK (contract_size > 0),
            multiplier numeric NOT NULL DEFAULT 1 CHECK (multiplier > 0),
            tick numeric CHECK (tick > 0),
            lot numeric CHECK (lot > 0),
            PRIMARY KEY (venue, symbol),
            CHECK (kind <> 'inverse' OR settlement = base)
        )
        """
    )
    op.execute(
        "COMMENT ON TABLE execution.instruments IS "
        "'What a quantity of one stands for at a venue, and in which currencies it is priced and paid.'"
    )
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN execution.instruments.{column} IS '{comment}'")
    names = ("venue", "symbol", "kind", "base", "quote", "settlement", "contract_size", "multiplier")
    table = sa.table("instruments", *(sa.column(name) for name in names), schema="execution")
    op.bulk_insert(table, [dict(zip(names, _with_decimals(row), strict=True)) for row in _SEED])


def _with_decimals(row: tuple[str, ...]) -> tuple[str | Decimal, ...]:
    return (*row[:-2], Decimal(row[-2]), Decimal(row[-1]))


def downgrade() -> None:
    op.execute("DROP TABLE execution.instruments")
