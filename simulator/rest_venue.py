"""The REST venue: calls ours with signed bodies until each is answered for good (docs/formats.md)."""

from __future__ import annotations

import asyncio
import base64
import hmac
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from simulator.http_client import Answer, Connection, UnansweredError
from simulator.records import Message, ReportRow

if TYPE_CHECKING:
    from simulator.config import VenueConfig
    from simulator.journal import Journal
    from simulator.venue import Delivery, StatusDesk

REPORTS_A_BODY = 10
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
DONE = frozenset({200, 400, 422})
PUT_OFF = frozenset({429, 503})
LOST_ATTEMPT = (0.5, 2.0)
LOST_ANSWER = (0.2, 1.5)


class Call(msgspec.Struct):
    """A body on its way: loaded from the journal when it is sent."""

    message_id: int
    reports: tuple[int, ...]
    fault: str
    message: Message | None = None
    attempts: int = 0
    unanswered: int = 0
    """Attempts of which we do not know whether they were accepted."""
    copy: bool = False
    """Accepted before; sent again because the answer counts as lost."""


class RestVenue:
    """A venue that calls back."""

    kind = "rest"

    def __init__(self, config: VenueConfig, journal: Journal, seed: int) -> None:
        self.name = config.name
        self.answers: Counter[int] = Counter()
        self._config = config
        self._journal = journal
        self._state = journal.session(config.name)
        self.rekey(config.secret)
        self._rng = random.Random(f"{seed}/{config.name}")  # of waits only, so the run stays the same
        self._path = f"/v1/venues/{config.name}/fills"
        self._ready: asyncio.Queue[Call] = asyncio.Queue()
        self._copies_due = 0
        self._undelivered: set[int] = set()
        self._drop_next = False
        self._reachable = False
        self._workers: list[asyncio.Task[None]] = []
        self._taken: list[Call] = []
        for message_id, _, fault, reports in journal.undelivered(config.name):
            self._undelivered.add(message_id)
            self._taken.append(Call(message_id, reports, fault))

    def rekey(self, *keys: str) -> None:
        """Sign with another secret from now on: one of the callee's."""
        (secret,) = keys
        self._key = base64.b64decode(secret.removeprefix("whsec_") + "==")

    def answer_status(self, ask: StatusDesk) -> None:
        """Nobody asks: this venue calls."""

    async def start(self) -> None:
        """Begin to call; what earlier runs left comes first."""
        work = (
            asyncio.create_task(self._work(), name=f"{self.name} caller") for _ in range(self._config.concurrency)
        )
        self._workers = list(work)
        self.release()

    def take(self, deliveries: list[Delivery]) -> None:
        """Put reports into bodies: those that go wrong on the way get one of their own."""
        together: list[ReportRow] = []
        for delivery in deliveries:
            # a bad field travels beside good reports; what breaks the JSON of the body travels alone
            alone = delivery.fault not in {"", "malformed"}
            if not alone:
                together.append(delivery.row)
            if alone:
                self._body(delivery.fault, [delivery.row])
            elif len(together) == REPORTS_A_BODY:
                self._body("", together)
                together = []
        self._body("", together)

    def _body(self, fault: str, rows: list[ReportRow]) -> None:
        if rows:
            message = self._journal.add_message(self._state, None, fault, rows)
            self._undelivered.add(message.id)
            self._taken.append(Call(message.id, message.reports, fault, message))

    def release(self) -> None:
        """Hand the bodies to the callers."""
        for call in self._taken:
            if call.fault == "lost":
                self._queue(call, self._rng.uniform(*LOST_ATTEMPT))
            else:
                self._ready.put_nowait(call)
        self._taken = []

    def drop(self) -> bool:
        """The next caller finds its kept-alive connection closed."""
        self._drop_next = True
        return True

    def resend_stale(self) -> bool:
        """There is no session layer that would discard it."""
        return False

    @property
    def connected(self) -> bool:
        """The last call was answered."""
        return self._reachable

    @property
    def outstanding(self) -> int:
        """Bodies without a final answer, and copies that are still to follow."""
        return len(self._undelivered) + self._copies_due

    @property
    def address(self) -> str:
        """What it calls."""
        return self._config.url + self._path

    async def stop(self) -> None:
        """Stop calling; what is left stays in the journal."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _queue(self, call: Call, wait: float) -> None:
        asyncio.get_running_loop().call_later(wait, self._ready.put_nowait, call)

    async def _work(self) -> None:
        connection = Connection(self._config.url, self._config.tls_ca)
        try:
            while True:
                call = await self._ready.get()
                if self._drop_next:
                    self._drop_next = False
                    connection.close()
                await self._attempt(connection, call)
        finally:
            await connection.aclose()

    async def _attempt(self, connection: Connection, call: Call) -> None:
        message = call.message or self._journal.message(call.message_id)
        body = b'{"fills":[%s]}' % b",".join(message.payloads)
        call.attempts += 1
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(call.attempts, 10)) * self._rng.uniform(0.5, 1.0)
        try:
            answer = await connection.post(self._path, body, self._signed(call, body))
        except (OSError, TimeoutError, UnansweredError) as error:
            call.unanswered += isinstance(error, UnansweredError)
            self._reachable = False
            self._queue(call, wait)
            return
        self._reachable = True
        self.answers[answer.status] += 1
        if answer.status in DONE:
            self._answered(call, answer)
        else:
            self._queue(call, max(wait, _retry_after(answer)) if answer.status in PUT_OFF else wait)

    def _signed(self, call: Call, body: bytes) -> dict[str, str]:
        webhook_id = f"{self.name}-{self._journal.tag}-{call.message_id}"
        now = datetime.now(tz=UTC)
        signature = sign(self._key, webhook_id, now, body)
        return {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        }

    def _answered(self, call: Call, answer: Answer) -> None:
        copies = 1
        if call.unanswered and not call.copy and _all_duplicates(answer, len(call.reports)):
            copies = 2  # one of the unanswered attempts had been accepted after all
        self._journal.delivered(call.message_id, call.reports, copies)
        self._undelivered.discard(call.message_id)
        if call.copy:
            self._copies_due -= 1
        elif call.fault == "duplicate":
            call.copy = True
            self._copies_due += 1
            self._queue(call, self._rng.uniform(*LOST_ANSWER))


def sign(key: bytes, webhook_id: str, at: datetime, body: bytes) -> str:
    """Standard Webhooks signature; the library's own takes text only, and a body may be bad UTF-8."""
    signed = f"{webhook_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _retry_after(answer: Answer) -> float:
    value = answer.headers.get("retry-after", "0")
    return float(value) if value.replace(".", "", 1).isdigit() else 0.0


def _all_duplicates(answer: Answer, count: int) -> bool:
    try:
        said = msgspec.json.decode(answer.body, type=dict[str, int])
    except msgspec.DecodeError:
        return False
    return said.get("duplicates", 0) >= count
