"""Wire formats of venues: raw bytes -> reports, pure functions, one module a format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.venues import binance, canonical, coinbase, deribit, fix, kraken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.venues.decoded import Decoder

DECODERS: Mapping[str, Decoder] = {
    "canonical": canonical.decode,
    "fix": fix.decode,
    "fix42": fix.decode,
    "fix44": fix.decode,
    "fix50sp2": fix.decode,
    "binance": binance.decode,
    "binance_spot": binance.decode,
    "binance_usdm": binance.decode,
    "kraken": kraken.decode,
    "kraken_futures": kraken.decode,
    "coinbase": coinbase.decode,
    "deribit": deribit.decode,
}
