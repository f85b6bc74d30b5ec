"""Formats by the names that people give them."""

from __future__ import annotations

import msgspec

from operations.desk.errors import UsageError
from streaming.venues import DECODERS, fix
from streaming.venues.decoded import Decoder

_SYNONYMS = {
    "fix40": "fix",
    "fix41": "fix",
    "fix43": "fix",
    "fix50": "fix50sp2",
    "fix50sp1": "fix50sp2",
    "fixt11": "fix50sp2",
    "binanceusdmfutures": "binance_usdm",
    "binancefutures": "binance_usdm",
    "krakenspot": "kraken",
    "coinbaseadvanced": "coinbase",
    "json": "canonical",
}
_IGNORED = str.maketrans("", "", "-_. ")


class Format(msgspec.Struct, frozen=True):
    """How the messages are read; ``name`` is the decoder's."""

    name: str
    decode: Decoder

    @property
    def is_fix(self) -> bool:
        """Whether messages are FIX, and not JSON."""
        return self.decode is fix.decode


def find_format(venue: str) -> Format:
    """Give the format of a name, whatever its case, hyphens, underscores and dots. Raises ``UsageError``."""
    wanted = plain(venue)
    name = next((known for known in DECODERS if plain(known) == wanted), _SYNONYMS.get(wanted))
    if name is None:
        raise UsageError(f"--venue {venue!r} is not known: give one of {', '.join(DECODERS)}")
    return Format(name, DECODERS[name])


def plain(name: str) -> str:
    """A name as names are compared."""
    return name.lower().translate(_IGNORED)
