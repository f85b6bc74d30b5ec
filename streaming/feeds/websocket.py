"""A venue's WebSocket (docs/formats.md): frames as they come, and a position that never skips a hole.

The position moves over the contiguous prefix only. After a crash the venue therefore sends again from the
first hole; what lies beyond it has landed already and landing it again is harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import deque
from typing import TYPE_CHECKING, Annotated

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode

from ledger import clocks
from ledger.domain.records import Position
from ledger.domain.sequence_gaps import Gaps
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind
from streaming.credentials import Credentials
from streaming.errors import FeedError
from streaming.feeds.names import primary_feed
from streaming.feeds.sequence import MAX_ISLANDS, Hole, Sequences

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.delay_events import StatusRequest
    from ledger.domain.sequence_gaps import GapFilled
    from streaming.arrivals import Intake
    from streaming.settings import WebSocketFeedSettings

STREAM = "executions"
MAX_FRAME_BYTES = 8 << 20
BATCH_FRAMES = 256
BATCH_BYTES = 4 << 20
HEARTBEAT_GRACE_SECONDS = 1.0  # a heartbeat may overtake the frames that it announces by this much
ASK_FIRST_SECONDS, ASK_MAX_SECONDS = 0.5, 10.0
ASK_HOLES = 16  # in one go; the next ones are asked for when these are filled
BACKOFF_FIRST_SECONDS = 0.1
GOOD_SPELL_SECONDS = 10.0  # a connection that held so long: the next failure is a new one
QUEUE_FRAMES = 64
QUESTIONS = 1_000  # that wait for the connection: of more the newest are asked

Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
# the sequence of a frame that is not JSON, if it can still be seen
_LEGIBLE = re.compile(rb'\A\s*\{\s*"channel"\s*:\s*"executions"\s*,\s*"sequence"\s*:\s*([1-9]\d{0,17})\s*,')

log = structlog.get_logger()


class _Peek(msgspec.Struct):
    channel: str | None = None
    sequence: Sequence | None = None
    last_sequence: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None


_peek = msgspec.json.Decoder(_Peek).decode


class WebSocketFeed:
    """Connects, subscribes from where Postgres stands, hands frames over, asks for what is missing."""

    def __init__(
        self,
        venue: str,
        settings: WebSocketFeedSettings,
        inbox: Intake,
        start_after: Position | None,
        on_state: Callable[[str], None],
        *,
        feed: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.feed = feed or primary_feed(venue, "websocket")
        self.heard_ns: int | None = None
        """When the last frame of this connection came, heartbeats too; None before the first."""
        self._venue = venue
        self._settings = settings
        self._inbox = inbox
        self._on_state = on_state
        self._state = ""
        self._incarnation = start_after.incarnation if start_after is not None else "1"
        self._sequences = Sequences(start_after.value if start_after is not None else 0)
        self._illegible: set[int] = set()
        self._asked_to = 0
        self._ask_at: float | None = None
        self._ask_wait = ASK_FIRST_SECONDS
        self._announced: tuple[int, float] | None = None
        self._said_last = 0
        self._at_last_heartbeat: int | None = None
        self._restarted_at: int | None = None
        self._questions: deque[StatusRequest] = deque(maxlen=QUESTIONS)
        self._asked = asyncio.Event()
        self.on_filled: Callable[[GapFilled], None] | None = None
        """Hears of a gap that is filled, or lost, once what filled it is handed over."""
        self.on_renumbered: Callable[[GapFilled | None, int], None] | None = None
        """Hears that the venue starts its numbers over, what was missing of the old ones, and when (ns)."""
        self._gaps = Gaps(venue, self.feed)
        self._credentials = credentials or Credentials()
        self._renewed = asyncio.Event()
        self._socket: ClientConnection | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def beyond(self) -> int:
        """How many messages the venue has announced that are not here."""
        return max(0, max(self._said_last, self._sequences.highest) - self._sequences.contiguous)

    def ask_order(self, request: StatusRequest) -> None:
        """Ask the venue for an order's state: now, or when it is connected. It may be lost, or asked twice."""
        self._questions.append(request)
        self._asked.set()

    async def run(self) -> None:
        """Read until cancelled; a connection that fails or falls silent is made anew, later each time."""
        unsubscribe = self._credentials.subscribe([self._settings.token], self.renew)
        try:
            await self._run()
        finally:
            unsubscribe()

    async def _run(self) -> None:
        wait = BACKOFF_FIRST_SECONDS
        while True:
            self._enter("connecting")
            started = clocks.monotonic()
            try:
                await self._session()
            except (OSError, TimeoutError, WebSocketException, FeedError) as error:
                if not self._renewed.is_set():
                    log.warning("websocket feed starts over", feed=self.feed, error=str(error) or repr(error))
            self._enter("down")
            if self._renewed.is_set():
                continue
            if clocks.monotonic() - started >= GOOD_SPELL_SECONDS:
                wait = BACKOFF_FIRST_SECONDS
            # jitter: clients that a venue's restart cut off together do not come back together
            await asyncio.sleep(min(wait, self._settings.reconnect_max_seconds) * random.uniform(0.5, 1.0))
            wait = min(wait * 2, self._settings.reconnect_max_seconds)

    def renew(self) -> None:
        """Connect anew with the token as it is now; what was not seen is subscribed to again."""
        log.info("websocket feed connects anew: its token was replaced", feed=self.feed)
        self._renewed.set()
        if self._socket is not None:
            task = asyncio.create_task(self._socket.close(CloseCode.GOING_AWAY), name=f"{self.feed} renewal")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _session(self) -> None:
        self._renewed.clear()
        token = self._credentials.value(self._settings.token)
        self._sequences = Sequences(self._sequences.contiguous)  # what lies ahead is sent again from there
        self._asked_to, self._ask_at, self._announced = 0, None, None
        self._at_last_heartbeat, self._restarted_at = None, None
        at("websocket.connect")
        async with connect(
            self._settings.url,
            compression=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=QUEUE_FRAMES,
            ping_interval=None,  # silence_seconds watches; a full inbox must not look like a dead venue
            close_timeout=1.0,
            additional_headers={"authorization": f"Bearer {token}"} if token else None,
        ) as socket:
            if self._renewed.is_set():  # while it was connecting: what it showed is not the newest
                return
            self._socket = socket
            asking: asyncio.Task[None] | None = None
            try:
                await _say(socket, op="subscribe", channel=STREAM, from_sequence=self._sequences.contiguous + 1)
                at("websocket.subscribed")
                asking = asyncio.create_task(self._ask_orders(socket), name=f"{self.feed} questions")
                await self._read(socket)
            finally:
                self._socket = None
                if asking is not None:
                    asking.cancel()
                try:
                    await socket.close(CloseCode.GOING_AWAY)  # by itself it says 1011 on any exception
                finally:
                    socket.transport.abort()  # of a farewell that is cut off nobody else closes the connection

    async def _read(self, socket: ClientConnection) -> None:
        heard = clocks.monotonic()
        while True:
            frames = await self._frames_at_hand(socket, heard)
            arrivals = [arrival for raw, ns in frames if (arrival := self._arrival(raw, ns)) is not None]
            if arrivals:
                at("websocket.hand_over")
                await self._inbox.put(arrivals)
            self._check_numbers()
            if frames:
                heard, self.heard_ns = clocks.monotonic(), clocks.time_ns()
            await self._ask_for_holes(socket)
            if frames or self._state != "connecting":
                self._enter("recovering" if self._ask_at is not None else "live")

    async def _ask_orders(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):  # the reader says so, and what is left is asked for later
            while True:
                await self._asked.wait()
                while self._questions:
                    request = self._questions[0]
                    words = {"cl_ord_id": request.cl_ord_id, "request_id": request.request_id}
                    if request.venue_order_id is not None:
                        words["venue_order_id"] = request.venue_order_id
                    at("websocket.ask")
                    await _say(socket, op="status", **words)
                    if self._questions and self._questions[0] is request:
                        self._questions.popleft()
                self._asked.clear()

    async def _frames_at_hand(self, socket: ClientConnection, heard: float) -> list[tuple[bytes, int]]:
        """Wait for a frame, then take what else has come; none when it is time to ask again."""
        silent_at = heard + self._settings.silence_seconds
        due = [silent_at]
        if self._ask_at is not None:
            due.append(self._ask_at)
        if self._announced is not None:
            due.append(self._announced[1])
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(loop.time() + max(0.0, min(due) - clocks.monotonic())):
                first = await socket.recv(decode=False)
        except TimeoutError:
            if clocks.monotonic() >= silent_at:
                raise FeedError(f"no frame for {self._settings.silence_seconds:g} s") from None
            return []
        frames = [(first, clocks.time_ns())]
        size = len(first)
        try:
            async with asyncio.timeout(0):  # recv() gives what is queued without suspending
                while len(frames) < BATCH_FRAMES and size < BATCH_BYTES:
                    raw = await socket.recv(decode=False)
                    frames.append((raw, clocks.time_ns()))
                    size += len(raw)
        except (TimeoutError, ConnectionClosed):
            pass  # hand over what is here first; a closed connection says so again at the next recv()
        return frames

    def _arrival(self, raw: bytes, received_ns: int) -> Arrival | None:
        """Everything but a heartbeat is handed over as it came; only a contiguous end carries a position."""
        try:
            seen = _peek(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            seen = _Peek(STREAM, self._legible_twice(raw))
        if seen.channel == "heartbeat" and seen.sequence is None:
            if seen.last_sequence is not None:
                self._note_announced(seen.last_sequence)
            return None
        position = None
        if seen.channel == STREAM and seen.sequence is not None and self._sequences.add(seen.sequence):
            position = Position(self.feed, STREAM, self._incarnation, self._sequences.contiguous)
            self._illegible = {s for s in self._illegible if s > self._sequences.contiguous}
            self._ask_wait = ASK_FIRST_SECONDS
            if self._ask_at is not None:  # a long replay is coming in: it is not asked for twice
                self._ask_at = clocks.monotonic() + self._ask_wait
        return Arrival(self.feed, self._venue, ArrivalKind.REPORT, raw, received_ns, position)

    def _legible_twice(self, raw: bytes) -> int | None:
        """A frame that is not JSON leaves a hole and is asked for again; broken twice, it is what there is."""
        match = _LEGIBLE.match(raw)
        if match is None:
            return None
        sequence = int(match[1])
        if sequence in self._illegible:
            return sequence
        if len(self._illegible) < MAX_ISLANDS:
            self._illegible.add(sequence)
        self._sequences.announce(sequence)
        return None

    def _note_announced(self, last: int) -> None:
        self._said_last = last
        if last > self._sequences.highest and self._announced is None:
            self._announced = (last, clocks.monotonic() + HEARTBEAT_GRACE_SECONDS)
        if self._at_last_heartbeat is not None and last < self._at_last_heartbeat:
            self._restarted_at = last  # it says less than we had a heartbeat ago, so it is not just late
        self._at_last_heartbeat = self._sequences.contiguous

    def _check_numbers(self) -> None:
        """A venue that counts anew is subscribed to from 1: what it has sent under old numbers is harmless."""
        if self._restarted_at is None:
            return
        before, last = self._sequences.contiguous, self._restarted_at
        now_ns = clocks.time_ns()
        lost = self._gaps.lose(before, now_ns)
        if lost is not None and self.on_filled is not None:
            self.on_filled(lost)
        if self.on_renumbered is not None:
            self.on_renumbered(lost, now_ns)
        self._incarnation = str(now_ns)
        self._sequences = Sequences(0)
        self._illegible.clear()
        raise FeedError(f"the venue has sent up to {before} and now says {last}: its numbers start over")

    async def _ask_for_holes(self, socket: ClientConnection) -> None:
        now = clocks.monotonic()
        if self._announced is not None and now >= self._announced[1]:
            self._sequences.announce(self._announced[0])
            self._announced = None
        holes = self._sequences.holes()
        if not holes:
            self._tell_filled()
            self._ask_at, self._ask_wait, self._asked_to = None, ASK_FIRST_SECONDS, 0
            return
        self._gaps.miss(holes[0].first, holes[-1].last, clocks.time_ns())
        if self._sequences.is_overgrown:
            raise FeedError(f"{len(holes)} holes are open")
        if self._ask_at is None or now >= self._ask_at:
            await self._ask(socket, holes[:ASK_HOLES])
            self._ask_at = now + self._ask_wait
            self._ask_wait = min(self._ask_wait * 2, ASK_MAX_SECONDS)
        elif holes[-1].last > self._asked_to and len(holes) <= ASK_HOLES:
            fresh = [Hole(max(first, self._asked_to + 1), last) for first, last in holes if last > self._asked_to]
            await self._ask(socket, fresh)

    def _tell_filled(self) -> None:
        # a connection that ended in between starts over from the first hole, and has none: not until all is here
        if self._gaps.is_open and self._sequences.contiguous >= self._gaps.last:
            gap = self._gaps.fill(clocks.time_ns())
            if gap is not None and self.on_filled is not None:
                self.on_filled(gap)

    async def _ask(self, socket: ClientConnection, holes: list[Hole]) -> None:
        for hole in holes:
            log.info("asking for a hole", feed=self.feed, first=hole.first, last=hole.last)
            await _say(socket, op="replay", from_sequence=hole.first, to_sequence=hole.last)
        self._asked_to = max(self._asked_to, holes[-1].last)
        at("websocket.replay")

    def _enter(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)


async def _say(socket: ClientConnection, **words: str | int) -> None:
    await socket.send(msgspec.json.encode(words), text=True)
