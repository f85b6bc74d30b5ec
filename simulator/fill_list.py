"""A venue's own list of fills over REST (docs/look-back.md): everything that traded, on its stream or not.

``GET /v1/fills?from=&to=&limit=[&cursor=][&cl_ord_id=…][&venue_order_id=…]``, and one order's state by
``GET /v1/order?cl_ord_id=&request_id=``; a bearer key or a signature is asked
for where the configuration has one, and more requests within a second than ``look_back_per_second`` get 429.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import msgspec

if TYPE_CHECKING:
    from simulator.config import VenueConfig
    from simulator.journal import Journal

PATH, ORDER_PATH = "/v1/fills", "/v1/order"
AT_MOST = 1_000
HEAD_WITHIN = 10.0
CLOCKS_MAY_DIFFER = 300
LIMITED_OVER = 1.0

Answer = tuple[str, dict[str, str], bytes]
# venue, ClOrdID, the request's id: the order's state as a canonical report; None: there is no such order
OrderDesk = Callable[[str, str, str], bytes | None]


class FillList:
    """One venue's list. ``requests`` and ``refused`` (429) are counted in the journal, over all runs."""

    def __init__(self, config: VenueConfig, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._pairs = {config.look_back_key: config.look_back_secret}
        self._lately: deque[float] = deque()
        self._server: asyncio.Server | None = None
        self._state_of: OrderDesk = lambda _venue, _cl_ord_id, _request_id: None
        self.port = 0

    def answer_status(self, ask: OrderDesk) -> None:
        """Answer who asks for an order with what ``ask`` gives."""
        self._state_of = ask

    def rekey(self, pairs: dict[str, str]) -> None:
        """Answer who signs with one of these from now on: secrets by their keys."""
        self._pairs = dict(pairs)

    async def start(self) -> None:
        """Listen."""
        port = self._config.look_back_port or 0
        self._server = await asyncio.start_server(self._serve, self._config.host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            while True:  # connections are kept alive
                async with asyncio.timeout(HEAD_WITHIN):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, headers, body = self._answer(head)
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def _answer(self, head: str) -> Answer:
        request, *lines = head.rstrip("\r\n").split("\r\n")
        method, _, rest = request.partition(" ")
        target = rest.partition(" ")[0]
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        self._count("requests")
        if self._is_too_much():
            self._count("refused")
            return _problem(
                "429 Too Many Requests", "slow down", {"Retry-After": str(self._config.look_back_retry)}
            )
        path = urlsplit(target).path
        if method != "GET" or path not in (PATH, ORDER_PATH):
            return _problem("404 Not Found", f"GET {PATH}?from=&to=&limit=&cursor= or {ORDER_PATH}?cl_ord_id=")
        if not self._knows(method, target, headers):
            self._count("unauthorized")
            return _problem("401 Unauthorized", "the key or the signature is wrong")
        asked = parse_qs(urlsplit(target).query)
        return self._page(asked) if path == PATH else self._order(asked)

    def _order(self, asked: dict[str, list[str]]) -> Answer:
        self._count("orders")
        names = [asked.get(name, [""])[0] for name in ("cl_ord_id", "request_id")]
        return "200 OK", {}, b'{"order":%s}' % (self._state_of(self._config.name, *names) or b"null")

    def _count(self, what: str) -> None:
        self._journal.counts[f"look_back_{what}/{self._config.name}"] += 1

    def _is_too_much(self) -> bool:
        """Whether this is one request more than a second allows; what was refused counts, too."""
        now = time.monotonic()
        while self._lately and now - self._lately[0] >= LIMITED_OVER:
            self._lately.popleft()
        self._lately.append(now)
        return len(self._lately) > self._config.look_back_per_second

    def _knows(self, method: str, target: str, headers: dict[str, str]) -> bool:
        if not any(self._pairs.values()):
            return any(
                not key or hmac.compare_digest(headers.get("authorization", ""), f"Bearer {key}")
                for key in self._pairs
            )
        timestamp = headers.get("look-back-timestamp", "")
        if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > CLOCKS_MAY_DIFFER:
            return False
        key = headers.get("look-back-key", "")
        if key not in self._pairs:
            return False
        wanted = sign(self._pairs[key], f"{timestamp}.{method}.{target}")
        self._count(f"by {key}")
        return hmac.compare_digest(headers.get("look-back-signature", ""), wanted)

    def _page(self, asked: dict[str, list[str]]) -> Answer:
        first, last = asked.get("from", [""])[0], asked.get("to", [""])[0]
        limit = asked.get("limit", ["100"])[0]
        try:
            after = _cursor_of(asked["cursor"][0]) if "cursor" in asked else ("", 0)
        except (ValueError, binascii.Error):
            return _problem("400 Bad Request", "cursor is none that was given here")
        if not (first.endswith("Z") and last.endswith("Z") and limit.isdigit() and 1 <= int(limit) <= AT_MOST):
            return _problem("400 Bad Request", f"from and to are UTC times, limit is from 1 to {AT_MOST}")
        names = (asked.get("cl_ord_id", []), asked.get("venue_order_id", []))
        rows = self._journal.listed(self._config.name, (first, last), after, int(limit), names)
        fills = b",".join(body for _, _, body in rows)
        following = b"null"
        if len(rows) == int(limit):
            following = msgspec.json.encode(_cursor(rows[-1][1], rows[-1][0]))
        return "200 OK", {}, b'{"fills":[%s],"next":%s}' % (fills, following)


def sign(secret: str, signed: str) -> str:
    """Sign as docs/look-back.md says."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    return "v1," + base64.b64encode(hmac.digest(key, signed.encode(), "sha256")).decode()


def _cursor(transact_time: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{transact_time} {number}".encode()).decode()


def _cursor_of(said: str) -> tuple[str, int]:
    transact_time, _, number = base64.urlsafe_b64decode(said).decode().partition(" ")
    return transact_time, int(number)


def _problem(status: str, detail: str, headers: dict[str, str] | None = None) -> Answer:
    return status, headers or {}, msgspec.json.encode({"title": status, "detail": detail})
