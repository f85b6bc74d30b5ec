"""An order whose fill does not come is noticed, hedged once and trued up: on real servers, through restarts."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import SecretStr, ValidationError

from ledger.db.delays import first_fills, open_delays, past_delays
from ledger.db.errors import LandingConflictError
from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.delays import DelayOutcome, DelayPolicy, Expected, Late, OrderType, PastDelay
from ledger.domain.times import format_utc
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.process import Process
from streaming.settings import (
    DelaySettings,
    HttpSettings,
    KafkaSettings,
    RestFeedSettings,
    Settings,
    VenueSettings,
)
from streaming.topics import AUDIT_EVENT, FILL_DELAYS, HEDGES, STATUS_REQUESTS
from tests.integration.arrivals import VENUE, fill_message, fills, intent, snapshot_value
from tests.integration.database import connected, terminate_sessions, until
from tests.integration.topics import read_topic
from tests.unit.domain.facts import SECOND, T0, report, snapshot
from tests.unit.domain.facts import intent as routed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from operations.embedded import Endpoints

QUICK = DelaySettings(
    enabled=True,
    market_seconds=Decimal("0.5"),
    limit_seconds=Decimal("0.5"),
    hedge_limits={"USDT": Decimal(500)},
)
POLICY = Policy(delays={VENUE: DelayPolicy(hedge_limits={"USDT": Decimal(500)})})


class Stage:
    """A process whose one venue says what the test says, and its ledger looked at from beside it."""

    def __init__(self, settings: Settings, watching: asyncpg.Connection[Any]) -> None:
        self.settings = settings
        self.watching = watching

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process, stop = Process(self.settings), asyncio.Event()
        task = asyncio.create_task(process.run(stop))
        try:
            await until(lambda: process.lander.ready.is_set() and process.publisher.state == "live", 60)
            yield process
        finally:
            stop.set()
            await task

    async def route(self, process: Process, name: str = "C1", msg_id: str = "M1", **changes: Any) -> None:
        now = time.time_ns()
        market = Arrival("market-data", None, ArrivalKind.SNAPSHOT, snapshot_value(f"S{now}", now), now)
        values = {"order_qty": "10", "currency": "USDT", "routed_at": format_utc(now), **changes}
        await process.inbox.put([market, intent(name, msg_id, **values)])
        await until(lambda: process.lander.is_idle)  # nothing sends it again when a session ends

    async def fill(self, process: Process, exec_id: str, qty: str, msg_id: str = "M1") -> None:
        now = format_utc(time.time_ns())
        await process.inbox.put([fills(fill_message(exec_id, msg_id, last_qty=qty, transact_time=now))])

    async def delays(self, number: int = 1, *, over: int = 0, seconds: float = 10.0) -> list[dict[str, Any]]:
        query = "SELECT * FROM execution.fill_delays ORDER BY correlation_id, episode"
        async with asyncio.timeout(seconds):
            while True:
                found = [dict(row) for row in await self.watching.fetch(query)]
                if len(found) >= number and sum(row["ended_ns"] is not None for row in found) >= over:
                    return found
                await asyncio.sleep(0.02)

    async def hedges(self) -> list[dict[str, Any]]:
        return [
            dict(r)
            for r in await self.watching.fetch("SELECT * FROM execution.provisional_hedges ORDER BY requested_ns")
        ]

    async def told(self, topic: str, number: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while True:
                found = await asyncio.to_thread(read_topic, self.settings.kafka, topic)
                if len(found) >= number:
                    assert all(m.key == json.loads(m.value)["correlation_id"] for m in found)
                    return [json.loads(m.value) for m in found]


@pytest.fixture
async def stage(
    endpoints: Endpoints, ledger_url: str, urls: dict[str, str], redis_url: str, topic_prefix: str
) -> AsyncIterator[Stage]:
    rest = RestFeedSettings(secrets=[SecretStr("whsec_" + "MDEyMzQ1Njc4OWFiY2RlZg==")])
    settings = Settings(
        postgres_url=SecretStr(urls["writer"]),
        publisher_postgres_url=SecretStr(urls["publisher"]),
        redis_url=SecretStr(redis_url),
        kafka=KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix),
        http=HttpSettings(port=0),
        venues={VENUE: VenueSettings(format="canonical", feed=rest, delay=QUICK)},
    )
    async with connected(ledger_url) as watching:
        yield Stage(settings, watching)


# --- the process -------------------------------------------------------------------------------------------


async def test_a_late_order_is_told_to_all_three_and_its_hedge_is_adjusted(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.route(process)
        await stage.route(process, "C2", "M2", limit_price="100")  # rests between bid 99 and ask 101
        await stage.route(process, "C3", "M3")
        await stage.fill(process, "E3", "10", "M3")
        (row,) = await stage.delays(seconds=3.0)
        (hedge,) = await stage.hedges()
        assert (hedge["side"], hedge["quantity"], hedge["price"], hedge["status"]) == (
            "sell",
            10,
            101,
            "requested",
        )
        assert (hedge["exposure"], hedge["currency"]) == (1000, "USDT")
        is_fresh = hedge["snapshot_age_ns"] <= SECOND // 2
        assert hedge["confidence"] == ("medium" if is_fresh else "low"), "what is expected is configured"
        await asyncio.sleep(1.2)
        assert len(await stage.delays()) == 1, "once a delay, and the others are not late"
        await stage.fill(process, "E1", "4")
        row, *_ = await stage.delays(over=1)  # the rest may be late in its turn, as another delay
        hedge, *_ = await stage.hedges()
        assert (hedge["status"], hedge["filled_qty"], hedge["difference"]) == ("adjusted", 4, -6)
        ids = {row["delay_id"].hex, hedge["hedge_id"].hex}
        notices = [body for body in await stage.told(FILL_DELAYS, 2) if body["subject"] in ids]
        (status,) = [body for body in await stage.told(STATUS_REQUESTS, 1) if body["subject"] in ids]
        requests = [body for body in await stage.told(HEDGES, 2) if body["subject"] in ids]
        audit = await stage.told(AUDIT_EVENT, 5)
    assert (row["correlation_id"], row["outcome"], row["feed"], row["samples"]) == (
        "C1",
        "partially_filled",
        "live",
        0,
    )
    assert [body["event"] for body in notices] == ["fill_delay_began", "fill_delay_ended"]
    assert {body["subject"] for body in [*notices, status]} == {row["delay_id"].hex}
    assert [body["event"] for body in requests] == ["hedge_requested", "hedge_adjusted"]
    assert all(body in audit for body in [*notices, status, *requests])


async def test_a_time_that_lies_ahead_of_ours_holds_up_no_other_order(stage: Stage) -> None:
    ahead = format_utc(time.time_ns() + 8 * 3600 * SECOND)
    async with stage.running() as process:
        await stage.route(process, routed_at=ahead)
        await stage.route(process, "C2", "M2")
        (row, *_) = await stage.delays(seconds=5.0)
    assert row["correlation_id"] == "C2"


async def test_after_a_restart_the_hedge_is_still_the_only_one_and_is_trued_up(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.route(process)
        await stage.delays()
    async with stage.running() as process:
        await asyncio.sleep(1.5)
        assert len(await stage.delays()) == 1
        await stage.fill(process, "E1", "10")
        (row,) = await stage.delays(over=1)
    (hedge,) = await stage.hedges()
    assert (row["outcome"], hedge["status"], hedge["difference"]) == ("filled", "confirmed", 0)


async def test_an_order_that_was_in_flight_before_the_start_is_watched_from_then_on(stage: Stage) -> None:
    now = time.time_ns()
    opened = msgspec.structs.replace(routed(at=now - 60 * SECOND), currency="USDT")
    market = snapshot("S1", "99", "101", now - SECOND)
    await Landing(stage.watching).land(decide(Book(), [opened, market], Policy()))
    async with stage.running():
        (row,) = await stage.delays()
    assert row["since_ns"] > now, "nobody listened before"
    assert len(await stage.hedges()) == 1


async def test_a_delay_that_ends_while_a_backlog_is_cleared_is_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.running() as process:
        await stage.route(process)
        await stage.delays()
    monkeypatch.setattr(Inbox, "is_behind", lambda _: True)  # nobody watches before the backlog is cleared
    async with stage.running() as process:
        await stage.fill(process, "E1", "10")
        await stage.delays(over=1)
        value = process.metrics.registry.get_sample_value
        await until(lambda: value("execution_delays_ended_total", {"outcome": "filled"}) == 1)


async def test_sessions_that_end_around_a_delay_leave_one_hedge(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.route(process)
        for _ in range(4):
            await asyncio.sleep(0.4)
            await terminate_sessions(stage.watching)
        await stage.delays(seconds=20.0)
        await asyncio.sleep(1.5)
        await stage.fill(process, "E1", "10")
        rows = await stage.delays(over=1, seconds=20.0)
        requests = await stage.told(HEDGES, 2)
    assert [(row["episode"], row["outcome"]) for row in rows] == [(1, "filled")]
    assert [hedge["status"] for hedge in await stage.hedges()] == ["confirmed"]
    assert len({body["event_id"] for body in requests}) == len(requests) == 2


# --- landing and reading -----------------------------------------------------------------------------------


def late(seconds: int) -> Late:
    return Late("C1", VENUE, "BTCUSDT", T0 + seconds * SECOND, Expected(5 * SECOND, 800), 0, "live")


async def test_what_was_decided_on_an_old_book_is_decided_again(ledger_url: str) -> None:
    """Another session has found the order late meanwhile: the database refuses a second delay, and says so."""
    order = msgspec.structs.replace(routed(), currency="USDT")
    market: list[Fact] = [snapshot("S1", "99", "101"), snapshot("S2", "99", "101", T0 + 9 * SECOND)]
    async with connected(ledger_url) as connection:
        landing, reader = Landing(connection), Reader(connection)
        before = Book()
        first = decide(before, [*market, order], POLICY)
        await landing.land(first)
        before.apply(first)
        await landing.land(decide(before, [late(6)], POLICY))
        with pytest.raises(LandingConflictError):
            await landing.land(decide(before, [late(7)], POLICY))
        book = await reader.open_book(T0 + 10 * SECOND)
        assert book.delays.open["C1"].hedge_quantity == Decimal(10)
        again, _ = await reader.complete(book, [late(7)])
        assert decide(book, again, POLICY).delays is None
        fill, _ = await reader.complete(book, [report(qty="4", at=T0 + 8 * SECOND)])
        await landing.land(decide(book, fill, POLICY))
        assert await open_delays(connection) == {}
        over = PastDelay(1, T0 + 8 * SECOND, DelayOutcome.PARTIALLY_FILLED)
        assert await past_delays(connection, ["C1", "C2"]) == {"C1": over, "C2": None}
        fresh = await reader.open_book(T0 + 10 * SECOND)
        for asked, episodes in ((late(12), 1), (late(14), 2)):
            facts, _ = await reader.complete(fresh, [asked])
            decision = decide(fresh, facts, POLICY)
            await landing.land(decision)
            fresh.apply(decision)
            assert await connection.fetchval("SELECT count(*) FROM execution.fill_delays") == episodes


async def test_what_is_expected_is_learned_from_the_first_fills_of_marketable_orders(ledger_url: str) -> None:
    facts: list[Fact] = [snapshot("S1", "99", "101")]
    for n, limit in enumerate([None, "102", "90", None]):
        at = T0 + n * SECOND
        facts.append(routed(f"C{n}", f"M{n}", limit=limit, at=at))
        for k in (1, 2):
            when = at + k * (n + 1) * SECOND
            facts += [report(f"E{n}{k}", cl_ord_id=f"M{n}", px="90", at=when)]
    async with connected(ledger_url) as connection:
        await Landing(connection).land(decide(Book(), facts, Policy()))
        found = await first_fills(connection, T0 - 1, 100)
        newest = await first_fills(connection, T0 - 1, 1)
        assert await first_fills(connection, T0 + 9 * SECOND, 100) == []
    market, limit_ = OrderType.MARKET, OrderType.LIMIT
    assert found == [(VENUE, market, SECOND), (VENUE, limit_, 2 * SECOND), (VENUE, market, 4 * SECOND)]
    assert newest == [(VENUE, market, 4 * SECOND)]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"floor_seconds": "31"}, "floor_seconds 31 is above ceiling_seconds 30"),
        ({"hedge_limits": {"USDT": "-1"}}, "hedge_limits USDT is -1"),
        ({"samples": 1001}, "samples"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        DelaySettings.model_validate(changes)
