"""One run: a seed draws what venues do, when they do it, and everything that goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from contextlib import ExitStack, contextmanager
from contextvars import Context
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import structlog

import streaming.feeds.fix
import streaming.feeds.kafka
import streaming.feeds.websocket
import streaming.producing
import streaming.topics
from ledger import clocks
from ledger.db import leases
from ledger.domain.times import format_utc
from simulation.books import Books, Violation
from simulation.broker import BrokerTroubles, MemoryAdmin, MemoryBroker, MemoryConsumer, MemoryProducer
from simulation.journal import Journal, Made, Order
from simulation.loop import FATE, Fate, StuckError, VirtualLoop, outside
from simulation.postgres import Postgres, Troubles
from simulation.process import FIX, REST, WEBSOCKET, BrokerSettings, Parts, Process
from simulation.venues import Engine, FixVenue, Network, RestVenue, WebSocketVenue
from streaming.topics import MARKET_DATA, ORDER_INTENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

_HOUR = 3600.0
_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_REST_SECONDS = 600.0  # whatever happened, all is at rest after this long without trouble
_encode = msgspec.json.Encoder().encode


class Scale(msgspec.Struct, frozen=True):
    """How much one run holds: bursts of activity, orders in each, hours between them at most."""

    bursts: int = 2
    orders: int = 6
    seconds: float = 8.0
    hours: float = 30.0


SCALES = {
    "small": Scale(bursts=2, orders=3, seconds=3.0),  # the tests' thousand
    "middle": Scale(),
    "long": Scale(bursts=4),  # of ``make simulate``
}


class Outcome(msgspec.Struct, frozen=True):
    """What a run came to; ``violation`` is None where every invariant held."""

    seed: int
    violation: str | None
    trace_digest: str
    executions_digest: str
    hours: float
    steps: int
    commits: int
    checks: int
    reports: int
    duplicates: int
    events: int
    kills: int
    faults: dict[str, int]
    trace: list[str]


class World:
    """Everything of one run."""

    def __init__(self, seed: int, scale: Scale, parts: Parts, *, keep_trace: bool) -> None:
        self.seed = seed
        self._scale = scale
        self._parts = parts
        self._keep = keep_trace
        self._digest = hashlib.sha256()
        self._trace: list[str] = []
        self._violation: str | None = None
        self._rng = random.Random(f"{seed}/world")
        self.loop = VirtualLoop()  # type: ignore[abstract]  # what is not there is not used
        self.broker_settings = BrokerSettings()
        self._server = Postgres(self.loop, random.Random(f"{seed}/server"))
        self._broker = MemoryBroker(self.loop, random.Random(f"{seed}/broker"), self.broker_settings.partitions)
        network, rng = Network(), random.Random(f"{seed}/network")
        self._network = network
        self._websocket = WebSocketVenue(self.loop, rng, network)
        self._fix = FixVenue(self.loop, rng, network)
        self._rest = RestVenue(self.loop, rng, network)
        self._venues: dict[str, WebSocketVenue | FixVenue | RestVenue] = {
            WEBSOCKET: self._websocket,
            FIX: self._fix,
            REST: self._rest,
        }
        self._journal = Journal()
        self._books = Books(self._journal, self._server, self._websocket, self._fix, self._rest, self._fail)
        self._server.on_commit += [self._note_commit, self._books.committed]
        self._broker.on_commit += [self._note_published, self._books.told]
        self._server.note = self._broker.note = self._note
        self._rest.post = self._post
        self._rest.on_acknowledged = self._acknowledged
        self._processes: list[Process] = []
        self._wanted = 1
        self._started = 0
        self._numbers = 0
        self._kills = 0
        self._faults: dict[str, int] = {}
        self._may_restart = True

    def run(self) -> Outcome:
        """Run to the end, or to the first violation."""
        digest = ""
        with _outer_world(self):
            try:
                self.loop.run(self._live())
                digest = self._books.check_end()
            except Violation as found:
                self._violation = str(found)
            except StuckError as found:
                self._violation = f"the run does not come to rest: {found}"
        self._note(f"end: {self._violation or 'every invariant held'}, executions {digest[:16]}")
        counts = self._server.tables["feed_counts"]
        return Outcome(
            self.seed, self._violation, self._digest.hexdigest(), digest, self.loop.time() / _HOUR,
            self.loop.steps, self._server.commits, self._books.checks, len(self._journal.reports),
            sum(row["duplicates"] for row in counts), len(self._books.events), self._kills, self._faults,
            self._trace,
        )  # fmt: skip

    async def _live(self) -> None:
        self._draw_troubles()
        self._wanted = self._rng.choice((1, 1, 2))
        for _ in range(self._wanted):
            self._spawn()
        for number in range(self._scale.bursts):
            if number:
                await self._pass_time()
            self._plan_burst()
            await asyncio.sleep(self._scale.seconds)
        await self._come_to_rest()

    def _draw_troubles(self) -> None:
        """Draw how bad this run is: some are calm, few are bad in every way."""
        rng = self._rng

        def some(limit: float) -> float:
            return rng.random() * limit if rng.random() < 0.5 else 0.0

        self._network.lost, self._network.twice = some(0.2), some(0.3)
        self._network.late, self._network.cut = some(0.3), some(0.03)
        self._server.troubles = Troubles(some(0.05), some(0.004), some(0.02), rng.random())
        self._broker.troubles = BrokerTroubles(some(0.05), some(0.05), some(0.02), some(0.02))

    def _plan_burst(self) -> None:
        seconds = self._scale.seconds
        for _ in range(self._scale.orders):
            self._later(self._rng.random() * seconds * 0.7, self._trade)
        for at in range(0, int(seconds), 2):
            for symbol in _SYMBOLS:
                self._later(at + self._rng.random(), self._quote, symbol)
        for _ in range(self._rng.choice((0, 1, 1, 2, 3))):
            self._later(self._rng.random() * seconds, self._strike)

    def _later(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        self.loop.call_later(seconds, action, *arguments, context=outside())

    def _trade(self) -> None:
        """Route an order and let its venue fill it; now and then more than that happens to it."""
        rng = self._rng
        self._numbers += 1
        number = self._numbers
        venue = rng.choice((WEBSOCKET, FIX, REST))
        quantity = Decimal(rng.randint(2, 9))
        limit = Decimal(101) if rng.random() < 0.3 else None
        side = rng.choice(("buy", "sell"))
        order = Order(f"C{number}", f"M{number}", venue, rng.choice(_SYMBOLS), side, quantity, limit)
        self._journal.orders[order.correlation_id] = order
        value = {
            "correlation_id": order.correlation_id, "msg_id": order.msg_id, "action": "new", "venue": venue,
            "account": "ACC", "symbol": order.symbol, "side": side, "order_qty": str(quantity),
            "limit_price": None if limit is None else str(limit), "routed_at": format_utc(self.loop.time_ns()),
        }  # fmt: skip
        self._journal.messages.add((venue, order.msg_id))
        delay = rng.choice((0.0, 0.0, 0.05, 1.0, 5.0, 40.0))
        self._later(delay, self._publish_intent, order, order.msg_id, value)
        left = quantity if rng.random() < 0.8 else quantity + 1  # more than was ordered: a break
        at = 0.01
        while left > 0 and rng.random() < 0.95:
            part = min(left, Decimal(rng.randint(1, 4)))
            left -= part
            at += rng.random() * 0.8
            self._later(at, self._fill, order, part)
        if left < 0 or quantity < order.order_qty:
            return
        if rng.random() < 0.5:  # room for what is too much
            replace = {**value, "msg_id": f"R{number}", "action": "replace", "orig_msg_id": order.msg_id,
                       "order_qty": str(quantity + 5)}  # fmt: skip
            self._journal.messages.add((venue, f"R{number}"))
            self._later(at + 1.0 + rng.random() * 3, self._publish_intent, order, f"R{number}", replace)

    def _publish_intent(self, order: Order, msg_id: str, value: dict[str, Any]) -> None:
        entry = self._broker.publish(ORDER_INTENT, order.correlation_id, _encode(value))
        self._books.note_inbound(entry, (order.venue, msg_id))
        if self._rng.random() < self._network.twice:
            entry = self._broker.publish(ORDER_INTENT, order.correlation_id, _encode(value))
            self._books.note_inbound(entry, (order.venue, msg_id))

    def _quote(self, symbol: str) -> None:
        self._numbers += 1
        name = f"S{self._numbers}"
        bid = 98 + self._rng.randint(0, 3)
        value = {"snapshot_id": name, "symbol": symbol, "bid": str(bid), "ask": str(bid + 1),
                 "at": format_utc(self.loop.time_ns())}  # fmt: skip
        if self._numbers % 4:  # not every sender counts; no draw, so that a seed stays the run it was
            traded = self._numbers % 3
            value |= {"traded_qty": str(traded), "traded_notional": str(traded * bid)}
        self._journal.snapshots.add(name)
        self._later(self._rng.choice((0.0, 0.0, 0.0, 0.5, 3.0)), self._publish_quote, symbol, name, value)

    def _publish_quote(self, symbol: str, name: str, value: dict[str, Any]) -> None:
        entry = self._broker.publish(MARKET_DATA, symbol, _encode(value))
        self._books.note_inbound(entry, name)

    def _fill(self, order: Order, quantity: Decimal) -> None:
        rng = self._rng
        price = Decimal(rng.randint(98, 102))
        made = self._journal.fill(order, quantity, price, self.loop.time_ns())
        self._send(order.venue, [made])
        if rng.random() < 0.12:
            self._later(rng.choice((0.0, 0.5, 4.0)), self._bust, order, made)
        elif rng.random() < 0.1:
            self._later(rng.choice((0.0, 0.5, 4.0)), self._correct, order, made)
        if rng.random() < self._network.twice:  # again at once, past a minute, an hour, two days
            self._later(rng.choice((0.1, 61.0, 3700.0, 180_000.0)), self._send, order.venue, [made])

    def _bust(self, order: Order, made: Made) -> None:
        self._send(order.venue, [self._journal.bust(order, made, self.loop.time_ns())])

    def _correct(self, order: Order, made: Made) -> None:
        quantity = made.last_qty + self._rng.choice((0, 1))
        self._send(order.venue, [self._journal.correct(order, made, quantity, self.loop.time_ns())])

    def _send(self, venue: str, reports: Sequence[Made]) -> None:
        self._venues[venue].send(reports)

    def _strike(self) -> None:
        """Let something go wrong."""
        strikes: tuple[tuple[str, Callable[[], None]], ...] = (
            ("kill", self._kill), ("kill at an await", self._kill_soon), ("pause", self._pause),
            ("Postgres restarts", self._restart_server), ("session cut", self._cut_session),
            ("broker away", self._broker_away), ("venue away", self._venue_away), ("connections drop", self._drop),
            ("a second process", self._second), ("kill at an await", self._kill_soon),
        )  # fmt: skip
        name, strike = self._rng.choice(strikes)
        self._faults[name] = self._faults.get(name, 0) + 1
        self._note(f"fault: {name}")
        strike()

    def _running(self) -> list[Process]:
        return [process for process in self._processes if process.fate.alive]

    def _victim(self) -> Fate | None:
        running = self._running()
        return self._rng.choice(running).fate if running else None

    def _kill(self) -> None:
        victim = self._victim()
        if victim is not None:
            self.loop.kill(victim)

    def _kill_soon(self) -> None:
        victim = self._victim()
        if victim is not None:
            victim.steps_left = self._rng.randint(0, 60)

    def _pause(self) -> None:
        victim = self._victim()
        if victim is not None and not victim.paused:
            victim.paused = True
            self._later(self._rng.choice((0.2, 3.0, 12.0)), self.loop.resume, victim)
            if self._rng.random() < 0.7:  # its sessions end meanwhile, and it does not know
                for session in [s for s in self._server.sessions if s.fate is victim]:
                    self._server.cut(session, client_knows_after=self._rng.random() * 5)

    def _restart_server(self) -> None:
        self._server.stop()
        self._later(self._rng.choice((0.1, 1.0, 6.0)), self._server_up)

    def _server_up(self) -> None:
        self._server.up = True

    def _cut_session(self) -> None:
        if self._server.sessions:
            session = self._rng.choice(self._server.sessions)
            self._server.cut(session, client_knows_after=self._rng.choice((0.0, 1.0, 8.0)))

    def _broker_away(self) -> None:
        self._broker.up = False
        self._later(self._rng.choice((0.5, 4.0)), self._broker_up)

    def _broker_up(self) -> None:
        self._broker.up = True

    def _venue_away(self) -> None:
        venue = self._rng.choice((self._websocket, self._fix))
        venue.up = False
        venue.drop_all()
        self._later(self._rng.choice((0.5, 4.0)), self._venue_up, venue)

    @staticmethod
    def _venue_up(venue: WebSocketVenue | FixVenue) -> None:
        venue.up = True

    def _drop(self) -> None:
        self._rng.choice((self._websocket, self._fix)).drop_all()

    def _second(self) -> None:
        self._wanted = 2
        self._spawn()

    def _spawn(self) -> None:
        """Start a process; its supervisor starts another when it dies."""
        if not self._may_restart or len(self._running()) >= self._wanted:
            return
        self._started += 1
        fate = Fate(f"process {self._started}")
        fate.on_death.append(lambda: self._died(fate))
        context = Context()
        context.run(FATE.set, fate)
        context.run(self._boot, fate)

    def _boot(self, fate: Fate) -> None:
        process = Process(fate, self.loop, self._server, self._parts, self.broker_settings)
        process.on_failure = lambda why: self._fail(f"no part ends by itself: {fate}: {why}")
        self._processes.append(process)
        self._note(f"{fate} starts")
        process.start()

    def _died(self, fate: Fate) -> None:
        self._kills += 1
        self._note(f"{fate} is killed")
        self._later(self._rng.choice((0.3, 1.0, 5.0)), self._spawn)

    def _post(self, raw: bytes, answered: Callable[[int], None]) -> None:
        running = self._running()
        if not running:
            return
        process = next((p for p in running if p.lander.ready.is_set()), running[0])
        context = Context()
        context.run(FATE.set, process.fate)
        self.loop.call_later(0.001, process.post, raw, answered, context=context)

    def _acknowledged(self, reports: Sequence[Made]) -> None:
        self._note(f"acknowledged {[made.exec_id for made in reports]}")
        self._books.acknowledged(reports)

    async def _pass_time(self) -> None:
        """Let hours pass: at rest with all running, or with nothing running at all."""
        if self._rng.random() < 0.5:
            await self._wait_for_rest(60.0)
        hours = self._rng.choice((0.02, 0.5, 1.0)) * self._scale.hours
        if self._rng.random() < 0.5:
            self._note(f"nothing runs for {hours:.2f} h")
            self._may_restart = False
            for process in self._running():
                self.loop.kill(process.fate)
            self.loop.leap(hours * _HOUR)
            self._may_restart = True
            self._wanted = self._rng.choice((1, 1, 2))
            for _ in range(self._wanted):
                self._spawn()
        else:
            self._note(f"suspended for {hours:.2f} h")
            self.loop.leap(hours * _HOUR)

    async def _come_to_rest(self) -> None:
        """Stop all troubles; then everything must arrive."""
        self._note("troubles end")
        self._network.lost = self._network.cut = self._network.late = 0.0
        self._server.troubles, self._broker.troubles = Troubles(), BrokerTroubles()
        self._server.up = self._broker.up = self._websocket.up = self._fix.up = True
        for process in self._running():
            process.fate.steps_left = None
        left = await self._wait_for_rest(_REST_SECONDS)
        if left is not None:
            self._fail(f"at rest everything has landed and is told: {left}")
        await asyncio.sleep(2.0)

    async def _wait_for_rest(self, seconds: float) -> str | None:
        end = self.loop.time() + seconds
        while (left := self._books.unsettled()) is not None and self.loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return left

    def _note_commit(self, commit: Any) -> None:
        if commit.inserted or commit.moved:
            counts = {name: len(found) for name, found in sorted(commit.inserted.items())}
            places = {row["feed"]: row["position"] for row in commit.moved}
            self._note(f"{commit.writer} commits {commit.xid}: {counts} {places}")

    def _note_published(self, entries: Sequence[Any]) -> None:
        self._note(f"published {len(entries)}: {[f'{e.topic}/{e.partition}@{e.offset} {e.key}' for e in entries]}")

    def _note(self, text: str) -> None:
        line = f"{self.loop.time():14.6f}  {text}"
        self._digest.update(line.encode() + b"\n")
        if self._keep:
            self._trace.append(line)

    def _fail(self, text: str) -> None:
        if self._violation is None:
            self._violation = text
            self._note(f"VIOLATION: {text}")
            self.loop.fail(Violation(text))

    def _log(self, _: Any, method: str, event: MutableMapping[str, Any]) -> NoReturn:
        """Take the program's own log into the trace."""
        fate = FATE.get()
        words = " ".join(f"{key}={value}" for key, value in sorted(event.items()) if key != "event")
        self._note(f"{fate}: {method}: {event.get('event')} {words}")
        raise structlog.DropEvent


def simulate(
    seed: int, scale: Scale | None = None, parts: Parts | None = None, *, keep_trace: bool = False
) -> Outcome:
    """Run one seed."""
    with _collected_rarely():
        return World(seed, scale or Scale(), parts or Parts(), keep_trace=keep_trace).run()


@contextmanager
def _collected_rarely() -> Iterator[None]:
    """Look for cycles of dead objects seldom: a run makes few, and looking took an eighth of it."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _outer_world(world: World) -> Iterator[None]:
    """Put the simulated world where the program reaches for the real one: clocks, sockets, the engine, Kafka."""
    MemoryProducer.broker = MemoryConsumer.broker = MemoryAdmin.broker = world._broker  # noqa: SLF001
    Engine.venue = world._fix  # noqa: SLF001
    logging = structlog.get_config()
    with ExitStack() as stack:
        stack.enter_context(clocks.replaced(world.loop.time_ns, world.loop.time))
        for module, name, value in (
            (streaming.feeds.websocket, "connect", world._websocket.connect),  # noqa: SLF001
            (streaming.feeds.websocket, "random", random.Random(f"{world.seed}/jitter")),
            (streaming.feeds.fix, "EngineProcess", Engine),
            (leases, "this_process", lambda: str(FATE.get())),
            (streaming.producing, "Producer", MemoryProducer),
            (streaming.producing, "Consumer", MemoryConsumer),
            (streaming.topics, "AdminClient", MemoryAdmin),
            (streaming.feeds.kafka, "Consumer", MemoryConsumer),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        structlog.configure(processors=[world._log], wrapper_class=structlog.BoundLogger)  # noqa: SLF001
        stack.callback(lambda: structlog.configure(**logging))
        yield
