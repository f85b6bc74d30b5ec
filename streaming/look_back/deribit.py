"""Deribit: ``private/get_user_trades_by_currency_and_time`` and ``…_by_order``, signed with deri-hmac-sha256.

Sources: https://docs.deribit.com/articles/authentication,
https://docs.deribit.com/api-reference/trading/private-get_user_trades_by_currency_and_time.

Traps:

- A currency is required (``look_back.symbols``: BTC, ETH, …): each is a list of its own.
- ``start_timestamp`` and ``end_timestamp`` are milliseconds and both included. There is no cursor: the next page
  begins at the time of the last trade, which it repeats. A millisecond with more trades than a page is an error.
- ``sorting`` is by trade id where it is not said.
- Too many requests is an error 10028 with status 429.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from streaming.look_back.asking import (
    TRADES,
    UNREADABLE,
    Access,
    Ask,
    AskedOrder,
    BusyError,
    Call,
    LookBackError,
    Page,
    query,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_BY_TIME = "/api/v2/private/get_user_trades_by_currency_and_time"
_BY_ORDER = "/api/v2/private/get_user_trades_by_order"
_MILLISECOND = 1_000_000
_TOO_MANY = 10_028


class _Result(msgspec.Struct):
    trades: list[msgspec.Raw]
    has_more: bool = False


class _Refusal(msgspec.Struct):
    code: int
    message: str = ""


class _Answer(msgspec.Struct):
    result: _Result | list[msgspec.Raw] | None = None
    error: _Refusal | None = None


class _Trade(msgspec.Struct):
    timestamp: int


_answers = msgspec.json.Decoder(_Answer)
_trades = msgspec.json.Decoder(_Trade)


class DeribitList:
    """The account's trades of one currency, or of one order."""

    kinds = TRADES
    needs_symbols = True
    needs_pairs = False
    names_account = False

    def of_order(self, order: AskedOrder) -> Sequence[AskedOrder]:
        """It takes one of the venue's ids at a time."""
        return [AskedOrder(order.symbol, (), (name,)) for name in order.venue_order_ids]

    def covers(self, symbol: str, asked: Sequence[str]) -> bool:
        """Instruments are named ``BTC-…``, linear ones ``BTC_USDC-…``: these are of the currency USDC."""
        return symbol.partition("-")[0].rpartition("_")[2] in asked

    def call(self, ask: Ask, access: Access, now_ns: int) -> Call:
        """Ask for a page."""
        if ask.order is not None:
            target = f"{_BY_ORDER}?{query(order_id=ask.order.venue_order_ids[0])}"
        else:
            asked = query(
                currency=ask.symbol,
                start_timestamp=ask.cursor or ask.since_ns // _MILLISECOND,
                end_timestamp=(ask.until_ns - 1) // _MILLISECOND,
                count=access.page_size,
                sorting="asc",
            )
            target = f"{_BY_TIME}?{asked}"
        timestamp, nonce = str(now_ns // _MILLISECOND), str(now_ns)
        signed = signature(access.secret, timestamp, nonce, "GET", target)
        said = f"deri-hmac-sha256 id={access.key},ts={timestamp},nonce={nonce},sig={signed}"
        return Call("GET", target, {"authorization": said})

    def page(self, raw: bytes, ask: Ask, access: Access) -> Page:
        """Take a page apart."""
        del access
        try:
            answer = _answers.decode(raw)
        except UNREADABLE:
            raise unreadable(raw, "an answer with trades") from None
        if answer.error is not None:
            raise _refused(answer.error)
        result = answer.result
        if result is None:
            raise unreadable(raw, "an answer with trades")
        if isinstance(result, list):
            return Page([bytes(view) for view in result])
        views = [bytes(view) for view in result.trades]
        if not (result.has_more and views):
            return Page(views)
        try:
            last = str(_trades.decode(views[-1]).timestamp)
        except UNREADABLE:
            raise unreadable(views[-1], "a trade with its timestamp") from None
        if last == ask.cursor:
            raise LookBackError(f"more trades at {last} than a page holds: raise look_back.page_size")
        return Page(views, last)


def signature(secret: str, timestamp: str, nonce: str, method: str, target: str, body: str = "") -> str:
    r"""Sign: hex HMAC-SHA256 of ``timestamp\nnonce\nMETHOD\ntarget\nbody\n``."""
    return hmac.digest(
        secret.encode(), f"{timestamp}\n{nonce}\n{method}\n{target}\n{body}\n".encode(), "sha256"
    ).hex()


def _refused(error: _Refusal) -> LookBackError:
    said = f"{error.code} {error.message}"
    if error.code == _TOO_MANY:
        return BusyError(said)
    return LookBackError(f"the venue refuses: {said}: check look_back.key, look_back.secret and look_back.symbols")
