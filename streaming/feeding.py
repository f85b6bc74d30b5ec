"""All feeds of the process: the venues' with their backups, Kafka, the desk. It runs while the lease is held."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import msgspec
import structlog

from ledger import clocks
from ledger.db.errors import LedgerUnavailableError
from ledger.db.reading import Reader
from ledger.domain.failover import Health, HealthKind
from ledger.domain.snapshot_feed import MARKET_DATA
from ledger.domain.times import NANOS
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind
from streaming.failover import SnapshotWatch, VenueFeeds, tell
from streaming.feed_lines import Line, Tap
from streaming.feeds.desk import CONTROLS, DeskFeed
from streaming.feeds.fix import FixFeed
from streaming.feeds.kafka import KafkaFeed
from streaming.feeds.websocket import WebSocketFeed
from streaming.look_back.order_asking import OrderAsker
from streaming.open_orders import OpenOrders
from streaming.policy import failover_policies_of
from streaming.recovering import Recovery
from streaming.settings import FixFeedSettings, RestFeedSettings, WebSocketFeedSettings, feeds_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import asyncpg

    from ledger.domain.decision import Decision
    from ledger.domain.records import Position
    from ledger.domain.sequence_gaps import GapFilled
    from ledger.domain.venue_health import VenueHealth
    from streaming.arrivals import Inbox
    from streaming.credentials import Credentials
    from streaming.feed_lines import Runs
    from streaming.look_back.look_back import LookBack
    from streaming.metrics import Metrics
    from streaming.questions import Questions
    from streaming.settings import FeedSettings, Settings, VenueSettings

_RETRY_SECONDS = 0.5
_REGAINED_SECONDS = 10.0  # after an outage of the ledger much may wait on Kafka, and in order it lands sooner
_OPEN_SECONDS, _OPEN_LIMIT = 86_400.0, 20_000
_OWED_SECONDS = 86_400.0  # what was not recovered by then is the audits' business

T = TypeVar("T")

log = structlog.get_logger()


class Feeding:
    """Starts the feeds from the positions that Postgres holds. ``active``: which feed each venue is counted on."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        inbox: Inbox,
        metrics: Metrics,
        look_backs: Mapping[str, LookBack],
        questions: Questions,
        credentials: Credentials,
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._connect = connect
        self._inbox = inbox
        self._metrics = metrics
        self._look_backs = look_backs
        self._questions = questions
        self.kafka: KafkaFeed | None = None
        self._orders = OpenOrders()
        self._venues: dict[str, VenueFeeds] = {}
        feeds = {name: feeds_of(name, venue) for name, venue in settings.venues.items()}
        self.active = {name: found[0] for name, found in feeds.items()}
        self._is_open = asyncio.Event()
        self.taps = {feed: Tap(inbox, self._is_open) for found in feeds.values() for feed in found}
        out_ns = int(settings.snapshot_out_seconds * NANOS)
        self._snapshots = SnapshotWatch(out_ns, inbox, self._orders, metrics)
        self._recoveries = {name: self._recovery(name, found) for name, found in look_backs.items()}

    def offer(self, decision: Decision) -> None:
        """Take note of a landed decision: of its orders and snapshots."""
        self._orders.offer(decision)
        if decision.snapshots:
            self._snapshots.offer({snapshot.symbol for snapshot in decision.snapshots})

    def open_since(self, venue: str) -> int | None:
        """Say since when some order is open at a venue, as far as is known; None without one."""
        return self._orders.oldest(venue)

    def status(self) -> dict[str, Any]:
        """Give what /status shows of the venues' feeds, and which snapshots are out."""
        return {
            "venues": {name: venue.status() for name, venue in self._venues.items()},
            "snapshots_out": self._snapshots.out,
        }

    async def run(self, *, is_regained: bool = False) -> None:
        """Run all feeds until cancelled; what a feed cannot mend ends all of them.

        They connect at once. What waited on Kafka goes before the fills of its time, but not for long: after a
        start, or a takeover, for ``kafka.ahead_seconds``, and longer where this process had the lease before and
        nobody else had it since.
        """
        ahead = self._settings.kafka.ahead_seconds
        try:
            self._is_open.clear()
            for tap in self.taps.values():
                tap.forget()
            self._orders.begin()
            standing = await self._patient(Reader.health)
            at("feeds.starting")
            self._snapshots.take_up(standing)
            self._venues = {name: self._venue(name, venue) for name, venue in self._settings.venues.items()}
            owed = await self._patient(lambda reader: reader.unrecovered(_OWED_SECONDS))
            for name, feeds in self._venues.items():
                feeds.take_up(standing, [stretch for stretch in owed if stretch.venue == name])
            self._end_strangers(standing)
            self.kafka = KafkaFeed(self._settings.kafka, self._inbox, self.positions, self._on_state("kafka"))
            async with asyncio.TaskGroup() as group:
                group.create_task(self.kafka.run(), name="feed kafka")
                group.create_task(self._load_orders(), name="open orders")
                group.create_task(self._snapshots.run(), name="snapshot watch")
                desk = DeskFeed(self._connect, self._inbox, self._settings.venues)
                group.create_task(desk.run(), name="feed desk")
                for name, look_back in self._look_backs.items():
                    if look_back.states_orders:
                        asker = OrderAsker(look_back)
                        self._questions.join(name, look_back.feed, asker)
                        group.create_task(asker.run(), name=f"questions to {name}")
                for feeds in self._venues.values():
                    group.create_task(feeds.run(), name=f"feeds of {feeds.venue}")
                if not await self.kafka.caught_up(max(ahead, _REGAINED_SECONDS) if is_regained else ahead):
                    log.warning("venues are read before all intents and snapshots that waited: fills are restated")
                self._is_open.set()
        finally:
            self._questions.clear()
            for name in list(self._metrics.feed_states):
                if not name.endswith(".rest"):  # they are called, whatever we hold
                    self._metrics.forget_feed(name)

    def beyond(self) -> dict[str, int]:
        """Count what venues and Kafka's topics have said they still hold for us, by venue and by topic's feed."""
        held = {name: feeds.beyond for name, feeds in self._venues.items()}
        if self.kafka is not None:
            held |= {feed: waiting.count for feed, waiting in self.kafka.waiting.items()}
        return held

    def written_ns(self) -> dict[str, int]:
        """When the oldest of what the topics still hold was written, or a little before."""
        waiting = self.kafka.waiting if self.kafka is not None else {}
        return {feed: found.since_ns for feed, found in waiting.items() if found.since_ns is not None}

    async def positions(self) -> dict[tuple[str, str], Position]:
        """Read every feed's position; a ledger that is away is waited for."""
        return await self._patient(Reader.positions)

    def _venue(self, name: str, venue: VenueSettings) -> VenueFeeds:
        primary, *rest = feeds_of(name, venue)
        return VenueFeeds(
            name,
            failover_policies_of(self._settings)[name],
            self._line(primary, venue.feed),
            self._line(rest[0], venue.backup.feed) if venue.backup is not None else None,
            is_hot=venue.failover.mode == "hot",
            make=lambda line, position: self._feed(name, line, position),
            positions=self._by_feed,
            recovery=self._recoveries.get(name),
            inbox=self._inbox,
            orders=self._orders,
            metrics=self._metrics,
            active=self.active,
        )

    def _recovery(self, venue: str, look_back: LookBack) -> Recovery:
        async def last(feed: str, before_ns: int) -> int | None:
            return await self._patient(lambda reader: reader.last_received(venue, feed, before_ns))

        return Recovery(venue, look_back, last)

    def _line(self, name: str, settings: FeedSettings) -> Line:
        return Line(name, settings, self.taps[name], self._metrics, self._on_state(name))

    def _feed(self, venue: str, line: Line, start: Position | None) -> Runs:
        settings, tap = line.settings, line.tap
        if isinstance(settings, FixFeedSettings):
            fix = FixFeed(venue, settings, tap, start, line.note, feed=line.name, credentials=self._credentials)
            fix.on_gap = lambda first, last, _: self._metrics.gaps_filled.labels(line.name).inc(last - first + 1)
            fix.on_filled = self._tell_filled
            fix.on_renumbered = partial(self._venues[venue].renumbered, line)
            self._questions.join(venue, line.name, fix)
            return fix
        if isinstance(settings, WebSocketFeedSettings):
            secrets = self._credentials
            websocket = WebSocketFeed(venue, settings, tap, start, line.note, feed=line.name, credentials=secrets)
            websocket.on_filled = self._tell_filled
            websocket.on_renumbered = partial(self._venues[venue].renumbered, line)
            self._questions.join(venue, line.name, websocket)
            return websocket
        if isinstance(settings, RestFeedSettings):
            raise TypeError(f"{line.name} is called, it connects to nothing")
        assert_never(settings)

    def _tell_filled(self, gap: GapFilled) -> None:
        """Hand over that a gap is filled, behind what filled it."""
        raw = msgspec.json.encode(gap)
        self._inbox.put_last(Arrival(CONTROLS, None, ArrivalKind.CONTROL, raw, clocks.time_ns()))

    def _end_strangers(self, standing: VenueHealth) -> None:
        """End what the ledger says of venues that are not in the settings any more."""
        now_ns, reason = clocks.time_ns(), "it is no venue of the settings any more"
        known = {*self._settings.venues, MARKET_DATA}
        for venue, feed in standing.outages:
            if venue not in known:
                tell(Health(HealthKind.RECOVERED, venue, feed, now_ns, now_ns, reason), self._inbox)
        for venue, switch in standing.switches.items():
            if venue not in known:
                tell(Health(HealthKind.RETURNED, venue, switch.from_feed, now_ns, now_ns, reason), self._inbox)

    async def _load_orders(self) -> None:
        self._orders.load(await self._patient(lambda reader: reader.orders_in_flight(_OPEN_SECONDS, _OPEN_LIMIT)))

    async def _by_feed(self) -> dict[str, Position]:
        return {feed: position for (feed, _), position in (await self.positions()).items()}

    def _on_state(self, feed: str) -> Callable[[str], None]:
        def note(state: str) -> None:
            if self._metrics.feed_states.get(feed) != state:
                log.info("feed", feed=feed, state=state)
            self._metrics.set_feed_state(feed, state)

        return note

    async def _patient(self, ask: Callable[[Reader], Awaitable[T]]) -> T:
        """Ask the ledger; one that is away is waited for."""
        while True:
            try:
                return await self._ask(ask)
            except LedgerUnavailableError as error:
                log.warning("ledger unavailable", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _ask(self, ask: Callable[[Reader], Awaitable[T]]) -> T:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            return await ask(Reader(connection))
        finally:
            connection.terminate()
