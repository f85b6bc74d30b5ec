"""Named places where a crash test ends the process: SIGKILL, as the kernel or a power cut would.

``EXECUTION_AGENT_FAULT=landing.after_commit:3`` kills at the third pass of that point,
``landing.after_commit:3:2.5`` at the first one that is over 2.5 s after the start if that comes before; both only
where the switch ``EXECUTION_AGENT_FAULTS=1`` is set too. Otherwise ``at`` is one comparison (some 25 ns, see
docs/chaos.md).
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

SWITCH, VARIABLE = "EXECUTION_AGENT_FAULTS", "EXECUTION_AGENT_FAULT"

POINTS: Mapping[str, str] = {
    "decode.before": "an arrival is taken from the inbox and not decoded",
    "decode.after": "an arrival is decoded",
    "lease.taken": "the lease is held, the book is not loaded",
    "lease.renewed": "the lease is renewed, nobody knows yet",
    "lander.opened": "the book is read, no landing is allowed yet",
    "lander.lost": "the session with Postgres has ended, the feeds still run",
    "lander.forgotten": "the feeds have stopped and what they brought is dropped, the lease is not taken again",
    "landing.days": "days' partitions are made, the batch that needs them is not written",
    "landing.ahead": "the book has taken up a batch that is not written, and the next one's orders are loaded",
    "landing.conflict": "a batch is rolled back: its rows were there, the book is not read again",
    "landing.reloaded": "after that the book is read again, the batch is not decided anew",
    "feeds.starting": "how the venues stand is read, no feed is started",
    "watch.read": "a watch of halts or delays has read how things stand, and looked at nothing that landed",
    "landing.before": "a batch is decided, no statement of its transaction is out",
    "landing.in_copy": "in the middle of a table's rows",
    "landing.copied": "a table's rows are copied, the transaction is open",
    "landing.before_commit": "everything of a large batch is written, COMMIT is not out",
    "landing.after_commit": "committed, and nobody has been told",
    "tell.before_answer": "committed, a REST caller or the desk waits for the answer",
    "tell.after_answer": "one caller has been answered",
    "tell.before_publisher": "callers are answered, the publisher and Redis are not told",
    "tell.after": "everybody is told",
    "publisher.connected": "the publisher has its session with Postgres and the broker, nobody is fenced",
    "publisher.opened": "the predecessor is fenced, the tails are not read",
    "publisher.tails_read": "the tails are read, nothing is swept",
    "publisher.caught_up": "what committed beyond the cursor is published, what is handed over next is not",
    "publisher.swept": "a page of a sweep is published, the next one is not read",
    "publisher.refilled": "a page of what a topic that was made again lacks is published, the cursor is not saved",
    "publisher.before_begin": "events are handed over, no Kafka transaction is open",
    "publisher.after_begin": "a Kafka transaction is open and empty",
    "publisher.produced": "a message is in the producer's queue",
    "publisher.before_commit": "all messages of a Kafka transaction are produced",
    "publisher.after_commit": "a Kafka transaction is committed, nobody knows yet",
    "cursor.before": "events are published, the cursor is not saved",
    "cursor.after": "the cursor is saved",
    "audit.before_grow": "leaves of the audit log are hashed, its tree is not written",
    "audit.grown": "the audit log's tree is committed, its root is not signed",
    "audit.signed": "a checkpoint is signed, nobody has it",
    "audit.recorded": "a checkpoint is committed with its event, the bucket has not got it",
    "audit.stored": "a checkpoint is in the bucket, the ledger does not know",
    "audit.leased": "the audit log's lease is taken, its tree is not read",
    "audit.key_shown": "the key that signs is in the bucket, the ledger is not compared with what it has signed",
    "audit.compared": "the ledger agrees with the bucket, nothing is signed yet",
    "audit.tiled": "full tiles are in the bucket, the ledger does not know",
    "audit.edge": "the unfinished tiles below a checkpoint are to be stored, the ledger's are read",
    "audit.edged": "they are in the bucket, nobody knows yet",
    "halting.decided": "a halt or a resume is decided, the inbox has not got it",
    "halting.landed": "a halt or a resume is committed, Redis does not show it",
    "failover.decided": "an outage, a switch or a return is decided, the inbox has not got it",
    "failover.told": "it is in the inbox, the feeds are as before",
    "failover.switched": "the backup feed is being started",
    "failover.returned": "a backup feed that is not needed is about to be stopped",
    "look_back.asked": "a switch is in the inbox, the venue's list is not asked",
    "look_back.read": "a page of a venue's list is here, nothing of it is compared",
    "look_back.page": "a page of a venue's list is compared, what is missing is not handed in",
    "look_back.landed": "what a page lacked has landed, the next page is not asked for",
    "look_back.done": "a venue's list is read, that it was is not landed",
    "completeness.missing": "that a venue lists what is not here has landed, it is not handed in",
    "completeness.answering": "what a person asked of a venue's list is worked out, their request is not answered",
    "completeness.compared": "an audit of a venue's list is over, its row is not landed",
    "desk.read": "what people asked for is read, the inbox has not got it",
    "desk.halts": "a person's halt or resume is read, the inbox has not got it",
    "desk.refused": "a halt of an unknown venue is refused, its request is not answered",
    "desk.skipped": "a replay is refused, its request is not answered",
    "delays.found": "an order is late, the inbox has not got that",
    "delays.landed": "a late order is committed as such, nobody has asked its venue",
    "delays.ended": "the truth of a late order and its hedge are committed, the watch does not know",
    "secrets.replaced": "a secret's new version is read from Vault, who uses the old one has not heard",
    "secrets.told": "a feed has heard of its new secret, it has not connected anew",
    "secrets.event": "a secret was taken back or is there again, its event is not written",
    "secrets.written": "that event is committed, nobody knows yet",
    "identity.replaced": "a new X.509-SVID is held, nobody has connected with it",
    "drain.began": "SIGTERM has come, the feeds and the callers are not stopped",
    "drain.intake_over": "the feeds and the callers have stopped, what they brought has not landed",
    "drain.over": "everything has landed and is published, the parts still run",
    "drain.ended": "the parts have stopped, the process has not",
    "redis.fenced": "Redis has the token of our lease, nothing is written under it",
    "redis.before": "orders in flight are to be written",
    "redis.after": "orders in flight are written",
    "redis.halts": "the flags of the halted venues are to be written",
    "redis.rebuilding": "open orders are read, Redis is not written",
    "fix.start": "the FIX engine is about to be started",
    "fix.hand_over": "FIX messages are read from the engine, the inbox has not got them",
    "fix.ask": "a late order is committed as such, the venue is not asked for it",
    "websocket.connect": "about to connect",
    "websocket.subscribed": "subscribed, nothing is read",
    "websocket.hand_over": "frames are read, the inbox has not got them",
    "websocket.replay": "a replay is asked for",
    "websocket.ask": "a late order is committed as such, the venue is not asked for it",
    "kafka.assign": "the positions are read, partitions are not assigned",
    "kafka.hand_over": "messages are read, the inbox has not got them",
    "rest.received": "a callback is verified, the inbox has not got it",
    "rest.answer": "a callback has committed, its answer is not out",
    "engine.start": "the FIX engine's own process: before its number is set",
    "engine.logon": "the FIX engine's own process: logged on",
    "engine.before_send": "the FIX engine's own process: a message is received, the parent has not got it",
    "engine.in_frame": "the FIX engine's own process: half of a frame is in the pipe",
    "engine.after_send": "the FIX engine's own process: the frame is in the pipe, the engine's store not written",
}


class FaultPointError(ValueError):
    """``EXECUTION_AGENT_FAULT`` cannot be read."""


class Fault(NamedTuple):
    """Where to die: at a pass of a point, or at its first pass after so many seconds."""

    point: str
    passes: int
    seconds: float


def parsed(environment: Mapping[str, str]) -> Fault | None:
    """Read an environment; None where the switch is off or no fault is asked for."""
    text = environment.get(VARIABLE, "")
    if environment.get(SWITCH) != "1" or not text:
        return None
    point, _, rest = text.partition(":")
    number, _, seconds = rest.partition(":")
    if point not in POINTS:
        raise FaultPointError(f"{VARIABLE}={text}: there is no fault point {point!r} (they are in docs/chaos.md)")
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise FaultPointError(f"{VARIABLE}={text}: write POINT:N, the N-th pass from 1 on")
    if not (seconds or "0").replace(".", "", 1).isdecimal():
        raise FaultPointError(f"{VARIABLE}={text}: write POINT:N:S, or the first pass S seconds after the start")
    return Fault(point, int(number), float(seconds) if seconds else math.inf)


_armed: Fault | None = None
_left = 0
_due = math.inf
_parent: int | None = None
_lock = threading.Lock()  # the producer and the Kafka feed have threads of their own


def arm(environment: Mapping[str, str]) -> None:
    """Take the fault from an environment: at the import, and again by a process forked after it."""
    global _armed, _left, _due  # noqa: PLW0603  one process dies once
    _armed = parsed(environment)
    if _armed is not None:
        _left, _due = _armed.passes, time.monotonic() + _armed.seconds


arm(os.environ)


def with_parent(process_id: int) -> None:
    """Have a fault of this process end ``process_id`` first: it stands for a part of that one."""
    global _parent  # noqa: PLW0603  one process has one parent
    _parent = process_id


def at(point: str) -> None:
    """Pass a fault point."""
    if _armed is None:
        return
    _pass(point)


def is_armed(point: str) -> bool:
    """Whether this process is to die here: for a place that has to be made first, half a frame, say."""
    return _armed is not None and _armed.point == point


def rows(point: str, records: Sequence[T]) -> Iterable[T]:
    """Give the records, with a pass of ``point`` in their middle."""
    return _halved(point, records) if is_armed(point) else records


def _halved(point: str, records: Sequence[T]) -> Iterator[T]:
    middle = len(records) // 2
    yield from records[:middle]
    at(point)
    yield from records[middle:]


def _pass(point: str) -> None:
    global _left  # noqa: PLW0603  one process dies once
    if _armed is None or point != _armed.point:
        return
    with _lock:
        _left -= 1
        if _left == 0 or time.monotonic() >= _due:
            os.write(2, f"fault point {point}, pass {_armed.passes - _left}: SIGKILL\n".encode())
            if _parent is not None:
                os.kill(_parent, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
