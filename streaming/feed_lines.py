"""One feed of a venue at work: what it hands over, what is seen of it, and its task while it is connected."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from ledger import clocks
from ledger.domain.failover import LIVE, OFF, RECOVERING, FeedSeen
from streaming.arrivals import ArrivalKind
from streaming.settings import RestFeedSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ledger.domain.records import Position
    from streaming.arrivals import Arrival, Inbox
    from streaming.metrics import Metrics
    from streaming.settings import FixFeedSettings, WebSocketFeedSettings

_CONNECTED = frozenset({LIVE, RECOVERING})


class Runs(Protocol):
    """A feed that connects by itself and reads until it is cancelled."""

    async def run(self) -> None:
        """Read until cancelled."""
        ...


class Tap:
    """The inbox as one feed sees it: notes when a report was last handed over, and up to which position.

    While ``is_open`` is not set a feed that reads by itself waits, connected, as it waits for room.
    """

    def __init__(self, inbox: Inbox, is_open: asyncio.Event) -> None:
        self._inbox = inbox
        self._is_open = is_open
        self.reported_ns = 0
        self.position: Position | None = None

    async def put(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over, waiting for room."""
        await self._is_open.wait()
        await self._inbox.put(arrivals)
        self._note(arrivals)

    def put_now(self, arrivals: Sequence[Arrival]) -> None:
        """Hand over or raise ``InboxFullError``."""
        self._inbox.put_now(arrivals)
        self._note(arrivals)

    def forget(self) -> None:
        """Begin anew: what was handed over and not landed is gone, and Postgres says where the feed stands."""
        self.position = None

    def _note(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if arrival.kind is ArrivalKind.REPORT:
                self.reported_ns = arrival.received_ns
            if arrival.position is not None:
                self.position = arrival.position


class Line:
    """A feed by its name: running or not, and since when it is connected or is not.

    A REST feed is called and connects to nothing: it is always there.
    """

    def __init__(
        self,
        name: str,
        settings: FixFeedSettings | WebSocketFeedSettings | RestFeedSettings,
        tap: Tap,
        metrics: Metrics,
        on_state: Callable[[str], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self.tap = tap
        self._metrics = metrics
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._feed: object = None
        self._state = OFF
        self._since_ns = self._recovering_ns = clocks.time_ns()
        if self.is_called:
            self.note(LIVE)

    @property
    def beyond(self) -> int:
        """How many messages the venue says it still has for us, where its protocol tells that."""
        return int(getattr(self._feed, "beyond", 0))

    @property
    def is_called(self) -> bool:
        """Whether the venue calls us."""
        return isinstance(self.settings, RestFeedSettings)

    @property
    def is_dialled(self) -> bool:
        """Whether we connect to it now, or try to."""
        return self._task is not None

    @property
    def is_running(self) -> bool:
        """Whether it may bring reports."""
        return self.is_called or self.is_dialled

    def note(self, state: str) -> None:
        """Take note of a state that the feed is in."""
        now_ns = clocks.time_ns()
        if (state in _CONNECTED) != (self._state in _CONNECTED) or self._state == OFF:
            self._since_ns = now_ns
        if state == RECOVERING and self._state != RECOVERING:
            self._recovering_ns = now_ns
        self._state = state
        self._on_state(state)

    def start(self, feed: Runs, group: asyncio.TaskGroup) -> None:
        """Run a feed in a task of the group: what it cannot mend ends the group."""
        self._feed = feed
        self.note("connecting")
        self._task = group.create_task(feed.run(), name=f"feed {self.name}")

    async def stop(self) -> None:
        """Disconnect. What was handed over lands all the same; a later start goes on from there."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self._task})
            self._task = self._feed = None
        self._state = OFF
        self._metrics.forget_feed(self.name)

    def seen(self, unanswered_ns: int | None) -> FeedSeen:
        """Give what is seen of it now."""
        gap_ns = self._recovering_ns if self._state == RECOVERING else getattr(self._feed, "gap_since_ns", None)
        heard_ns = getattr(self._feed, "heard_ns", None)
        known = (self._since_ns, heard_ns, self.tap.reported_ns, gap_ns, unanswered_ns)
        return FeedSeen(self.name, self._state, *known)
