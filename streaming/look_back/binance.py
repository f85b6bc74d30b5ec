"""Binance: ``GET /api/v3/myTrades`` (spot) and ``GET /fapi/v1/userTrades`` (USD-M), signed with HMAC-SHA256.

One order is asked for by ``GET /api/v3/order`` and ``GET /fapi/v1/order``.

Sources: https://developers.binance.com/docs/binance-spot-api-docs/rest-api (request security, myTrades),
https://developers.binance.com/docs/derivatives/usds-margined-futures/trade/rest-api/Account-Trade-List.

Traps:

- A symbol is required: each is a list of its own.
- ``startTime`` and ``endTime`` may be a day (USD-M: a week) apart at most, and go with no ``fromId``: the first
  page is by time, the next ones by ``fromId`` alone, which ends by the time of what comes.
- ``endTime`` is included, and milliseconds.
- A window of time gives its oldest trades first, up to ``limit``.
- An order that is not there is code -2013 with status 400.
- 429 and 418 (banned) say ``Retry-After``; to go on asking lengthens the ban.
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

    from ledger.domain.delay_events import StatusRequest

_MILLISECOND = 1_000_000
_RECEIVE_WINDOW_MS = 5000
_TOO_MANY, _NO_SUCH_ORDER = -1003, -2013


class _Trade(msgspec.Struct):
    id: int
    time: int


class _Refusal(msgspec.Struct):
    code: int
    msg: str = ""


_lists = msgspec.json.Decoder(list[msgspec.Raw])
_trades = msgspec.json.Decoder(_Trade)
_refusals = msgspec.json.Decoder(_Refusal)


class BinanceList:
    """The account's trades of one symbol."""

    kinds = TRADES
    needs_symbols = True
    needs_pairs = False
    names_account = False

    def __init__(self, path: str, order_path: str) -> None:
        self._path = path
        self._order_path = order_path

    def of_order(self, order: AskedOrder) -> Sequence[AskedOrder]:
        """It takes one of the venue's ids at a time."""
        return [AskedOrder(order.symbol, (), (name,)) for name in order.venue_order_ids]

    def covers(self, symbol: str, asked: Sequence[str]) -> bool:
        """It has what was asked for."""
        return symbol in asked

    def call(self, ask: Ask, access: Access, now_ns: int) -> Call:
        """Ask for a page: by order, by time, or from an id on."""
        by_order = ask.order is not None
        by_time = ask.cursor is None and not by_order
        asked = query(
            symbol=ask.symbol,
            orderId=ask.order.venue_order_ids[0] if ask.order is not None else None,
            startTime=ask.since_ns // _MILLISECOND if by_time else None,
            endTime=(ask.until_ns - 1) // _MILLISECOND if by_time else None,
            fromId=ask.cursor,
            limit=access.page_size,
            recvWindow=_RECEIVE_WINDOW_MS,
            timestamp=now_ns // _MILLISECOND,
        )
        return _signed(self._path, asked, access)

    def page(self, raw: bytes, ask: Ask, access: Access) -> Page:
        """Take a page apart; what lies beyond the window is left out, and ends the list."""
        try:
            views = [bytes(view) for view in _lists.decode(raw)]
            trades = [_trades.decode(view) for view in views]
        except UNREADABLE:
            raise _refused(raw) from None
        end = -(-ask.until_ns // _MILLISECOND)
        begin = ask.since_ns // _MILLISECOND
        inside = [
            view for view, t in zip(views, trades, strict=True) if ask.order is not None or begin <= t.time < end
        ]
        is_over = len(views) < access.page_size or (ask.order is None and trades[-1].time >= end)
        return Page(inside, None if is_over else str(trades[-1].id + 1))

    def ask_state(self, order: StatusRequest, access: Access, now_ns: int) -> Call:
        """Ask for one order: by the venue's id where it is known, which finds a replaced one, too."""
        by_id = order.venue_order_id is not None
        asked = query(
            symbol=order.symbol,
            orderId=order.venue_order_id,
            origClientOrderId=None if by_id else order.cl_ord_id,
            recvWindow=_RECEIVE_WINDOW_MS,
            timestamp=now_ns // _MILLISECOND,
        )
        return msgspec.structs.replace(_signed(self._order_path, asked, access), reads=(200, 400))

    def state(self, raw: bytes, order: StatusRequest) -> bytes | None:
        """The answer is the order itself."""
        del order
        try:
            refusal = _refusals.decode(raw)
        except UNREADABLE:
            return raw
        if refusal.code == _NO_SUCH_ORDER:
            return None
        raise _refused(raw)


def _signed(path: str, asked: str, access: Access) -> Call:
    signed = f"{asked}&signature={signature(access.secret, asked)}"
    return Call("GET", f"{path}?{signed}", {"X-MBX-APIKEY": access.key})


def signature(secret: str, payload: str) -> str:
    """Sign query and body: hex HMAC-SHA256."""
    return hmac.digest(secret.encode(), payload.encode(), "sha256").hex()


def _refused(raw: bytes) -> LookBackError:
    try:
        refusal = _refusals.decode(raw)
    except UNREADABLE:
        return unreadable(raw, "a list of trades")
    said = f"{refusal.code} {refusal.msg}"
    if refusal.code == _TOO_MANY:
        return BusyError(said)
    return LookBackError(f"the venue refuses: {said}: check look_back.key, look_back.secret and look_back.symbols")
