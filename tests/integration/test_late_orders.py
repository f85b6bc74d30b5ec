"""A late order from end to end: found, asked for on the wire, answered, its hedge trued up; once, in any crash."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr, TypeAdapter

from ledger.domain.times import format_utc
from simulator import canonical
from simulator.clock import Clock, rfc3339
from simulator.config import VenueConfig
from simulator.fill_list import FillList
from simulator.fix_acceptor import FixVenue
from simulator.journal import Journal
from simulator.orders import Identifiers, Intent, Order, order_status
from simulator.records import ReportRow
from simulator.rest_venue import RestVenue
from simulator.venue import Delivery
from simulator.venues import ENCODERS
from simulator.websocket_venue import WebSocketVenue
from streaming.arrivals import Arrival, ArrivalKind
from streaming.process import Process
from streaming.settings import (
    DelaySettings,
    FeedSettings,
    HttpSettings,
    KafkaSettings,
    LookBackSettings,
    Settings,
    VenueSettings,
)
from streaming.topics import FILL_DELAYS, HEDGES, STATUS_REQUESTS
from tests.integration.arrivals import VENUE, intent, snapshot_value
from tests.integration.database import connected, until
from tests.integration.test_stream_command import command as command  # noqa: PLC0414  a fixture
from tests.integration.topics import read_topic
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from operations.embedded import Endpoints
    from simulator.orders import Report
    from tests.integration.test_stream_command import Command

QTY = Decimal(10)
SECRET = "whsec_cHJhY3RpY2U="
DELAY = DelaySettings(enabled=True, market_seconds=Decimal("0.5"), hedge_limits={"USDT": Decimal(500)})


class Desk:
    """A venue with one order. It fills when it is told to, and answers who asks as it then stands."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.journal = Journal(folder, "T")
        self.port = free_port()
        calls = {"url": f"http://127.0.0.1:{self.port}", "secret": SECRET, "look_back_port": 0}
        config = VenueConfig(VENUE, kind, account="ACC", **calls)  # type: ignore[arg-type]
        self.venue: FixVenue | WebSocketVenue | RestVenue
        if kind == "rest":
            self.venue = RestVenue(config, self.journal, 1)
        else:
            self.venue = (FixVenue if kind == "fix" else WebSocketVenue)(config, self.journal)
            self.venue.answer_status(self._answer)
        self.fills = FillList(config, self.journal)
        self.fills.answer_status(self._give)
        self.asked: list[tuple[str, str]] = []
        self.before_answer: Callable[[], None] = lambda: None
        self._clock = Clock(0)
        self._ids = Identifiers("T", self.journal.run)
        self._last: Intent | Report | None = None
        self._order: Order | None = None

    def route(self) -> None:
        one = Decimal(100)
        known = Intent(
            time.time_ns(), "C1", "M1", "new", None, VENUE, "ACC", "BTCUSDT", "buy", QTY, one, one, "USDT", "V1"
        )
        self._order, self._last = Order(known, self._ids), known

    def fill(self, qty: int, *, is_sent: bool = True) -> None:
        assert self._order is not None
        self._last, _ = self._order.fill(time.time_ns(), Decimal(qty), Decimal(100), "taker", more=False)
        if is_sent:
            self.send(self._last)

    def send(self, report: Report) -> None:
        encode, _ = ENCODERS[self.kind]
        wall = rfc3339(report.at)
        names = (
            report.exec_id,
            "C1",
            "M1",
            "buy",
            "BTCUSDT",
            str(report.last_qty),
            str(report.last_px),
            wall,
            wall,
        )
        row = ReportRow(0, VENUE, 1, report.kind, *names, "", encode(report, self._clock))
        self.venue.take([Delivery(self.journal.add_report(row))])
        self.journal.commit()
        self.venue.release()

    @property
    def address(self) -> str:
        assert not isinstance(self.venue, RestVenue), "it calls"
        return self.venue.address

    @property
    def settings(self) -> dict[str, Any]:
        if self.kind == "websocket":
            return {"kind": "websocket", "url": self.address}
        if self.kind == "rest":
            return {"kind": "rest", "secrets": [SECRET]}
        host, _, port = self.address.partition(":")
        comp_ids = {"sender_comp_id": "EXECUTIONAGENT", "target_comp_id": VENUE}
        return {"kind": "fix", "host": host, "port": int(port), **comp_ids}

    def _state(self, cl_ord_id: str, request_id: str) -> Report | None:
        self.asked.append((cl_ord_id, request_id))
        self.before_answer()
        if self._last is None or cl_ord_id != "M1":
            return None
        return order_status(self._last, time.time_ns(), self._ids.next("S"), request_id)

    def _answer(self, _venue: str, cl_ord_id: str, request_id: str) -> bool:
        state = self._state(cl_ord_id, request_id)
        if state is not None:
            self.send(state)
        return state is not None

    def _give(self, _venue: str, cl_ord_id: str, request_id: str) -> bytes | None:
        state = self._state(cl_ord_id, request_id)
        return None if state is None else canonical.rest_report(state, self._clock)


@pytest.fixture(params=["fix", "websocket"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(request.param, tmp_path / "venue")
    await desk.venue.start()
    await desk.fills.start()
    yield desk
    await desk.venue.stop()
    await desk.fills.stop()
    desk.journal.close()


@pytest.fixture
def settings(
    desk: Desk, tmp_path: Path, endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str
) -> Settings:
    store = {"store": tmp_path / "store"} if desk.kind == "fix" else {}
    feed: Any = TypeAdapter(FeedSettings).validate_python(desk.settings | store)
    format_name = "fix" if desk.kind == "fix" else "canonical"
    url = f"http://127.0.0.1:{desk.fills.port}"
    look_back = LookBackSettings(url=url, requests_per_second=Decimal(50)) if desk.kind == "rest" else None
    return Settings(
        postgres_url=SecretStr(ledger_url),
        redis_url=SecretStr(redis_url),
        kafka=KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix),
        http=HttpSettings(port=desk.port),
        venues={VENUE: VenueSettings(format=format_name, feed=feed, delay=DELAY, look_back=look_back)},
    )


@asynccontextmanager
async def running(settings: Settings, desk: Desk) -> AsyncIterator[Process]:
    process, stop = Process(settings), asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    try:
        is_called = desk.kind == "rest"
        await until(lambda: (is_called or desk.venue.connected) and process.publisher.state == "live", 60)
        yield process
    finally:
        stop.set()
        await task


async def route(process: Process, desk: Desk) -> None:
    now = time.time_ns()
    market = Arrival("market-data", None, ArrivalKind.SNAPSHOT, snapshot_value(f"S{now}", now), now)
    values = {"order_qty": str(QTY), "currency": "USDT", "routed_at": format_utc(now)}
    desk.route()
    await process.inbox.put([market, intent(**values)])


async def rows(url: str, table: str, wanted: str) -> list[dict[str, Any]]:
    async with connected(url) as connection, asyncio.timeout(20):
        while True:
            found = [dict(row) for row in await connection.fetch(f"SELECT * FROM execution.{table}")]  # noqa: S608
            if found and all(row[wanted] is not None for row in found):
                return found
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("desk", ["fix", "websocket", "rest"], indirect=True)
@pytest.mark.parametrize(
    ("filled", "is_sent", "outcome", "status", "difference"),
    [
        (0, False, "working", "withdrawn", -10),
        (10, True, "filled", "confirmed", 0),
        (4, True, "partially_filled", "adjusted", -6),
        (10, False, "filled", "confirmed", 0),
    ],
    ids=["nothing filled", "the fill comes with the answer", "a part of it", "the answer knows of a lost fill"],
)
async def test_the_venue_is_asked_and_its_answer_or_the_fill_trues_the_hedge_up(
    desk: Desk, settings: Settings, filled: int, is_sent: bool, outcome: str, status: str, difference: int
) -> None:
    url = settings.postgres_url.get_secret_value()
    if filled:
        desk.before_answer = lambda: desk.fill(filled, is_sent=is_sent) if len(desk.asked) == 1 else None
    async with running(settings, desk) as process:
        await route(process, desk)
        await until(lambda: bool(desk.asked), 20)
        if filled and not is_sent:  # the answer counts more than we do: that ends nothing, the fill itself does
            await asyncio.sleep(0.5)
            async with connected(url) as connection:
                assert await connection.fetchval(
                    "SELECT count(*) FROM execution.fill_delays WHERE ended_ns IS NULL"
                )
            desk.send(desk._last)  # type: ignore[arg-type]
        first = (await rows(url, "provisional_hedges", "settled_ns"))[0]
        delay = min(await rows(url, "fill_delays", "began_ns"), key=lambda row: row["episode"])
        told = {
            topic: [
                json.loads(message.value) for message in await asyncio.to_thread(read_topic, settings.kafka, topic)
            ]
            for topic in (FILL_DELAYS, STATUS_REQUESTS, HEDGES)
        }
    assert desk.asked[0] == ("M1", delay["delay_id"].hex)
    assert (delay["outcome"], first["status"], first["difference"]) == (outcome, status, difference)
    assert first["basis"]
    assert [body["event"] for body in told[HEDGES]][:2] == ["hedge_requested", f"hedge_{status}"]
    (request, *_) = told[STATUS_REQUESTS]
    assert (request["subject"], request["detail"]["cl_ord_id"]) == (delay["delay_id"].hex, "M1")
    assert "fill_delay_began" in [body["event"] for body in told[FILL_DELAYS]]


@pytest.mark.parametrize("desk", ["fix", "websocket", "rest"], indirect=True)
async def test_a_venue_that_must_not_be_asked_is_not(desk: Desk, settings: Settings) -> None:
    venue = settings.venues[VENUE]
    quiet = venue.model_copy(update={"delay": DELAY.model_copy(update={"status_request": False})})
    settings = settings.model_copy(update={"venues": {VENUE: quiet}})
    async with running(settings, desk) as process:
        await route(process, desk)
        await rows(settings.postgres_url.get_secret_value(), "fill_delays", "began_ns")
        await asyncio.sleep(0.5)
    assert desk.asked == []


@pytest.mark.parametrize("point", ["delays.landed", "ask"])
async def test_a_process_that_is_killed_around_a_delay_asks_again_and_hedges_once(
    desk: Desk, settings: Settings, command: Command, point: str
) -> None:
    if point == "ask":
        point = f"{desk.kind}.ask"
    url = settings.postgres_url.get_secret_value()
    command.environment["EXECUTION_AGENT_VENUES"] = json.dumps(
        {VENUE: json.loads(settings.venues[VENUE].model_dump_json())}
    )
    async with running(settings, desk) as process:
        await route(process, desk)  # landed by a process that does not find it late in time
        await until(lambda: process.lander.is_idle)
    armed = {"EXECUTION_AGENT_FAULTS": "1", "EXECUTION_AGENT_FAULT": f"{point}:1"}
    async with command.running(**armed) as dying, asyncio.timeout(60):
        assert await dying.wait() == -9
    async with command.running():
        await until(lambda: bool(desk.asked), 60)
        desk.fill(10)
        (hedge,) = await rows(url, "provisional_hedges", "settled_ns")
        hedges = await rows(url, "provisional_hedges", "settled_ns")
        delays = await rows(url, "fill_delays", "ended_ns")
    assert len({row["delay_id"] for row in hedges}) == len(hedges) == 1
    assert hedge["delay_id"] in {row["delay_id"] for row in delays}
