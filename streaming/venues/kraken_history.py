"""Kraken spot's look-back: one trade of ``TradesHistory``, for ``kraken.decode``.

Read: ``{"exec_id": …, "symbol": "BTC/USD", "trade": {…}}``: the trade as Kraken wrote it, with its id, which is
the key beside it there, and the stream's name of its pair (``streaming.look_back.kraken``).

Source: https://docs.kraken.com/api-reference/account-data/get-trades-history.

Traps:

- The key is the stream's ``exec_id``; ``trade_id`` is counted per pair and both sides share it.
- ``time`` is seconds with four decimals, the stream's has six: one instant, cut. Only its date is in the identity.
- ``fee`` is in the quote currency, as the documentation says.
- There is no client order id: the fill is tied by ``ordertxid``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.errors import defect_error
from ledger.domain.numbers import EXACT
from ledger.domain.records import Liquidity, Side
from ledger.domain.times import NANOS
from streaming.venues import json_fields as read
from streaming.venues.canonical_defects import RESEND
from streaming.venues.json_messages import Fields, Of, fields_of

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoded

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_EARLIEST, _LATEST = 946_684_800, 9_214_646_400  # 2000 to 2261, as for all times


def read_trade(of: Of, raw: bytes, decoded: Decoded) -> None:
    """Read one trade. Raises ``DefectError``."""
    item = fields_of(raw, "trade")
    trade = item.get("trade")
    if not isinstance(trade, dict):
        raise defect_error("wrong_type", "trade", repr(trade), "an object is required", RESEND)
    symbol = read.required(item, "symbol")
    quote = symbol.partition("/")[2] or None
    fee = read.number(trade, "fee")
    maker = None if trade.get("maker") is None else read.flag(trade, "maker")
    report = read.fill(
        **of.at(_time(trade)),
        symbol=symbol,
        exec_id=read.required(item, "exec_id"),
        venue_order_id=read.required(trade, "ordertxid"),
        side=read.one_of(trade, "type", _SIDES),
        last_qty=read.positive(trade, "vol"),
        last_px=read.positive(trade, "price"),
        currency=quote,
        fee=fee,
        fee_currency=None if fee is None else quote,
        liquidity={None: None, True: Liquidity.MAKER, False: Liquidity.TAKER}[maker],
    )
    decoded.reports.append((report, raw))


def _time(trade: Fields) -> int:
    seconds = read.positive(trade, "time")
    if not _EARLIEST <= seconds < _LATEST:
        raise defect_error("not_a_time", "time", str(seconds), "seconds from 2000 to 2261 are required", RESEND)
    return int(EXACT.multiply(seconds, NANOS))
