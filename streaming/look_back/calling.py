"""Calls a venue's REST API: at its pace, with patience where it asks for it, and with an end."""

from __future__ import annotations

import asyncio
import ssl
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx
import structlog

from ledger import clocks
from ledger.domain.times import NANOS
from streaming.look_back.asking import BusyError, LookBackError
from streaming.look_back.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.look_back.asking import Call
    from streaming.metrics import Metrics
    from streaming.settings import LookBackSettings

MAX_ANSWER_BYTES = 32 << 20
TRIES = 5
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 30.0
LONGEST_HOLD_SECONDS = 300.0  # a ban may last for days: the next audit asks again
_BUSY = frozenset({418, 429})
_AWAY = 500
_SHOWN = 200

log = structlog.get_logger()


class Caller:
    """One venue's API. Requests go one after the other, however many ask."""

    def __init__(self, venue: str, settings: LookBackSettings, metrics: Metrics | None = None) -> None:
        self._venue = venue
        self._settings = settings
        self._metrics = metrics
        self._pace = Pace(float(settings.requests_per_second))
        self._turn = asyncio.Lock()
        self._last_ns = 0
        self._client: httpx.AsyncClient | None = None

    async def ask(self, build: Callable[[int], Call]) -> bytes:
        """Send what ``build`` makes of the time, again where that may help. Raises ``LookBackError``.

        Every attempt is built and signed anew: timestamps and nonces are of the attempt, and only grow.
        """
        async with self._turn:
            backoff = BACKOFF_FIRST_SECONDS
            for attempt in range(1, TRIES + 1):
                await self._pace.wait()
                try:
                    return await self._attempt(build(self._now_ns()))
                except BusyError as error:
                    self._count("busy")
                    seconds, said = max(error.retry_after, backoff), str(error)
                    if error.retry_after > LONGEST_HOLD_SECONDS:
                        self._pace.hold(LONGEST_HOLD_SECONDS)
                        raise
                except (httpx.TransportError, _AwayError, TimeoutError) as error:
                    self._count("failed")
                    seconds, said = backoff, str(error) or repr(error)
                self._pace.hold(seconds)  # the next to ask waits, too, whether or not this one tries again
                log.info("look-back waits", venue=self._venue, seconds=seconds, why=said, attempt=attempt)
                backoff = min(backoff * 2, BACKOFF_MAX_SECONDS)
        raise LookBackError(f"{self._settings.url} does not answer after {TRIES} attempts: {said}")

    def hold(self, seconds: float) -> None:
        """Ask nothing for so long: the venue said so in an answer."""
        self._count("busy")
        self._pace.hold(seconds)

    async def aclose(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _attempt(self, call: Call) -> bytes:
        url = self._settings.url.rstrip("/") + call.target
        request = self._opened().build_request(
            call.method, url, headers=dict(call.headers), content=call.body or None
        )
        async with asyncio.timeout(float(self._settings.timeout_seconds) * 2):  # of all of it, however it trickles
            answer = await self._opened().send(request, stream=True)
            try:
                body = await _read(answer)
            finally:
                await answer.aclose()
        status = answer.status_code
        if status in _BUSY or (status >= _AWAY and "retry-after" in answer.headers):
            raise BusyError(f"status {status}", _retry_after(answer.headers.get("retry-after")))
        if status >= _AWAY:
            raise _AwayError(f"status {status}")
        if status not in call.reads:
            shown = body[:_SHOWN].decode("utf-8", "replace")
            raise LookBackError(
                f"{self._settings.url} answers {status} {shown!r}: check look_back.url, look_back.key and "
                "look_back.secret"
            )
        self._count("answered")
        return body

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            ca = self._settings.tls_ca
            self._client = httpx.AsyncClient(
                verify=ssl.create_default_context(cafile=None if ca is None else str(ca)),
                timeout=float(self._settings.timeout_seconds),
                limits=httpx.Limits(max_connections=1),
                trust_env=False,
            )
        return self._client

    def _now_ns(self) -> int:
        self._last_ns = max(self._last_ns + 1, clocks.time_ns())
        return self._last_ns

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.look_back_requests.labels(self._venue, outcome).inc()


class _AwayError(LookBackError):
    """The venue is away for now."""


async def _read(answer: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise LookBackError(f"an answer has more than {MAX_ANSWER_BYTES} bytes: lower look_back.page_size")
        parts.append(part)
    return b"".join(parts)


def _retry_after(said: str | None) -> float:
    """Read Retry-After (RFC 9110, 10.2.3): seconds or a date; 0 where there is none that can be read."""
    if said is None:
        return 0.0
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - clocks.time_ns() / NANOS)
    except (ValueError, TypeError):
        return 0.0
