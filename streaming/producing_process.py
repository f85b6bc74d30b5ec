"""The parent's end of the producer's own process (``streaming.producing_child``). It blocks: use a thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

import msgspec

from streaming.children import child_environment
from streaming.errors import PublishError
from streaming.producing_child import Answer, Opening, Writing, receive, send
from streaming.topics import OUTBOUND

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from ledger.db.outbox_event import OutboxEvent
    from streaming.settings import KafkaSettings

_CHILD = "streaming.producing_child"
_END_SECONDS = 1.0
_answers = msgspec.msgpack.Decoder(Answer)


class ApartWriter:
    """A ``TopicWriter`` in another process; one that dies is an error like the broker's."""

    def __init__(self, kafka: KafkaSettings, source: str) -> None:
        self.tails: dict[str, int] = {}
        self._opening = Opening(
            kafka.bootstrap, kafka.topic_prefix, kafka.transactional_id, kafka.client_options(), source
        )
        self._child: subprocess.Popen[bytes] | None = None
        self._is_abandoned = False
        self._starting = threading.Lock()

    def open(self) -> None:
        """Start the process and fence the predecessor. Raises ``PublishError``."""
        with self._starting:
            if self._is_abandoned:
                raise PublishError("the producer was abandoned before it was opened")
            self._child = subprocess.Popen(
                [sys.executable, "-m", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
            )
        self._ask(self._opening)

    def write(
        self,
        events: Sequence[OutboxEvent],
        found: AbstractSet[tuple[str, str]],
        wanted: AbstractSet[str] = frozenset(OUTBOUND),
    ) -> dict[str, int]:
        """Write events in one transaction, less the (topic, id) ``found`` there; count the messages by topic.

        Raises ``PublishError``; after an error, abandon.
        """
        ids = {event.event_id for event in events} if found else frozenset[str]()
        answer = self._ask(Writing(list(events), [one for one in found if one[1] in ids], list(wanted)))
        self.tails.update(answer.tails)
        return answer.published

    def abandon(self) -> None:
        """End the process without waiting for what it does: its successor finds out."""
        with self._starting:
            child, self._child, self._is_abandoned = self._child, None, True
        if child is None:
            return
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # in a system call that does not end: then it is init's
            child.wait(_END_SECONDS)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):  # what it has not read is lost with it
                    pipe.close()

    def _ask(self, frame: Opening | Writing) -> Answer:
        into, out = self._pipes()
        try:
            send(into, frame)
            content = receive(out)
        except (OSError, ValueError) as error:  # a ValueError: it was abandoned meanwhile
            raise PublishError(f"the producer's process does not take anything: {error}") from error
        if content is None:
            raise PublishError("the producer's process has ended")
        answer = _answers.decode(content)
        if answer.failed is not None:
            raise PublishError(answer.failed)
        return answer

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        child = self._child
        if child is None or child.stdin is None or child.stdout is None:
            raise PublishError("the producer's process is not there")
        return child.stdin, child.stdout
