"""What feeds hand over, and the one bounded queue they hand it to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from ledger import clocks
from ledger.domain.errors import Defect
from ledger.domain.records import Position
from ledger.domain.times import NANOS
from streaming.errors import InboxFullError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BEHIND_NS = NANOS  # what has waited for longer than that is late by our own fault


class ArrivalKind(StrEnum):
    """What the bytes are meant to be."""

    REPORT = "report"
    INTENT = "intent"
    SNAPSHOT = "snapshot"
    VERDICT = "verdict"
    CONTROL = "control"


class Replay(msgspec.Struct, frozen=True):
    """The dead letter whose bytes these are, and the persons' requests to hand it in again."""

    dead_letter_id: str
    request_ids: tuple[int, ...]
    person: str


class DeadLettered(msgspec.Struct, frozen=True):
    """One dead letter of an arrival, for an answer that names it."""

    dead_letter_id: str
    defect: Defect


class Outcome(msgspec.Struct, frozen=True):
    """What an arrival became, once its transaction has committed."""

    landed: int
    duplicates: int
    pending: int
    dead_letters: tuple[DeadLettered, ...]


class Arrival(msgspec.Struct, frozen=True):
    """One message as it came. Nothing about it is acknowledged before ``done`` is called.

    ``defect`` is set where the feed itself found that the message cannot be a fact (a topic version it does
    not know): the bytes go to the dead letters. ``done`` is called in the event loop after the commit. ``replay``
    is set where the bytes are those of a dead letter. The ``raw`` of a verdict is the JSON of its votes, that of a
    control the JSON of a halt, a resume or a clock's change.
    """

    feed: str
    venue: str | None
    kind: ArrivalKind
    raw: bytes
    received_ns: int
    position: Position | None = None
    defect: Defect | None = None
    done: Callable[[Outcome], None] | None = None
    replay: Replay | None = None


class Intake(Protocol):
    """Where a venue's feed hands over: the inbox, or what looks on while it does."""

    async def put(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over, waiting for room."""
        ...

    def put_now(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over or raise ``InboxFullError``."""
        ...


class Inbox:
    """Arrivals in order, bounded in number and bytes: a full inbox is back-pressure on every feed."""

    def __init__(self, max_arrivals: int = 20_000, max_bytes: int = 64 << 20) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._bytes = 0
        self._max_arrivals = max_arrivals
        self._max_bytes = max_bytes
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def is_full(self) -> bool:
        """Whether feeds must hold back."""
        return len(self._arrivals) >= self._max_arrivals or self._bytes >= self._max_bytes

    def __iter__(self) -> Iterator[Arrival]:
        return iter(self._arrivals)

    def is_behind(self) -> bool:
        """Whether what waits was received more than a second ago, or feeds must hold back: we do not keep up."""
        oldest_ns = next((a.received_ns for a in self._arrivals if a.kind is not ArrivalKind.CONTROL), None)
        return self.is_full or (oldest_ns is not None and clocks.time_ns() - oldest_ns > _BEHIND_NS)

    async def put(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over, waiting for room: a stream feed stops reading its socket meanwhile."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()
        self._append(arrivals)

    def put_now(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over or raise ``InboxFullError``: a REST caller is told to come back."""
        if self.is_full:
            raise InboxFullError(retry_after=1.0)
        self._append(arrivals)

    def put_first(self, arrival: Arrival) -> None:
        """Hand over before all that waits but its own kind, room or not: a halt is for what comes after it."""
        place = next((n for n, held in enumerate(self._arrivals) if held.kind is not arrival.kind), len(self))
        self._arrivals.insert(place, arrival)
        self._bytes += len(arrival.raw)
        self._filled.set()

    def put_last(self, arrival: Arrival) -> None:
        """Hand over behind all that waits, room or not: what is told of it lands after it, or with it."""
        self._append([arrival])

    async def take(self, limit: int) -> list[Arrival]:
        """Take what is there, at most ``limit``; wait while there is nothing."""
        while not self._arrivals:
            self._filled.clear()
            await self._filled.wait()
        if len(self._arrivals) <= limit:
            taken = list(self._arrivals)
            self._arrivals.clear()
        else:
            taken = [self._arrivals.popleft() for _ in range(limit)]
        self._bytes -= sum(len(arrival.raw) for arrival in taken)
        if not self.is_full:
            self._room.set()
        return taken

    def discard(self, unwanted: Callable[[Arrival], bool]) -> None:
        """Throw away arrivals that will come again."""
        self._arrivals = deque(arrival for arrival in self._arrivals if not unwanted(arrival))
        self._bytes = sum(len(arrival.raw) for arrival in self._arrivals)
        if not self.is_full:
            self._room.set()

    def _append(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals.extend(arrivals)
        self._bytes += sum(len(arrival.raw) for arrival in arrivals)
        self._filled.set()
