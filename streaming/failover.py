"""The venues' feeds at work: the primary always, the backup when it is needed, and who is counted on.

Ten times a second each venue is looked at; what follows is decided by ``ledger.domain.failover``. A switch starts
the backup at once, from the position of its own that Postgres holds, and asks the venue's list (look-back), where
there is one, for what was missed; the primary goes on trying to connect. Being told is a fact like others: it goes
into the inbox and is landed with its event. It lives as long as a lease: the next one begins with what the ledger
then says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks
from ledger.domain.failover import OFF, Cause, FeedPair, Health, HealthKind, Seen
from ledger.domain.snapshot_feed import MARKET_DATA, SnapshotFeed
from ledger.domain.times import NANOS
from ledger.domain.venue_health import Stretch
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind
from streaming.feeds.desk import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from ledger.domain.failover import FailoverPolicy
    from ledger.domain.records import Position
    from ledger.domain.sequence_gaps import GapFilled
    from ledger.domain.venue_health import VenueHealth
    from streaming.arrivals import Inbox
    from streaming.feed_lines import Line, Runs
    from streaming.metrics import Metrics
    from streaming.open_orders import OpenOrders
    from streaming.recovering import Recovery

_LOOK_SECONDS = 0.1
_SNAPSHOT_LOOK_SECONDS = 0.5
_RECOVERED = frozenset({HealthKind.SWITCHED, HealthKind.RETURNED})
_WARNED = frozenset({HealthKind.RECOVERED, HealthKind.RETURNED, HealthKind.RENUMBERED})

log = structlog.get_logger()


class VenueFeeds:
    """One venue's feeds.

    ``make`` makes a feed that goes on from a position, ``recovery`` asks the venue's list, where there is one.
    """

    def __init__(
        self,
        venue: str,
        policy: FailoverPolicy,
        primary: Line,
        backup: Line | None,
        *,
        is_hot: bool,
        make: Callable[[Line, Position | None], Runs],
        positions: Callable[[], Awaitable[dict[str, Position]]],
        recovery: Recovery | None,
        inbox: Inbox,
        orders: OpenOrders,
        metrics: Metrics,
        active: MutableMapping[str, str],
    ) -> None:
        self.venue = venue
        self.pair = FeedPair(venue, policy)
        self._primary, self._backup = primary, backup
        self._is_hot = is_hot
        self._make, self._positions = make, positions
        self._recovery = recovery
        self._inbox = inbox
        self._orders = orders
        self._metrics = metrics
        self._active = active
        self._looked_ns = 0

    def take_up(self, standing: VenueHealth, owed: Iterable[Stretch]) -> None:
        """Begin where the ledger stands; what it says of feeds that are no more ends here.

        ``owed`` is what the venue's list was not read for: its turn was cut off.
        """
        if self._recovery is not None:
            self._recovery.forget()
            self._recovery.owe(*owed)
        lines = {line.name for line in (self._primary, self._backup) if line is not None}
        switch = standing.switches.get(self.venue)
        outages = {feed: o.cause for (venue, feed), o in standing.outages.items() if venue == self.venue}
        now_ns = clocks.time_ns()
        for feed in outages.keys() - lines:
            self._tell(Health(HealthKind.RECOVERED, self.venue, feed, now_ns, now_ns, "it is no feed any more"))
        switched_ns = switch.switched_ns if switch is not None else None
        if switch is not None and (self._backup is None or switch.to_feed != self._backup.name):
            gone = (self._primary.name, now_ns, now_ns, "the backup is no feed any more", None, self._primary.name)
            self._tell(Health(HealthKind.RETURNED, self.venue, *gone))
            switched_ns = None
        self.pair.take_up(switched_ns, {feed: cause for feed, cause in outages.items() if feed in lines})
        self._show()

    async def run(self) -> None:
        """Run the feeds until cancelled; a feed that cannot go on ends all of it."""
        async with asyncio.TaskGroup() as group:
            if self._recovery is not None:
                group.create_task(self._recovery.run(), name=f"recovery of {self.venue}")
            if not self._primary.is_called:
                await self._start(self._primary, group)
            if self._is_backup_wanted():
                await self._start_backup(group)
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._look(group)

    @property
    def beyond(self) -> int:
        """How many messages the venue says it still has for us: it has the same on both feeds."""
        return max(line.beyond for line in (self._primary, self._backup) if line is not None)

    def status(self) -> dict[str, Any]:
        """Give what /status shows."""
        counted = "backup" if self.pair.on_backup else "primary"
        return {
            "active": self._active[self.venue],
            "counted_on": "none" if self.pair.is_down else counted,
            "out": sorted(self.pair.outages),
        }

    def _is_backup_wanted(self) -> bool:
        return self._backup is not None and (self._is_hot or self.pair.on_backup)

    async def _start(self, line: Line, group: asyncio.TaskGroup) -> None:
        position = line.tap.position
        if position is None:
            position = (await self._positions()).get(line.name)
        line.start(self._make(line, position), group)

    async def _start_backup(self, group: asyncio.TaskGroup) -> None:
        if self._backup is not None and not self._backup.is_running:
            await self._start(self._backup, group)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        self._orders.settle()
        now_ns = clocks.time_ns()
        lines = [line.seen(self._unanswered(line)) for line in (self._primary, self._backup) if line is not None]
        told = self.pair.step(Seen(now_ns, *lines))
        if told:
            self._show()
        for health in told:
            at("failover.decided")
            self._tell(health)
            at("failover.told")
            if health.kind is HealthKind.SWITCHED:
                await self._start_backup(group)
                at("failover.switched")
            if health.kind in _RECOVERED:
                self._count(health)
            if health.kind in _RECOVERED or health.cause is Cause.GAP:
                self._recover(health)
        if self._backup is not None and self._backup.is_dialled and not self._is_backup_wanted():
            at("failover.returned")
            await self._backup.stop()
        for feed in self.pair.outages:
            passed_ns = now_ns - self._looked_ns if self._looked_ns else 0
            self._metrics.outage_seconds.labels(self.venue, feed).inc(max(0, passed_ns) / NANOS)
        self._looked_ns = now_ns

    def _unanswered(self, line: Line) -> int | None:
        return self._orders.first_after(self.venue, max(line.tap.reported_ns, self.pair.forgiven_ns))

    def renumbered(self, line: Line, lost: GapFilled | None, now_ns: int) -> None:
        """Take note that a venue starts a feed's numbers over: nobody can ask for the old ones any more.

        An open gap makes it an outage. What came after the last report, and whether anything did, is not known.
        It lands before all reports under the new numbers: once these have, nobody sees it again.
        """
        since_ns, reason = now_ns, "the venue's numbers start over"
        told: list[Health] = []
        if lost is not None:
            since_ns = lost.since_ns
            reason = f"{reason}, and of the old ones {lost.first} and later are missing"
            told = self.pair.lose(line.name, since_ns, now_ns, reason)
            self._show()
        again = HealthKind.RENUMBERED
        for health in told or [Health(again, self.venue, line.name, now_ns, since_ns, reason, Cause.GAP)]:
            self._tell(health)
        self._owe(Stretch(self.venue, since_ns, now_ns, again.value, line.name))

    def _recover(self, health: Health) -> None:
        """Ask the venue's list for what neither feed may have brought: each goes on from its own position."""
        feed = None if health.kind is HealthKind.RETURNED else health.feed
        self._owe(Stretch(self.venue, health.since_ns, health.at_ns, health.kind.value, feed))

    def _owe(self, stretch: Stretch) -> None:
        if self._recovery is not None:
            self._recovery.owe(stretch)

    def _count(self, health: Health) -> None:
        self._metrics.feed_switches.labels(self.venue, health.other).inc()

    def _show(self) -> None:
        lines = [line.name for line in (self._primary, self._backup) if line is not None]
        backup = self._backup
        active = backup.name if backup is not None and self.pair.on_backup else self._primary.name
        self._active[self.venue] = active
        for feed in lines:
            self._metrics.feed_active.labels(self.venue, feed).set(feed == active)
            self._metrics.feed_out.labels(self.venue, feed).set(feed in self.pair.outages)

    def _tell(self, health: Health) -> None:
        tell(health, self._inbox)


class SnapshotWatch:
    """Looks at the snapshots: whether they come while orders are open that need them."""

    def __init__(self, out_ns: int, inbox: Inbox, orders: OpenOrders, metrics: Metrics) -> None:
        self._out_ns = out_ns
        self._inbox = inbox
        self._orders = orders
        self._metrics = metrics
        self._came: dict[str, int] = {}
        self._feed = SnapshotFeed(out_ns)

    @property
    def out(self) -> list[str]:
        """What is out."""
        return sorted(self._feed.out)

    def take_up(self, standing: VenueHealth) -> None:
        """Begin where the ledger stands."""
        self._feed = SnapshotFeed(self._out_ns, (feed for venue, feed in standing.outages if venue == MARKET_DATA))

    def offer(self, symbols: set[str]) -> None:
        """Take note of the symbols whose snapshots have landed."""
        self._came.update(dict.fromkeys(symbols, clocks.time_ns()))

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_SNAPSHOT_LOOK_SECONDS)
            came, self._came = self._came, {}
            for symbol, at_ns in came.items():
                self._feed.take(symbol, at_ns)
            is_connected = self._metrics.feed_states.get("kafka", OFF) == "live"
            needed = sorted(self._orders.symbols())
            for health in self._feed.step(clocks.time_ns(), is_connected=is_connected, needed=needed):
                tell(health, self._inbox)
                is_out = health.kind is HealthKind.SNAPSHOTS_OUT
                self._metrics.feed_out.labels(health.venue, health.feed).set(is_out)


def tell(health: Health, inbox: Inbox) -> None:
    """Write one line of the log, and hand the fact over to be landed: before all reports that wait."""
    say = log.warning if health.kind in _WARNED else log.error
    more = {"to": health.other} if health.other is not None else {}
    say(health.kind.value, venue=health.venue, feed=health.feed, why=health.reason, **more)
    raw = msgspec.json.encode(health)
    inbox.put_first(Arrival(CONTROLS, None, ArrivalKind.CONTROL, raw, clocks.time_ns()))
