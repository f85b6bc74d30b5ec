"""Kraken spot: ``POST /0/private/TradesHistory``, signed with API-Sign.

Sources: https://docs.kraken.com/api/docs/guides/spot-rest-auth,
https://docs.kraken.com/api-reference/account-data/get-trades-history, …/query-orders-info.

One order is asked for by ``POST /0/private/QueryOrders``.

Traps:

- Newest first, 50 at a time, by offset: the window's end stays the same from page to page, so offsets do not move.
- ``consolidate_taker`` is on by default and makes one trade of several: off.
- ``start`` is not included and ``end`` is; both are asked a second wider, and what lies outside is left out.
- The trade's id is the key of the object, not in it, and its pair is named otherwise than on the stream
  (``XXBTZUSD``, ``BTC/USD``): ``look_back.pairs`` says which is which, and both travel with the trade's own bytes.
- Errors come with status 200 in ``error``; too many requests is one of them.
- The nonce only grows; it is our clock in nanoseconds.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.times import NANOS
from streaming.look_back.asking import (
    TRADES,
    UNREADABLE,
    Access,
    Ask,
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
    from streaming.look_back.asking import AskedOrder

PATH, ORDER_PATH = "/0/private/TradesHistory", "/0/private/QueryOrders"
PAGE_SIZE = 50
_UNKNOWN_ORDER = "Unknown order"  # EOrder:Unknown order


class _Result(msgspec.Struct):
    trades: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)


class _Answer(msgspec.Struct):
    error: list[str] = msgspec.field(default_factory=list)
    result: _Result | None = None


class _Trade(msgspec.Struct):
    pair: str
    time: Decimal


class _Item(msgspec.Struct):
    exec_id: str
    symbol: str
    trade: msgspec.Raw


class _Orders(msgspec.Struct):
    error: list[str] = msgspec.field(default_factory=list)
    result: dict[str, msgspec.Raw] | None = None


class _Queried(msgspec.Struct):
    order_id: str
    symbol: str
    cl_ord_id: str
    queried: msgspec.Raw


_answers = msgspec.json.Decoder(_Answer)
_orders = msgspec.json.Decoder(_Orders)
_trades = msgspec.json.Decoder(_Trade)
_encode = msgspec.json.encode


class KrakenList:
    """The account's trades, of all pairs."""

    kinds = TRADES
    needs_symbols = False
    needs_pairs = True
    names_account = False

    def of_order(self, order: AskedOrder) -> Sequence[AskedOrder]:
        """It cannot be asked by order."""
        del order
        return []

    def covers(self, symbol: str, asked: Sequence[str]) -> bool:
        """It has all symbols."""
        del symbol, asked
        return True

    def call(self, ask: Ask, access: Access, now_ns: int) -> Call:
        """Ask for a page."""
        nonce = str(now_ns)
        body = query(
            nonce=nonce,
            start=ask.since_ns // NANOS - 1,
            end=-(-ask.until_ns // NANOS) + 1,
            ofs=ask.cursor or "0",
            consolidate_taker="false",
        )
        return _signed(PATH, nonce, body, access)

    def page(self, raw: bytes, ask: Ask, access: Access) -> Page:
        """Take a page apart: each trade with its id and the stream's name of its pair."""
        try:
            answer = _answers.decode(raw)
            found = answer.result.trades if answer.result is not None else {}
            trades = {exec_id: _trades.decode(view) for exec_id, view in found.items()}
        except UNREADABLE:
            raise unreadable(raw, "an answer of TradesHistory") from None
        if answer.error:
            raise _refused("; ".join(answer.error))
        items = [
            _encode(_Item(exec_id, _symbol(trade.pair, access), found[exec_id]))
            for exec_id, trade in trades.items()
            if ask.since_ns <= int(trade.time * NANOS) < ask.until_ns
        ]
        more = str(int(ask.cursor or "0") + len(found)) if len(found) >= PAGE_SIZE else None
        return Page(items, more)

    def ask_state(self, order: StatusRequest, access: Access, now_ns: int) -> Call | None:
        """Ask for one order: by the venue's id alone."""
        if order.venue_order_id is None:
            return None
        nonce = str(now_ns)
        return _signed(ORDER_PATH, nonce, query(nonce=nonce, txid=order.venue_order_id), access)

    def state(self, raw: bytes, order: StatusRequest) -> bytes | None:
        """Take the order out, with its names: the answer has its id as a key, and another name of its pair."""
        try:
            answer = _orders.decode(raw)
        except UNREADABLE:
            raise unreadable(raw, "an answer of QueryOrders") from None
        if any(_UNKNOWN_ORDER in said for said in answer.error):
            return None
        if answer.error:
            raise _refused("; ".join(answer.error))
        found = (answer.result or {}).get(order.venue_order_id or "")
        if found is None:
            return None
        return _encode(_Queried(order.venue_order_id or "", order.symbol, order.cl_ord_id, found))


def _signed(path: str, nonce: str, body: str, access: Access) -> Call:
    headers = {
        "API-Key": access.key,
        "API-Sign": signature(access.secret, path, nonce, body),
        "content-type": "application/x-www-form-urlencoded",
    }
    return Call("POST", path, headers, body.encode())


def signature(secret: str, path: str, nonce: str, body: str) -> str:
    """Sign: base64 HMAC-SHA512 of path + SHA256(nonce + body), keyed with the secret out of base64."""
    try:
        key = base64.b64decode(secret, validate=True)
    except binascii.Error:
        raise LookBackError("look_back.secret is not base64: take the private key as Kraken shows it") from None
    message = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
    return base64.b64encode(hmac.digest(key, message, "sha512")).decode()


def _symbol(pair: str, access: Access) -> str:
    symbol = access.pairs.get(pair)
    if symbol is None:
        raise LookBackError(
            f"look_back.pairs does not name the pair {pair!r}: add it with the stream's symbol, "
            'e.g. XXBTZUSD = "BTC/USD" (wsname of AssetPairs, with BTC for XBT)'
        )
    return symbol


def _refused(said: str) -> LookBackError:
    if "Rate limit" in said or "Throttled" in said:
        return BusyError(said)
    return LookBackError(f"the venue refuses: {said}: check look_back.key and look_back.secret")
