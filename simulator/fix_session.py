"""The venue's side of a FIX 4.4 session, without sockets: messages in, bytes out.

Application messages get their MsgSeqNum when they are made, connected or not; a peer that comes back fetches
what it missed by ResendRequest. What the peer's engine has processed is learnt from the answer to a
TestRequest, which an engine gives only once everything before it is in.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Protocol

from simulator import fix_message
from simulator.clock import fix_time

if TYPE_CHECKING:
    from collections.abc import Callable

    import simplefix

    from simulator.records import Message, Session, Unconfirmed

LOGON_WITHIN = 10.0  # seconds after connecting
REPLAY_PIECE = 500  # messages between two looks at the socket's buffer
ASK_DELIVERED_EVERY = 0.5  # seconds; an idle peer's positions are known this soon
ASK_GAP_AGAIN_AFTER = 5.0
FIRST_AFTER_RESET = 2  # the Logon itself is 1
TO_THE_END = 1 << 62
VALUE_IS_INCORRECT = "5"  # SessionRejectReason(373)
UNKNOWN_ID = "1"  # BusinessRejectReason(380)
SILENCE = 2.4  # heartbeat intervals: one missed, a TestRequest unanswered

Fields = list[tuple[int, str]]


class SessionStore(Protocol):
    """The part of the journal that a session needs."""

    def keep_session(self, session: Session) -> None:
        """Remember the sequence numbers."""

    def messages(self, session: Session, first: int, last: int) -> list[Message]:
        """Application messages of a range."""

    def renumber(self, session: Session, message_id: int, sequence: int) -> None:
        """Move an undelivered message into a session that was reset."""

    def commit(self) -> None:
        """Write before the wire."""


class FixSession:
    """Session state; ``wire`` is set while a peer is connected."""

    def __init__(
        self,
        comp_ids: tuple[str, str],
        store: SessionStore,
        state: Session,
        delivered: Callable[[Unconfirmed], None],
        resend_limit: int = 0,
    ) -> None:
        self.comp_ids = comp_ids
        self.state = state
        self.unconfirmed: dict[int, Unconfirmed] = {}
        """By MsgSeqNum, ascending."""
        self.wire: Callable[[bytes], None] | None = None
        self.logged_on = False
        self.hang_up = ""
        """Why the connection is to be closed; empty: it is not."""
        self.rejects = 0
        self.keys: set[str] = set()
        """Passwords that a Logon may show; none: anybody may log on."""
        self.on_status: Callable[[str, str], bool] = lambda _cl_ord_id, _request_id: False
        """Answers an OrderStatusRequest; False: there is no such order."""
        self._resend_limit = resend_limit
        self._store = store
        self._delivered = delivered
        self._wired = state.next_out - 1  # highest number ever put on a wire: below it PossDup is owed
        self._cursor: int | None = None  # next number of a replay in progress
        self._replay_end = 0  # its last number
        self._heartbeat = 30.0
        self._sent_at = self._heard_at = self._asked_at = 0.0
        self._gap_asked_at = -math.inf
        self._goodbye_sent = False

    @property
    def replaying(self) -> bool:
        """Whether ``replay_piece`` has work."""
        return self._cursor is not None and self.logged_on

    def connect(self, wire: Callable[[bytes], None]) -> None:
        """A peer has connected; nothing is said before its Logon."""
        self.wire, self.logged_on, self.hang_up, self._cursor = wire, False, "", None
        self._goodbye_sent, self._gap_asked_at = False, -math.inf
        self._heard_at = self._sent_at = time.monotonic()

    def disconnect(self) -> None:
        """The connection is gone."""
        self.wire, self.logged_on, self._cursor = None, False, None

    def number(self) -> int:
        """The next MsgSeqNum for an application message."""
        sequence, self.state.next_out = self.state.next_out, self.state.next_out + 1
        self._store.keep_session(self.state)
        return sequence

    def send(self, message: Message) -> None:
        """Put a journaled application message on the wire, if there is one; else a resend fetches it."""
        assert message.sequence is not None
        if not self.logged_on or self._cursor is not None:
            return
        self._wired = max(self._wired, message.sequence)
        if message.fault == "lost":
            return
        content = self._application(message, again=False)
        self._write(fix_message.garbled(content) if message.fault == "garbled" else content)

    def fall_behind(self, sequence: int) -> None:
        """The peer reads too slowly: go on from here in pieces that follow its pace."""
        if self._cursor is None:
            self._cursor, self._replay_end = sequence, TO_THE_END

    def resend(self, message: Message) -> None:
        """The same message once more, as PossDup."""
        self._write(self._application(message, again=True))

    def replay_piece(self) -> None:
        """Send the next messages of a replay; administrative numbers become gap fills."""
        first = self._cursor
        assert first is not None
        last = min(first + REPLAY_PIECE - 1, self.state.next_out - 1, self._replay_end)
        expected = first
        for message in self._store.messages(self.state, first, last):
            assert message.sequence is not None
            if message.sequence > expected:
                self._gap_fill(expected, message.sequence)
            self._write(self._application(message, again=message.sequence <= self._wired))
            expected = message.sequence + 1
        if expected <= last:
            self._gap_fill(expected, last + 1)
        self._wired = max(self._wired, last)
        self._cursor = last + 1 if last + 1 < self.state.next_out and last < self._replay_end else None

    def received(self, message: simplefix.FixMessage) -> None:
        """Act on what the peer said."""
        self._heard_at = time.monotonic()
        kind, sequence = message.message_type, fix_message.integer(message, 34)
        if (message.get(49), message.get(56)) != tuple(part.encode() for part in reversed(self.comp_ids)):
            self._refuse(f"comp ids {message.get(49)!r} -> {message.get(56)!r} are not those of this session")
        elif sequence is None:
            self._refuse("MsgSeqNum(34) is missing or not a number")
        elif kind == b"A":
            self._logon(message, sequence)
        elif not self.logged_on:
            self.hang_up = f"first message was {kind!r}, must be a Logon"
        else:
            self._in_session(kind or b"", message, sequence)

    def tick(self) -> None:
        """Heartbeats, questions and patience; called a few times a second."""
        now = time.monotonic()
        if not self.logged_on:
            if self.wire and now - self._heard_at > LOGON_WITHIN:
                self.hang_up = f"no Logon within {LOGON_WITHIN:g} s"
            return
        if now - self._heard_at > SILENCE * self._heartbeat:
            self.hang_up = "the peer is silent"
        elif self._cursor is None and (
            (self.unconfirmed and now - self._asked_at > ASK_DELIVERED_EVERY)
            or now - self._heard_at > 1.2 * self._heartbeat
        ):
            self.ask_delivered()
        elif now - self._sent_at >= self._heartbeat:
            self._admin("0", [])

    def ask_delivered(self) -> None:
        """A TestRequest whose answer says that everything before it was processed."""
        if self.logged_on and self._cursor is None:
            self._asked_at = time.monotonic()
            self._admin("1", [(112, f"{self.state.epoch}.{self.state.next_out}")])

    def log_out(self, text: str = "") -> None:
        """Say goodbye; the peer's Logout or its hanging up ends the connection."""
        if self.logged_on and not self._goodbye_sent:
            self._goodbye_sent = True
            self._admin("5", [(58, text)] if text else [])

    def _logon(self, message: simplefix.FixMessage, sequence: int) -> None:
        shown = (message.get(554) or b"").decode("latin-1")
        if self.keys and shown not in self.keys:
            self._took(sequence)
            self._refuse("the password is wrong")
            return
        reset = message.get(141) == b"Y"
        if reset:
            self._reset()
        if sequence < self.state.next_in and message.get(43) != b"Y":
            self._refuse(f"MsgSeqNum too low, expecting {self.state.next_in} but received {sequence}")
            return
        self._heartbeat = max(1.0, float(fix_message.integer(message, 108) or 30))
        self.logged_on = True
        self._admin("A", [(98, "0"), (108, str(int(self._heartbeat))), *([(141, "Y")] if reset else [])])
        self._took(sequence)
        if reset and self.unconfirmed:
            self._cursor, self._replay_end = FIRST_AFTER_RESET, TO_THE_END
        self._asked_at = time.monotonic()  # leave the peer time to ask for what it missed

    def _reset(self) -> None:
        # both sequences begin at 1; what was not delivered follows under new numbers
        left = list(self.unconfirmed.values())
        self.state.epoch, self.state.next_out, self.state.next_in = self.state.epoch + 1, FIRST_AFTER_RESET, 1
        self.unconfirmed = {}
        for one in left:
            sequence = self.number()
            self._store.renumber(self.state, one.id, sequence)
            self.unconfirmed[sequence] = one
        self._store.keep_session(self.state)
        self._wired = 1

    def _in_session(self, kind: bytes, message: simplefix.FixMessage, sequence: int) -> None:
        if kind == b"4" and message.get(123) != b"Y":  # SequenceReset-Reset: its own number does not count
            self._skip_to(message)
            return
        if kind == b"2":  # served even inside a gap of our own, or both sides would wait for each other
            self._serve_resend(
                sequence, fix_message.integer(message, 7) or 1, fix_message.integer(message, 16) or 0
            )
        if kind == b"5":
            self.log_out()
            self._took(sequence)
            self.hang_up = "logged out"
            return
        if sequence < self.state.next_in:
            if message.get(43) != b"Y":
                self._refuse(f"MsgSeqNum too low, expecting {self.state.next_in} but received {sequence}")
        elif self._took(sequence):
            self._act(kind, message)

    def _act(self, kind: bytes, message: simplefix.FixMessage) -> None:
        if kind == b"0":
            self._confirm(message.get(112))
        elif kind == b"1":
            self._admin("0", [(112, (message.get(112) or b"").decode("ascii", "replace"))])
        elif kind == b"3":
            self.rejects += 1
        elif kind == b"4":
            self._skip_to(message)
        elif kind == b"H":
            self._status(message)

    def _status(self, message: simplefix.FixMessage) -> None:
        cl_ord_id, request_id = ((message.get(tag) or b"").decode("ascii", "replace") for tag in (11, 790))
        if not self.on_status(cl_ord_id, request_id):
            number = (message.get(34) or b"").decode("ascii", "replace")
            self._admin(
                "j", [(45, number), (372, "H"), (379, cl_ord_id), (380, UNKNOWN_ID), (58, "unknown order")]
            )

    def _skip_to(self, message: simplefix.FixMessage) -> None:
        # NewSeqNo(36) never takes the sequence back (FIX 4.4 vol. 2, SequenceReset)
        self.state.next_in = max(self.state.next_in, fix_message.integer(message, 36) or 0)
        self._store.keep_session(self.state)

    def _took(self, sequence: int) -> bool:
        # True: it was the expected one. A gap is asked for once, and again if the answer does not come
        if sequence == self.state.next_in:
            self.state.next_in += 1
            self._store.keep_session(self.state)
            return True
        now = time.monotonic()
        if sequence > self.state.next_in and now - self._gap_asked_at > ASK_GAP_AGAIN_AFTER:
            self._gap_asked_at = now
            self._admin("2", [(7, str(self.state.next_in)), (16, "0")])
        return False

    def _serve_resend(self, sequence: int, begin: int, end: int) -> None:
        # asking from `begin` says that everything before it was processed
        self._confirm_before(begin)
        begin, last = min(max(begin, 1), self.state.next_out), min(end or TO_THE_END, self.state.next_out - 1)
        if self._resend_limit and last - begin >= self._resend_limit:
            text = f"at most {self._resend_limit} messages a ResendRequest"
            self._admin("3", [(45, str(sequence)), (372, "2"), (371, "16"), (373, VALUE_IS_INCORRECT), (58, text)])
            return
        # without a limit the replay runs to the end even where less was asked for: a PossDup that the peer has
        # already is discarded by its session layer
        self._cursor, self._replay_end = begin, last if self._resend_limit else TO_THE_END

    def _confirm(self, test_id: Any) -> None:
        epoch, _, sequence = (test_id or b"").partition(b".")
        if epoch == b"%d" % self.state.epoch and sequence.isdigit():
            self._confirm_before(int(sequence))

    def _confirm_before(self, sequence: int) -> None:
        while self.unconfirmed and (first := next(iter(self.unconfirmed))) < sequence:
            self._delivered(self.unconfirmed.pop(first))

    def _refuse(self, text: str) -> None:
        if self.wire:
            self._admin("5", [(58, text)])
        self.hang_up = text

    def _gap_fill(self, first: int, following: int) -> None:
        now = fix_time(time.time_ns())
        content = fix_message.body([(123, "Y"), (36, str(following))])
        self._write(fix_message.frame("4", self.comp_ids, first, now, content, first_sent=now))

    def _admin(self, kind: str, fields: Fields) -> None:
        sequence = 1 if kind == "A" and (141, "Y") in fields else self.number()
        self._store.commit()
        if self._cursor is None:
            self._wired = max(self._wired, sequence)
        self._write(
            fix_message.frame(kind, self.comp_ids, sequence, fix_time(time.time_ns()), fix_message.body(fields))
        )

    def _application(self, message: Message, *, again: bool) -> bytes:
        assert message.sequence is not None
        return fix_message.frame(
            "8",
            self.comp_ids,
            message.sequence,
            fix_time(time.time_ns()),
            message.payloads[0],
            first_sent=fix_time(message.sent_at) if again else None,
            poss_resend=message.fault == "duplicate",
        )

    def _write(self, content: bytes) -> None:
        if self.wire:
            self._sent_at = time.monotonic()
            self.wire(content)
