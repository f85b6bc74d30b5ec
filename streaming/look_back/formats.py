"""Which formats have a list of fills that we can ask for, and what each needs in the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.look_back.binance import BinanceList
from streaming.look_back.canonical import CanonicalList
from streaming.look_back.deribit import DeribitList
from streaming.look_back.kraken import KrakenList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streaming.look_back.asking import Lister

LISTS: Mapping[str, Lister] = {
    "canonical": CanonicalList(),
    "binance": BinanceList("/api/v3/myTrades", "/api/v3/order"),
    "binance_spot": BinanceList("/api/v3/myTrades", "/api/v3/order"),
    "binance_usdm": BinanceList("/fapi/v1/userTrades", "/fapi/v1/order"),
    "kraken": KrakenList(),
    "deribit": DeribitList(),
}


def unfit(name: str, symbols: Sequence[str], pairs: Mapping[str, str]) -> str | None:
    """Say which setting of ``look_back`` does not do for a format, its value and the remedy; None where all do."""
    lister = LISTS.get(name)
    if lister is None:
        known = ", ".join(LISTS)
        return (
            f"format: {name!r} has no list of fills that can be asked for; name the format of the venue's "
            f"REST API ({known}), or leave look_back out"
        )
    if lister.needs_symbols and not symbols:
        return f"symbols: [] is empty, and {name!r} lists by symbol; name those that are traded"
    if lister.needs_pairs and not pairs:
        return f'pairs: {{}} is empty, and {name!r} has other names than its stream, e.g. XXBTZUSD = "BTC/USD"'
    return None
