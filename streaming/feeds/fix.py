"""A FIX drop copy: the parent of the engine's process. Frames in, arrivals with their positions out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from typing import TYPE_CHECKING

import structlog

from ledger import clocks
from ledger.domain.errors import Defect
from ledger.domain.records import Position, Side
from ledger.domain.sequence_gaps import Gaps
from ledger.domain.times import format_utc
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind
from streaming.credentials import Credentials, NotHeldError
from streaming.feeds.fix_frames import REFUSED, Frame, unpack
from streaming.feeds.fix_process import EngineProcess, Shown, secrets_of
from streaming.feeds.names import primary_feed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.domain.delay_events import StatusRequest
    from ledger.domain.sequence_gaps import GapFilled
    from streaming.arrivals import Intake
    from streaming.settings import FixFeedSettings

_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0
_INCARNATION_FILE = "incarnation"
_QUESTIONS = 1_000  # that wait for the Logon: of more the newest are asked
_SIDES = {Side.BUY: "1", Side.SELL: "2"}
_WITHOUT_REQUEST_ID = frozenset({"FIX.4.2"})  # OrdStatusReqID(790) came with FIX 4.3

log = structlog.get_logger(__name__)


class FixFeed:
    """One session. ``on_state`` hears ``connecting``, ``live`` and ``down``.

    ``start_after`` is the position that Postgres holds: the venue is asked to send again all that came after
    it. Without one everything since the session's first number is asked for; landing is idempotent.
    """

    def __init__(
        self,
        venue: str,
        settings: FixFeedSettings,
        inbox: Intake,
        start_after: Position | None,
        on_state: Callable[[str], None],
        *,
        feed: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """Of this process: messages, rejects, logons, logouts, resets, restarts, garbled, errors, questions,
        refused (by the venue) and gaps_filled, which counts the numbers that the venue has passed over."""
        self.engine_pid: int | None = None
        self._venue = venue
        self._feed = feed or primary_feed(venue, "fix")
        self._settings = settings
        self._inbox = inbox
        self._on_state = on_state
        self.on_gap: Callable[[int, int, int], None] | None = None
        """Hears of numbers that the venue passed over: the first, the last, when that came (ns)."""
        self.on_filled: Callable[[GapFilled], None] | None = None
        """Hears of a gap that is filled, or lost, once what filled it is handed over."""
        self.on_renumbered: Callable[[GapFilled | None, int], None] | None = None
        """Hears that the venue starts its numbers over, what was missing of the old ones, and when (ns)."""
        self._gaps = Gaps(venue, self._feed)
        self._missing_ns: int | None = None
        self._taken_ns = 0
        self._state = ""
        self._engine: EngineProcess | None = None
        self._questions: deque[StatusRequest] = deque(maxlen=_QUESTIONS)
        self._credentials = credentials or Credentials()
        self._renewed = asyncio.Event()
        self._stream = f"{settings.begin_string}:{settings.sender_comp_id}->{settings.target_comp_id}"
        self._incarnation, self._last = self._resume(start_after)
        self._is_unlanded = bool(self._incarnation) and self._last == 0

    async def run(self) -> None:
        """Keep an engine running until cancelled."""
        unsubscribe = self._credentials.subscribe(secrets_of(self._settings), self.renew)
        if self._is_unlanded and self.on_renumbered is not None:
            # nothing under these numbers has landed, so that they started over may not have landed either
            self.on_renumbered(None, clocks.time_ns())
        try:
            await self._run()
        finally:
            unsubscribe()

    def renew(self) -> None:
        """Log out, and on again with the password and certificate as they are now."""
        log.info("the FIX session logs on anew: its credentials were replaced", venue=self._venue)
        self._renewed.set()
        if self._engine is not None:
            self._engine.end()

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            self._say("connecting")
            before = self.counters["messages"]
            self._renewed.clear()
            try:
                status = await self._run_engine()
            except NotHeldError as error:
                log.warning("the FIX session waits for its credentials", venue=self._venue, why=str(error))
                await self._renewed.wait()
                continue
            self.counters["restarts"] += 1
            self._say("down")
            if self._renewed.is_set():
                continue
            if before != self.counters["messages"]:
                backoff = _FIRST_BACKOFF
            log.error(
                "the FIX engine has ended, another is started",
                venue=self._venue,
                status=status,
                last_sequence=self._last,
                seconds=backoff,
            )
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LAST_BACKOFF)

    @property
    def gap_since_ns(self) -> int | None:
        """Since when messages are missing and none has come; None while nothing is missing."""
        return None if self._missing_ns is None else max(self._missing_ns, self._taken_ns)

    def ask_order(self, request: StatusRequest) -> None:
        """Ask the venue for an order's state (OrderStatusRequest, 35=H): now, or when it is logged on.

        Nothing is waited for. A question may be lost or asked twice where the engine ends meanwhile.
        """
        self._questions.append(request)
        self._ask()

    def _ask(self) -> None:
        while self._questions and self._engine is not None and self._state == "live":
            at("fix.ask")
            if not self._engine.send(_status_request(self._questions[0], self._settings.begin_string)):
                log.warning(
                    "the FIX engine takes no questions now", venue=self._venue, waiting=len(self._questions)
                )
                return
            self._questions.popleft()
            self.counters["questions"] += 1

    async def _run_engine(self) -> int | None:
        at("fix.start")
        shown = Shown.of(self._settings, self._credentials)
        async with EngineProcess(self._settings, shown, self._last + 1, self._event) as engine:
            self.engine_pid, self._engine = engine.pid, engine
            if self._renewed.is_set():  # while it was starting: what it shows is not the newest
                engine.end()
            buffer = bytearray()
            try:
                while content := await engine.read():
                    buffer += content
                    await self._take(unpack(buffer))
            finally:
                self._engine = self._missing_ns = None
            return await engine.wait()

    async def _take(self, frames: list[tuple[Frame, int, int, bytes]]) -> None:
        arrivals: list[Arrival] = []
        last = self._last
        for kind, sequence, received_ns, content in frames:
            if kind is Frame.MESSAGE or kind is Frame.REJECT:
                arrivals.append(self._arrival(kind, sequence, received_ns, content, last))
                last, self._taken_ns = max(last, sequence), received_ns
                continue
            # what came before it has the old numbers: it goes first
            await self._put(arrivals, last)
            arrivals = []
            self._session_event(kind, sequence, received_ns, content)
            last = self._last
        await self._put(arrivals, last)

    async def _put(self, arrivals: list[Arrival], last: int) -> None:
        if arrivals:
            # while the inbox is full this waits, the pipe fills up, the engine blocks, and TCP holds the venue
            at("fix.hand_over")
            await self._inbox.put(arrivals)
            if self._missing_ns is None:  # they come in turn, so what a lost connection left open is here, too
                self._tell_filled(self._gaps.fill(arrivals[-1].received_ns, last))
        self._last = last

    def _arrival(self, kind: Frame, sequence: int, received_ns: int, content: bytes, last: int) -> Arrival:
        self.counters["messages" if kind is Frame.MESSAGE else "rejects"] += 1
        # positions only grow; what has no number of its own moves none
        position = Position(self._feed, self._stream, self._incarnation, sequence) if sequence > last else None
        defect = _reject_defect(sequence, content) if kind is Frame.REJECT else None
        return Arrival(self._feed, self._venue, ArrivalKind.REPORT, content, received_ns, position, defect)

    def _session_event(self, kind: Frame, sequence: int, received_ns: int, content: bytes) -> None:
        if kind is Frame.LOGON:
            self.counters["logons"] += 1
            self._say("live")
            self._ask()
        elif kind is Frame.MISSING or kind is Frame.WHOLE:
            self._missing_ns = received_ns if kind is Frame.MISSING else None
            self._note_gap(kind, sequence, received_ns)
        elif kind is Frame.GAP_FILL:
            self._passed_over(sequence - int(content) + 1, sequence, received_ns)
        elif kind is Frame.LOGOUT:
            self.counters["logouts"] += 1
            self._say("connecting")
        elif kind is Frame.RESET:
            self.counters["resets"] += 1
            lost = self._gaps.lose(self._last, received_ns)
            self._tell_filled(lost)
            if self.on_renumbered is not None:
                self.on_renumbered(lost, received_ns)
            self._incarnation, self._last = f"reset-{format_utc(received_ns)}", 0
            self._keep_incarnation()
            log.warning("the venue has reset the sequence numbers", venue=self._venue, to=self._incarnation)
        else:
            self.counters["errors"] += 1
            log.error("the FIX engine's callback failed", venue=self._venue, error=content.decode())

    def _note_gap(self, kind: Frame, sequence: int, now_ns: int) -> None:
        if kind is Frame.MISSING:
            self._gaps.miss(sequence, 0, now_ns)
        elif sequence:  # without one the connection has ended, and the next one asks for the same again
            self._tell_filled(self._gaps.fill(now_ns, sequence))

    def _tell_filled(self, gap: GapFilled | None) -> None:
        if gap is not None and self.on_filled is not None:
            self.on_filled(gap)

    def _passed_over(self, first: int, last: int, received_ns: int) -> None:
        # which of them were reports the venue does not say: session messages are passed over as a rule
        self.counters["gaps_filled"] += last - first + 1
        log.warning(
            "the venue has passed over numbers",
            venue=self._venue,
            feed=self._feed,
            first=first,
            last=last,
            to_do="more than the session's own messages: compare the venue's list of fills with ours",
        )
        if self.on_gap is not None:
            self.on_gap(first, last, received_ns)
        self._tell_filled(self._gaps.pass_over(first, last, received_ns))

    def _event(self, text: str) -> None:
        if "Invalid message" in text:
            # dropped and asked for again (FIX 4.4, volume 2, "garbled message"). One that stays unreadable holds
            # up all behind it until the venue fills the gap: nothing is lost, nothing goes on
            self.counters["garbled"] += 1
            log.warning("FIX engine", venue=self._venue, event_text=text, expected_sequence_after=self._last)
        elif text.startswith(REFUSED):
            # of a ResendRequest: more than the venue gives at once. It is asked again, and refuses again
            self.counters["refused"] += 1
            log.error("FIX engine", venue=self._venue, event_text=text, to_do="is resend_limit the venue's?")
        else:
            log.info("FIX engine", venue=self._venue, event_text=text)

    def _say(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._on_state(state)

    def _resume(self, start_after: Position | None) -> tuple[str, int]:
        # after a reset nothing may have landed before a restart: Postgres would still hold the old numbering's
        # position, and the venue, at 2, be told that we expect 501
        with contextlib.suppress(FileNotFoundError):
            kept = (self._settings.store / _INCARNATION_FILE).read_text(encoding="ascii")
            if start_after is None or start_after.incarnation != kept:
                return kept, 0
        return ("", 0) if start_after is None else (start_after.incarnation, start_after.value)

    def _keep_incarnation(self) -> None:
        path = self._settings.store / _INCARNATION_FILE
        fresh = path.with_suffix(".new")
        fresh.write_text(self._incarnation, encoding="ascii")
        fresh.replace(path)


def _status_request(request: StatusRequest, begin_string: str) -> list[tuple[int, str]]:
    """Give the fields of an OrderStatusRequest (FIX 4.4, volume 4)."""
    fields = [(35, "H"), (11, request.cl_ord_id), (55, request.symbol), (54, _SIDES[request.side])]
    if request.venue_order_id is not None:
        fields.append((37, request.venue_order_id))
    if request.account:
        fields.append((1, request.account))
    if begin_string not in _WITHOUT_REQUEST_ID:
        fields.append((790, request.request_id))
    return fields


def _reject_defect(sequence: int, reject: bytes) -> Defect:
    fields = dict(pair.partition("=")[::2] for pair in reject.decode("latin-1").split("\x01"))
    return Defect(
        "session_reject",
        f"tag {fields['371']}" if "371" in fields else "message",
        f"MsgSeqNum(34)={sequence} MsgType(35)={fields.get('372', '?')}",
        f"the FIX session layer refused it: {fields.get('58', 'no text')}",
        "Get the message of that number from the venue and replay it: the engine does not keep what it refuses.",
    )
