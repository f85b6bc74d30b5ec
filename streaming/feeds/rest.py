"""REST callbacks (docs/formats.md): a venue posts its fills, and 200 means that they have committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ledger import clocks
from ledger.domain.times import NANOS
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind, Intake, Outcome
from streaming.credentials import Credentials, NotHeldError
from streaming.errors import InboxFullError
from streaming.feeds.names import primary_feed
from streaming.feeds.webhook import SignatureError, Verifier, secret_key
from streaming.problems import Problem, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from streaming.settings import HttpSettings, RestFeedSettings

OUTCOME_SECONDS = 30.0
BODY_SECONDS = 30.0
MAX_OPEN = 256  # requests of a venue being read or waiting: with body_limit it bounds the memory
MAX_ERRORS = 100  # in an answer; the dead letters are kept all the same
RETRY_AFTER = {"retry-after": "1"}
PEER = "peer"  # of the request's state: the caller's SPIFFE ID, where it showed one (streaming.http)
LINGER_BYTES, LINGER_SECONDS = 8 << 20, 2.0

log = structlog.get_logger()


class RestFeed:
    """The callbacks of one venue."""

    def __init__(
        self,
        venue: str,
        settings: RestFeedSettings,
        http: HttpSettings,
        inbox: Intake,
        ready: Callable[[], bool],
        *,
        feed: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.feed = feed or primary_feed(venue, "rest")
        self._venue = venue
        self._secrets = settings.secrets
        self._peers = frozenset(settings.peers)
        self._credentials = credentials or Credentials()
        for secret in settings.secrets:
            self._credentials.check(secret, secret_key)
        self._verifier = Verifier((), http.timestamp_tolerance_seconds)
        self._body_limit = http.body_limit
        self._inbox = inbox
        self._ready = ready
        self._open = 0

    async def receive(self, request: Request) -> Response:
        """Take one callback and answer when what it holds has committed."""
        if self._open >= MAX_OPEN:
            return _queue_full(request, f"{MAX_OPEN} callbacks of this venue are open")
        self._open += 1
        try:
            return await self._receive(request)
        finally:
            self._open -= 1

    async def _receive(self, request: Request) -> Response:
        received_ns = clocks.time_ns()
        where = request.url.path
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._read(request)
        except TimeoutError:
            return problem(Problem.SLOW_BODY, f"it was not here after {BODY_SECONDS:g} s", where, headers=_CLOSE)
        except ClientDisconnect:
            return problem(Problem.GONE_AWAY, "the connection was closed", where)
        if body is None:
            detail = f"at most {self._body_limit} bytes are read: split it"
            return problem(Problem.TOO_LARGE, detail, where, headers=_CLOSE, response_class=LingeringResponse)
        try:
            self._authenticate(request, body)
        except NotHeldError as error:
            log.warning("callback put off", feed=self.feed, reason=str(error))
            return problem(
                Problem.LEDGER_AWAY, "its secret is not here yet: send it again", where, headers=RETRY_AFTER
            )
        except SignatureError as error:
            log.warning("callback refused", feed=self.feed, reason=str(error))
            challenge = {"www-authenticate": "Standard-Webhooks"}
            return problem(Problem.NOT_SIGNED, str(error), where, headers=challenge)
        if not self._ready():
            return problem(Problem.LEDGER_AWAY, "nothing was kept: send it again", where, headers=RETRY_AFTER)
        return await self._land(request, body, received_ns)

    def _authenticate(self, request: Request, body: bytes) -> None:
        """Raise ``SignatureError`` unless a peer that may bring reports brought it, or a secret has signed it."""
        peer = getattr(request.state, PEER, None)
        if peer is not None and peer in self._peers:
            return
        if not self._secrets:
            shown = "no certificate with a SPIFFE ID" if peer is None else peer
            raise SignatureError(f"the venue is known by its certificate (mTLS), and this caller showed {shown}")
        self._verifier.renew(value for secret in self._secrets for value in self._credentials.accepted(secret))
        self._verifier.verify(request.headers, body, clocks.time_ns() / NANOS)

    async def _read(self, request: Request) -> bytes | None:
        """Read the body; None as soon as it is known to be over the limit."""
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and (
            len(announced) > len(str(self._body_limit)) or int(announced) > self._body_limit
        ):
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._body_limit:
                return None
        return bytes(body)

    async def _land(self, request: Request, body: bytes, received_ns: int) -> Response:
        landed: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not landed.done():  # the caller may have been told to come back
                landed.set_result(outcome)

        arrival = Arrival(self.feed, self._venue, ArrivalKind.REPORT, body, received_ns, done=done)
        at("rest.received")
        try:
            self._inbox.put_now([arrival])
        except InboxFullError as error:
            return _queue_full(request, str(error))
        try:
            async with asyncio.timeout(OUTCOME_SECONDS):
                outcome = await landed
        except TimeoutError:
            detail = "it may still commit: send it again, what has landed is recognised"
            return problem(Problem.NOT_COMMITTED, detail, request.url.path, headers=RETRY_AFTER)
        at("rest.answer")
        return answer(outcome, request.url.path)


def answer(outcome: Outcome, where: str) -> Response:
    """Say what became of a body; with dead letters in it, which and why."""
    counts = {"landed": outcome.landed, "duplicates": outcome.duplicates, "pending": outcome.pending}
    letters = outcome.dead_letters
    if not letters:
        return Response(msgspec.json.encode(counts), media_type="application/json")
    unread = not outcome.landed and not outcome.duplicates and all(x.defect.reason == "malformed" for x in letters)
    errors = [
        {
            "field": letter.defect.field,
            "value": letter.defect.value,
            "rule": letter.defect.rule,
            "remedy": letter.defect.remedy,
            "reason": letter.defect.reason,
            "dead_letter_id": letter.dead_letter_id,
        }
        for letter in letters[:MAX_ERRORS]
    ]
    detail = f"{len(letters)} kept as dead letters, the first for {letters[0].defect}"
    if len(letters) > MAX_ERRORS:
        detail += f" (errors shows {MAX_ERRORS} of them)"
    more = {"errors": errors, **counts}
    return problem(Problem.MALFORMED if unread else Problem.BAD_REPORT, detail, where, more=more)


class LingeringResponse(Response):
    """Answers before the body is here, then reads on a little and throws it away.

    Closing at once resets the connection, and the venue would see a broken pipe in place of the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, linger, end the response."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


_CLOSE = {"connection": "close"}


def _queue_full(request: Request, detail: str) -> Response:
    return problem(Problem.QUEUE_FULL, detail, request.url.path, headers=RETRY_AFTER)
