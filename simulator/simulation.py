"""A run: events come due, are journaled, and go out, venue by venue."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simulator import canonical
from simulator.books import REPORTS, Control
from simulator.capture import Replay
from simulator.clock import Clock, rfc3339
from simulator.faults import Due, Faults
from simulator.fill_list import FillList
from simulator.journal import Journal
from simulator.market import SECOND, Market
from simulator.orders import Event, Identifiers, Intent, Report, Snapshot
from simulator.records import ReportRow
from simulator.states import OrderStates
from simulator.topics import INTENTS, SNAPSHOTS, Topics
from simulator.topics import Event as CloudEvent
from simulator.venue import Delivery, Venue
from simulator.venues import ENCODERS, venue_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.config import Config, VenueConfig

COMMIT_EVERY = 0.05
SHORTEST_SLEEP, LONGEST_SLEEP = 0.001, 0.05
AT_ONCE = 1_000  # events between two looks at the sockets
BREAKS_THE_MESSAGE = frozenset({"truncated", "bad_utf8"})
SOURCE = "simulator"


class Simulation:
    """One process's run over a state directory."""

    def __init__(self, config: Config) -> None:
        self.state = "running"
        self.journal = Journal(Path(config.state_dir), config.id_tag)
        self.venues = [venue_of(venue, self.journal, config.seed) for venue in config.venues]
        self.control_port = 0
        self.lists = {
            venue.name: FillList(venue, self.journal)
            for venue in config.venues
            if venue.look_back_port is not None
        }
        self._mirrors = {
            venue.name: [one for one in config.venues if one.mirror_of == venue.name] for venue in config.trading
        }
        self._mirrored: dict[str, list[ReportRow]] = {}  # what mirrors put out with a report, by its ExecID
        self._config = config
        self._by_name = {venue.name: venue for venue in self.venues}
        self._topics = Topics(config.kafka_bootstrap, config.topic_prefix)
        self._control = Control(self, config.control_port)
        self._ids = Identifiers(self.journal.tag, self.journal.run)
        self._source = Replay(config, self._ids) if config.captures else Market(config, self._ids)
        self._faults = Faults(config.faults, config.seed, {one.name: one.kind for one in config.venues})
        self._flaws = random.Random(f"{config.seed}/flaws")
        self._clock = Clock(0, config.speed)
        self._due: list[tuple[int, int, Due, ReportRow | None]] = []
        self._tie = itertools.count()
        self._rows: dict[str, ReportRow] = {}  # of reports that are not planned yet, by ExecID
        self._counted_faults: dict[str, int] = {}
        self._leaving = asyncio.Event()
        self._states = OrderStates()
        for venue in self.venues:
            venue.answer_status(self._answer_status)
        for fills in self.lists.values():
            fills.answer_status(self._state_of)

    def stop_orders(self) -> None:
        """No new orders; what is open plays out."""
        self._source.stop_orders()
        if self.state == "running":
            self.state = "draining"

    def set_rate(self, orders_per_second: float) -> bool:
        """Make so many orders a second from now on; False where a captured market says how many there are."""
        if not isinstance(self._source, Market):
            return False
        self._source.orders_per_second = orders_per_second
        return True

    def leave(self) -> None:
        """Make nothing new at all, deliver what was made, and return from ``run``."""
        self.stop_orders()
        self._leaving.set()

    def unpublished(self) -> int:
        """Events that no broker has acknowledged."""
        return self._topics.outstanding

    async def run(self) -> None:
        """Serve until told to leave."""
        self._take_up_earlier_runs()
        await self._topics.start()
        self.control_port = await self._control.start()
        for venue in self.venues:
            await venue.start()
        for fill_list in self.lists.values():
            await fill_list.start()
        self._clock = Clock(time.time_ns(), self._config.speed)
        committing = asyncio.create_task(self._commit())
        try:
            await self._play()
            await self._deliver_rest()
            await self._leaving.wait()
        finally:
            committing.cancel()
            for venue in self.venues:
                await venue.stop()
            for fill_list in self.lists.values():
                await fill_list.stop()
            await self._topics.stop()
            await self._control.stop()
            self.journal.close()

    def _take_up_earlier_runs(self) -> None:
        for correlation_id, msg_id, value in self.journal.unacked_intents():
            self._publish_intent(correlation_id, msg_id, value)
        left: dict[str, list[Delivery]] = defaultdict(list)
        for row in self.journal.unframed():
            left[row.venue].append(Delivery(row, row.fault))
        for name, deliveries in left.items():
            if name in self._by_name:
                self._by_name[name].take(deliveries)
        self.journal.commit()

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY)
            self.journal.commit()

    async def _play(self) -> None:
        events = self._source.events()
        following = next(events, None)
        ends_at = self._config.duration_seconds
        while following is not None or self._due or self._faults.holding:
            now = self._clock.now()
            if ends_at is not None and now / self._config.speed >= ends_at * SECOND:
                self.stop_orders()
            if self._leaving.is_set():
                following = None
                now = 1 << 62  # what was held back goes out now
            following = self._strike(events, following, now)
            self._plan(self._faults.release_held(now))
            self._deliver(now)
            await asyncio.sleep(self._pause(following))

    def _strike(self, events: Iterator[Event], following: Event | None, now: int) -> Event | None:
        for _ in range(AT_ONCE):
            if following is None or following.at > now:
                break
            self._made(following)
            self._plan(self._faults.strike(following))
            following = next(events, None)
        return following

    def _plan(self, dues: list[Due]) -> None:
        # a report's row is found by its ExecID until it is planned: a swapped one waits for its neighbour
        for due in dues:
            row = self._rows.get(due.event.exec_id) if isinstance(due.event, Report) else None
            heapq.heappush(self._due, (due.at, next(self._tie), due, row))
        for due in dues:
            if isinstance(due.event, Report) and due.act in {"send", "withhold"}:
                self._rows.pop(due.event.exec_id, None)

    def _pause(self, following: Event | None) -> float:
        times = [self._due[0][0]] if self._due else []
        times += [following.at] if following is not None else []
        if not times:
            return SHORTEST_SLEEP
        wait = (min(times) - self._clock.now()) / SECOND / self._config.speed
        return min(LONGEST_SLEEP, max(SHORTEST_SLEEP, wait))

    def _answer_status(self, name: str, cl_ord_id: str, request_id: str) -> bool:
        """Put out an order's state as its venue has it now, whatever was lost on the way."""
        report = self._states.answer(name, cl_ord_id, self._clock.now(), self._ids.next(name), request_id)
        if report is None:
            return False
        encode, _ = ENCODERS[self._by_name[name].kind]
        row = self._row(report, report.kind, report.exec_id, "", encode(report, self._clock))
        self._by_name[name].take([Delivery(row)])
        self.journal.commit()  # before it is on a wire
        self._by_name[name].release()
        return True

    def _state_of(self, name: str, cl_ord_id: str, request_id: str) -> bytes | None:
        """Give an order's state to who asks over REST; it is put out nowhere else."""
        report = self._states.answer(name, cl_ord_id, self._clock.now(), self._ids.next(name), request_id)
        return None if report is None else canonical.websocket_report(report, self._clock)

    def _made(self, event: Event) -> None:
        # journaled when made, not when sent: a report that is held back survives a killed simulator
        if isinstance(event, Intent):
            value = canonical.intent_value(event, self._clock)
            self.journal.add_intent(event.correlation_id, event.msg_id, value)
        elif isinstance(event, Report):
            encode, _ = ENCODERS[self._by_name[event.intent.venue].kind]
            row = self._row(event, event.kind, event.exec_id, "", encode(event, self._clock))
            self._rows[event.exec_id] = row
            mirrors = self._mirrors[event.intent.venue] if event.kind in REPORTS else []
            if mirrors:
                self._mirrored[event.exec_id] = [self._mirror(event, mirror) for mirror in mirrors]
            if event.intent.venue in self.lists and event.kind in REPORTS:
                body = canonical.websocket_report(event, self._clock)
                self.journal.add_listed(row, event.intent.venue_order_id, body)

    def _mirror(self, report: Report, mirror: VenueConfig) -> ReportRow:
        encode, _ = ENCODERS[mirror.kind]
        payload = encode(report, self._clock)
        return self._row(report, report.kind, report.exec_id, "", payload, venue=mirror.name)

    def _row(
        self, report: Report, kind: str, exec_id: str, fault: str, payload: bytes, *, venue: str = ""
    ) -> ReportRow:
        intent, wall = report.intent, self._clock.wall(report.at)
        if self._by_name[venue or intent.venue].kind == "fix":
            wall -= wall % 1000  # as the wire has it
        row = ReportRow(
            id=0,
            venue=venue or intent.venue,
            run=self.journal.run,
            kind=kind,
            exec_id=exec_id,
            correlation_id=intent.correlation_id,
            msg_id=intent.msg_id,
            side=intent.side,
            symbol=intent.symbol,
            last_qty=canonical.plain(report.last_qty),
            last_px=canonical.plain(report.last_px),
            transact_time=rfc3339(wall),
            routed_at=rfc3339(self._clock.wall(intent.at)),
            fault=fault,
            payload=payload,
        )
        return self.journal.add_report(row)

    def _deliver(self, now: int) -> None:
        deliveries: dict[str, list[Delivery]] = defaultdict(list)
        events: list[Due] = []
        disturbances: list[tuple[Venue, str]] = []
        while self._due and self._due[0][0] <= now:
            _, _, due, row = heapq.heappop(self._due)
            event = due.event
            if not isinstance(event, Report):
                events.append(due)
                self._states.note(event)
                continue
            name = event.intent.venue
            self._show_mirrors(due, event, deliveries)
            if due.act == "malformed":
                deliveries[name].append(self._malformed(event))
            elif row is not None and due.act == "send":
                self._states.note(event)
                deliveries[name].append(Delivery(row, due.fault))
            elif row is not None and due.act == "withhold":
                self._states.note(event)
                self.journal.withhold(row)
            else:
                disturbances.append((self._by_name[name], due.act))
        for name, taken in deliveries.items():
            self._by_name[name].take(taken)
        self._count_faults()
        self.journal.commit()  # before anything is on a wire
        for due in events:  # intents first: a fill before its intent is a fault of its own
            self._publish(due)
        for name in deliveries:
            self._by_name[name].release()
        for venue, act in disturbances:
            self._disturb(venue, act)

    def _show_mirrors(self, due: Due, report: Report, deliveries: dict[str, list[Delivery]]) -> None:
        """Put a report out at its venue's mirrors, too: no fault of the venue's feed strikes them."""
        if due.act in ("send", "withhold"):
            for row in self._mirrored.pop(report.exec_id, ()):
                deliveries[row.venue].append(Delivery(row))

    def _malformed(self, report: Report) -> Delivery:
        name = report.intent.venue
        _, malform = ENCODERS[self._by_name[name].kind]
        exec_id = self._ids.next(f"{name}-BAD")
        flaw, payload = malform(report, self._clock, exec_id, self._flaws)
        fault = "malformed_message" if flaw in BREAKS_THE_MESSAGE else "malformed"
        self.journal.counts[f"fault/malformed: {flaw}"] += 1
        return Delivery(self._row(report, "malformed", exec_id, fault, payload), fault)

    def _disturb(self, venue: Venue, act: str) -> None:
        if act == "drop" and venue.drop():
            self.journal.counts["fault/dropped"] += 1
        elif act == "stale" and venue.resend_stale():
            self.journal.counts["fault/stale"] += 1
            self.journal.counts[f"session_resends/{venue.name}"] += 1

    def _count_faults(self) -> None:
        for name, count in self._faults.counts.items():
            self.journal.counts[f"fault/{name}"] += count
        self._faults.counts.clear()

    def _publish(self, due: Due) -> None:
        event = due.event
        if isinstance(event, Intent):
            value = canonical.intent_value(event, self._clock)
            self._publish_intent(event.correlation_id, event.msg_id, value)
        elif isinstance(event, Snapshot):
            self._topics.publish(
                CloudEvent(
                    type=SNAPSHOTS,
                    id=event.snapshot_id,
                    source=SOURCE,
                    time=self._clock.wall(event.at),
                    key=event.symbol,
                    value=canonical.snapshot_value(event, self._clock),
                    done=None if due.again else self._snapshot_done,
                )
            )

    def _snapshot_done(self) -> None:
        self.journal.counts["snapshots"] += 1

    def _publish_intent(self, correlation_id: str, msg_id: str, value: bytes) -> None:
        done = partial(self.journal.intent_acked, msg_id)
        self._topics.publish(
            CloudEvent(
                type=INTENTS,
                id=msg_id,
                source=SOURCE,
                time=time.time_ns(),
                key=correlation_id,
                value=value,
                done=done,
            )
        )

    def _delivered_all(self) -> bool:
        # a mirror may have no listener: what it holds is delivered by the feed that it mirrors
        trading = (self._by_name[venue.name] for venue in self._config.trading)
        return not self._topics.outstanding and not any(venue.outstanding for venue in trading)

    async def _deliver_rest(self) -> None:
        # leaving is bounded; a drained run waits for its peers as long as it takes
        left_at: float | None = None
        while not self._delivered_all():
            if self._leaving.is_set():
                left_at = left_at or time.monotonic()
                if time.monotonic() - left_at > self._config.grace_seconds:
                    return
            await asyncio.sleep(LONGEST_SLEEP)
        self.state = "drained"
