"""Our own list of fills, for venues that speak the canonical format (docs/look-back.md).

``GET /v1/fills?from=TIME&to=TIME&limit=N[&cursor=C][&cl_ord_id=…][&venue_order_id=…]`` answers
``{"fills": [report, …], "next": "C" | null}``, oldest first; reports are those of docs/formats.md.
``GET /v1/order?cl_ord_id=…[&venue_order_id=…]&request_id=…`` answers ``{"order": report | null}``.
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from ledger.domain.records import ReportKind
from ledger.domain.times import NANOS, format_utc
from streaming.look_back.asking import UNREADABLE, Access, Ask, Call, Page, query, unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.domain.delay_events import StatusRequest
    from streaming.look_back.asking import AskedOrder

PATH, ORDER_PATH = "/v1/fills", "/v1/order"


class _Answer(msgspec.Struct):
    fills: list[msgspec.Raw]
    next: str | None = None


class _State(msgspec.Struct):
    order: msgspec.Raw


_answers = msgspec.json.Decoder(_Answer)
_states = msgspec.json.Decoder(_State)


class CanonicalList:
    """The canonical list: all that traded, busts and corrects too."""

    kinds = frozenset(ReportKind)
    needs_symbols = False
    needs_pairs = False
    names_account = True

    def of_order(self, order: AskedOrder) -> Sequence[AskedOrder]:
        """It takes all names at once."""
        return [order]

    def covers(self, symbol: str, asked: Sequence[str]) -> bool:
        """It has all symbols."""
        del symbol, asked
        return True

    def call(self, ask: Ask, access: Access, now_ns: int) -> Call:
        """Ask for a page; signed where there is a secret, else with the key as a bearer."""
        asked: list[tuple[str, str]] = [
            ("from", format_utc(ask.since_ns)),
            ("to", format_utc(ask.until_ns)),
            ("limit", str(access.page_size)),
        ]
        if ask.order is not None:
            asked += [("cl_ord_id", name) for name in ask.order.cl_ord_ids]
            asked += [("venue_order_id", name) for name in ask.order.venue_order_ids]
        if ask.cursor is not None:
            asked.append(("cursor", ask.cursor))
        return _signed(f"{PATH}?{urlencode(asked)}", access, now_ns)

    def page(self, raw: bytes, ask: Ask, access: Access) -> Page:
        """Take a page apart."""
        del ask, access
        try:
            answer = _answers.decode(raw)
        except UNREADABLE:
            raise unreadable(raw, 'a list {"fills": […], "next": …} as docs/look-back.md says') from None
        return Page([bytes(item) for item in answer.fills], answer.next)

    def ask_state(self, order: StatusRequest, access: Access, now_ns: int) -> Call:
        """Ask for one order, by all its names."""
        names = query(cl_ord_id=order.cl_ord_id, venue_order_id=order.venue_order_id, request_id=order.request_id)
        return _signed(f"{ORDER_PATH}?{names}", access, now_ns)

    def state(self, raw: bytes, order: StatusRequest) -> bytes | None:
        """Take the report out; null is no such order."""
        del order
        try:
            found = bytes(_states.decode(raw).order)
        except UNREADABLE:
            raise unreadable(raw, 'an order {"order": …} as docs/look-back.md says') from None
        return None if found == b"null" else found


def _signed(target: str, access: Access, now_ns: int) -> Call:
    if not access.secret:
        return Call("GET", target, {"authorization": f"Bearer {access.key}"} if access.key else {})
    timestamp = str(now_ns // NANOS)
    headers = {
        "look-back-key": access.key,
        "look-back-timestamp": timestamp,
        "look-back-signature": signature(access.secret, timestamp, "GET", target),
    }
    return Call("GET", target, headers)


def signature(secret: str, timestamp: str, method: str, target: str) -> str:
    """Sign a request: ``v1,`` and base64 HMAC-SHA256 over ``timestamp.METHOD.target``, as Standard Webhooks does.

    A secret ``whsec_…`` is base64, any other is taken as it is.
    """
    key = secret.encode()
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{timestamp}.{method}.{target}".encode(), "sha256")
    return "v1," + base64.b64encode(digest).decode()
