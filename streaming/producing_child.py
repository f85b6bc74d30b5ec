"""The transactional producer, a process of its own: ``python -m streaming.producing_child``, frames on its pipes.

A message's way to librdkafka is Python under the interpreter's lock: of a backlog it took the landing a tenth of
its one processor. The parent (``streaming.producing_process``) asks for one thing after the other and waits for
each; when its end of the pipe is closed, by its death too, this process ends at once. What it was doing the next
producer finds out: it fences this one, as it would one in a process that died with its parent.

Only what this needs is imported.
"""

from __future__ import annotations

import os
import queue
import signal
import struct
import sys
import threading
import traceback
from typing import IO

import msgspec
from confluent_kafka import KafkaException

from ledger import faultpoints
from ledger.db.outbox_event import OutboxEvent
from streaming.errors import PublishError
from streaming.producing import TopicWriter

_LENGTH = struct.Struct(">I")


class Opening(msgspec.Struct, frozen=True):
    """The first frame: whose producer, and librdkafka's options as of now. It is asked to be opened with it."""

    bootstrap: str
    topic_prefix: str
    transactional_id: str
    options: dict[str, str]
    source: str

    def client_options(self) -> dict[str, str]:
        """Give librdkafka's options."""
        return self.options


class Writing(msgspec.Struct, frozen=True, array_like=True):
    """Every further frame: a transaction, less what stands there already, (topic, event id)."""

    events: list[OutboxEvent]
    found: list[tuple[str, str]]
    wanted: list[str]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What became of a frame: messages by topic and the topics' tails, or why there are none."""

    published: dict[str, int]
    tails: dict[str, int]
    failed: str | None = None


def send(stream: IO[bytes], frame: msgspec.Struct) -> None:
    """Write a frame. Raises ``OSError`` where nobody reads."""
    content = msgspec.msgpack.encode(frame)
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Read a frame's content; None at the end, in the middle of a frame, too."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    return content if len(content) == length else None


def _take_in(frames: queue.SimpleQueue[bytes]) -> None:
    while (content := receive(sys.stdin.buffer)) is not None:
        frames.put(content)
    os._exit(0)  # a commit that waits for the broker would keep us for ten seconds


def main() -> None:
    """Open, then write what comes, until the pipe is closed. After an error there is nothing more to be done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the parent is told, too, and ends us
    faultpoints.with_parent(os.getppid())
    frames = queue.SimpleQueue[bytes]()
    threading.Thread(target=_take_in, args=(frames,), daemon=True).start()
    opening = msgspec.msgpack.decode(frames.get(), type=Opening)
    writings = msgspec.msgpack.Decoder(Writing)
    out = sys.stdout.buffer
    try:
        writer = TopicWriter(opening, opening.source)
        writer.open()
        send(out, Answer({}, {}))
        while True:
            writing = writings.decode(frames.get())
            published = writer.write(writing.events, set(writing.found), set(writing.wanted))
            send(out, Answer(published, writer.tails))
    except (KafkaException, PublishError) as error:
        send(out, Answer({}, {}, str(error)))


if __name__ == "__main__":
    try:
        main()
    except Exception:  # noqa: BLE001  said as the interpreter would
        traceback.print_exc()
    finally:
        # the interpreter's own end aborts where a thread waits for the pipe, and a core would have our secrets
        os._exit(1)
