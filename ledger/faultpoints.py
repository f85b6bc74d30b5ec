"""Named places where a crash test ends the process: SIGKILL, as the kernel or a power cut would.

``EXECUTION_AGENT_FAULT=landing.after_commit:3`` kills at the third pass of that point, and only where the switch
``EXECUTION_AGENT_FAULTS=1`` is set too. Otherwise ``at`` is one comparison (some 25 ns, see docs/chaos.md).
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

SWITCH, VARIABLE = "EXECUTION_AGENT_FAULTS", "EXECUTION_AGENT_FAULT"

POINTS: Mapping[str, str] = {
    "decode.before": "an arrival is taken from the inbox and not decoded",
    "decode.after": "an arrival is decoded",
    "lease.taken": "the lease is held, the book is not loaded",
    "landing.before": "a batch is decided, no statement of its transaction is out",
    "landing.in_copy": "in the middle of a table's rows",
    "landing.copied": "a table's rows are copied, the transaction is open",
    "landing.before_commit": "everything of a large batch is written, COMMIT is not out",
    "landing.after_commit": "committed, and nobody has been told",
    "tell.before_answer": "committed, a REST caller or the desk waits for the answer",
    "tell.after_answer": "one caller has been answered",
    "tell.before_publisher": "callers are answered, the publisher and Redis are not told",
    "tell.after": "everybody is told",
    "publisher.opened": "the predecessor is fenced, the tails are not read",
    "publisher.tails_read": "the tails are read, nothing is swept",
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
    "halting.decided": "a halt or a resume is decided, the inbox has not got it",
    "halting.landed": "a halt or a resume is committed, Redis does not show it",
    "delays.found": "an order is late, the inbox has not got that",
    "delays.landed": "a late order is committed as such, nobody has asked its venue",
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


def parsed(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Read (point, pass) from an environment; None where the switch is off or no fault is asked for."""
    text = environment.get(VARIABLE, "")
    if environment.get(SWITCH) != "1" or not text:
        return None
    point, _, number = text.partition(":")
    if point not in POINTS:
        raise FaultPointError(f"{VARIABLE}={text}: there is no fault point {point!r} (they are in docs/chaos.md)")
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise FaultPointError(f"{VARIABLE}={text}: write POINT:N, the N-th pass from 1 on")
    return point, int(number)


_armed = parsed(os.environ)
_left = _armed[1] if _armed is not None else 0
_lock = threading.Lock()  # the producer and the Kafka feed have threads of their own


def at(point: str) -> None:
    """Pass a fault point."""
    if _armed is None:
        return
    _pass(point)


def is_armed(point: str) -> bool:
    """Whether this process is to die here: for a place that has to be made first, half a frame, say."""
    return _armed is not None and _armed[0] == point


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
    if _armed is None or point != _armed[0]:
        return
    with _lock:
        _left -= 1
        if _left == 0:
            os.write(2, f"fault point {point}, pass {_armed[1]}: SIGKILL\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
