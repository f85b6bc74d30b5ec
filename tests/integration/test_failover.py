"""A venue with two feeds, the practice venue's: cut under load, killed in the middle, hot with both."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from operations.cli import app
from simulator.config import NO_FAULTS, Config, FaultRates, VenueConfig
from simulator.simulation import Simulation
from streaming.process import Process
from streaming.settings import (
    BackupSettings,
    FailoverSettings,
    FixFeedSettings,
    HttpSettings,
    KafkaSettings,
    LookBackSettings,
    Settings,
    VenueSettings,
    WebSocketFeedSettings,
)
from streaming.topics import AUDIT_EVENT
from tests.integration.cuttable import Proxy, proxy
from tests.integration.database import connected, terminate_sessions, until
from tests.integration.topics import read_topic
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from operations.embedded import Endpoints

ROOT = Path(__file__).parents[2]
PRIMARY, BACKUP = "ALPHA.fix", "ALPHA.backup.ws"
QUICK = FailoverSettings.model_validate(
    {"silence_seconds": "2", "quiet_seconds": "3", "gap_seconds": "5", "healthy_seconds": "2"}
)


class Stage:
    """The venue with its two feeds, the way to it, and the ledger looked at from beside it."""

    def __init__(
        self,
        simulation: Simulation,
        settings: Settings,
        ways: tuple[Proxy, Proxy],
        ledger: asyncpg.Connection[Any],
    ) -> None:
        self.simulation = simulation
        self.settings = settings
        self.way, self.backup_way = ways
        self.ledger = ledger
        self._told_before = self._switched_before = 0

    async def settled(self, process: Process) -> None:
        """Wait until the primary is counted on; how slowly an engine starts here is no matter of the test."""
        standing = "SELECT (SELECT count(*) FROM execution.feed_switches WHERE returned_ns IS NULL)"
        standing += " + (SELECT count(*) FROM execution.feed_outages WHERE ended_ns IS NULL)"
        async with asyncio.timeout(90):
            while process.metrics.feed_states.get(PRIMARY) != "live" or await self.ledger.fetchval(standing):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        self._told_before = len(await self.told())
        self._switched_before = await self.ledger.fetchval("SELECT count(*) FROM execution.feed_switches")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process, stop = Process(self.settings), asyncio.Event()
        task = asyncio.create_task(process.run(stop))
        try:
            yield process
        finally:
            stop.set()
            await task

    def made(self) -> set[tuple[str, str]]:
        """The reports that the venue has made: ExecID and kind."""
        self.simulation.journal.commit()
        found = self.simulation.journal._db.execute(
            "SELECT exec_id, kind FROM reports WHERE venue = 'ALPHA' AND kind IN ('fill', 'bust', 'correct')"
        )
        return set(found)

    async def landed(self) -> set[tuple[str, str]]:
        return {tuple(row) for row in await self.ledger.fetch("SELECT exec_id, kind FROM execution.fills")}

    async def landed_by(self, feed: str) -> int:
        return int(await self.ledger.fetchval("SELECT count(*) FROM execution.fills WHERE feed = $1", feed))

    async def until_landed(self, number: int, feed: str = PRIMARY) -> None:
        async with asyncio.timeout(60):
            while await self.landed_by(feed) < number:  # noqa: ASYNC110  Postgres has no event for it
                await asyncio.sleep(0.05)

    async def until_switch(self, number: int = 1) -> None:
        query = "SELECT count(*) FROM execution.feed_switches"
        async with asyncio.timeout(60):
            while await self.ledger.fetchval(query) < self._switched_before + number:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def until_return(self) -> None:
        query = "SELECT count(*) FROM execution.feed_switches WHERE returned_ns IS NULL"
        async with asyncio.timeout(60):
            while await self.ledger.fetchval(query):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def balanced(self) -> None:
        """Stop the orders, let everything land, and compare: nothing is missing, nothing is twice."""
        self.simulation.stop_orders()
        async with asyncio.timeout(60):
            while self.simulation._due or self.simulation.state == "running":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            while await self.landed() != self.made():  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            waiting = "SELECT count(*) FROM execution.fills_pending WHERE reason = 'awaiting_intent'"
            while await self.ledger.fetchval(waiting):  # noqa: ASYNC110  it may come behind its fill
                await asyncio.sleep(0.1)
        made = self.made()
        executions = await self.ledger.fetch(
            "SELECT venue, exec_id, count(*) FROM execution.executions GROUP BY 1, 2"
        )
        assert {row["count"] for row in executions} == {1}
        assert {row["exec_id"] for row in executions} == {exec_id for exec_id, kind in made if kind == "fill"}
        assert (
            await self.ledger.fetch("SELECT kind, ours, theirs FROM execution.breaks WHERE ended_at IS NULL") == []
        )
        assert await self.ledger.fetchval("SELECT count(*) FROM execution.fills_pending") == 0

    async def told(self) -> list[str]:
        found = await self.ledger.fetch(
            "SELECT event_type FROM execution.audit_events WHERE key = 'ALPHA' AND event_type LIKE 'feed_%' "
            "ORDER BY xid, position"
        )
        return [row["event_type"] for row in found][self._told_before :]


def practice(state: Path, kafka: KafkaSettings, **changes: Any) -> Config:
    known: dict[str, Any] = {
        "state_dir": str(state),
        "kafka_bootstrap": kafka.bootstrap,
        "topic_prefix": kafka.topic_prefix,
        "venues": (
            VenueConfig("ALPHA", "fix", target_comp_id="AGENT"),
            VenueConfig("ALPHA.backup", "websocket", mirror_of="ALPHA"),
        ),
        "orders_per_second": 10.0,
        "fill_gap_seconds": 0.1,
        "snapshots_per_second": 1.0,
        "faults": FaultRates(dropped=0, malformed=0, late=0, intent_late=0, lost=0, garbled=0),
    }
    return Config(**known | changes)


@asynccontextmanager
async def staged(
    endpoints: Endpoints,
    ledger_url: str,
    redis_url: str,
    topic_prefix: str,
    folder: Path,
    failover: FailoverSettings = QUICK,
    **changes: Any,
) -> AsyncIterator[Stage]:
    kafka = KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix)
    simulation = Simulation(practice(folder / "venue", kafka, **changes))
    task = asyncio.create_task(simulation.run())
    try:
        await until(lambda: not any(venue.address.endswith(":0") for venue in simulation.venues))
        async with (
            proxy(simulation.venues[0].address) as way,
            proxy(simulation.venues[1].address) as backup_way,
            connected(ledger_url) as ledger,
        ):
            settings = Settings(
                postgres_url=SecretStr(ledger_url),
                redis_url=SecretStr(redis_url),
                kafka=kafka,
                http=HttpSettings(port=0),
                venues={"ALPHA": venue_of(folder, way, backup_way, failover)},
            )
            yield Stage(simulation, settings, (way, backup_way), ledger)
    finally:
        simulation.leave()
        task.cancel()
        await asyncio.wait({task}, timeout=30)


def venue_of(folder: Path, way: Proxy, backup_way: Proxy, failover: FailoverSettings) -> VenueSettings:
    fix = FixFeedSettings(
        host="127.0.0.1",
        port=way.port,
        sender_comp_id="AGENT",
        target_comp_id="ALPHA",
        store=folder / "store",
        heartbeat_seconds=1,
    )
    socket = WebSocketFeedSettings(url=f"ws://127.0.0.1:{backup_way.port}/", silence_seconds=1.5)
    backup = BackupSettings(format="canonical", feed=socket)
    return VenueSettings(format="fix44", feed=fix, backup=backup, failover=failover)


@pytest.fixture
async def stage(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with staged(endpoints, ledger_url, redis_url, topic_prefix, tmp_path) as made:
        yield made


@asynccontextmanager
async def listed(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, folder: Path
) -> AsyncIterator[tuple[Stage, Proxy]]:
    """The venue with its list of fills, which is never audited, and the way to it."""
    alpha = VenueConfig("ALPHA", "fix", target_comp_id="AGENT", look_back_port=0, look_back_per_second=100)
    venues = (alpha, VenueConfig("ALPHA.backup", "websocket", mirror_of="ALPHA"))
    async with (
        staged(endpoints, ledger_url, redis_url, topic_prefix, folder, venues=venues) as stage,
        proxy(f"127.0.0.1:{stage.simulation.lists['ALPHA'].port}") as way,
    ):
        look_back = LookBackSettings.model_validate(
            {
                "url": f"http://127.0.0.1:{way.port}",
                "format": "canonical",
                "requests_per_second": 50,
                "audit_minutes": 0,
            }
        )
        venue = stage.settings.venues["ALPHA"].model_copy(update={"look_back": look_back})
        quiet = stage.settings.grace.model_copy(update={"gap_seconds": Decimal(1000)})
        stage.settings = stage.settings.model_copy(update={"venues": {"ALPHA": venue}, "grace": quiet})
        yield stage, way


async def until_recovered(stage: Stage) -> None:
    query = "SELECT missing, handed_in FROM execution.look_back_audits WHERE reason = 'recovery' AND missing > 0"
    async with asyncio.timeout(60):
        while not (found := await stage.ledger.fetch(query)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert found[-1]["missing"] == found[-1]["handed_in"] <= await stage.landed_by("ALPHA.look_back")


async def test_a_switch_asks_the_venues_list_for_what_neither_feed_brings(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with (
        listed(endpoints, ledger_url, redis_url, topic_prefix, tmp_path) as (stage, _),
        stage.running() as process,
    ):
        await stage.settled(process)
        await stage.until_landed(50)
        stage.backup_way.cut()
        stage.way.cut()
        await stage.until_switch()
        await until_recovered(stage)
        stage.way.restore()
        stage.backup_way.restore()
        await stage.balanced()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_list_that_could_not_be_had_at_the_switch_is_asked_again_and_by_the_next_process(
    endpoints: Endpoints,
    ledger_url: str,
    redis_url: str,
    topic_prefix: str,
    tmp_path: Path,
    *,
    is_restarted: bool,
) -> None:
    async with listed(endpoints, ledger_url, redis_url, topic_prefix, tmp_path) as (stage, list_way):
        async with stage.running() as process:
            await stage.settled(process)
            await stage.until_landed(50)
            for way in (list_way, stage.backup_way, stage.way):
                way.cut()
            await stage.until_switch()
            if not is_restarted:
                list_way.restore()
                await until_recovered(stage)
        if is_restarted:
            list_way.restore()
            async with stage.running():
                await until_recovered(stage)  # both feeds are still cut: nobody else brings it
            query = "SELECT count(*) FROM execution.look_back_audits WHERE reason = 'recovery'"
            recovered = await stage.ledger.fetchval(query)
            async with stage.running():
                await asyncio.sleep(2)
            assert await stage.ledger.fetchval(query) == recovered, "what was recovered is not asked for again"


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_numbers_that_started_over_are_asked_for_after_a_lost_lease_and_by_the_next_process(
    endpoints: Endpoints,
    ledger_url: str,
    redis_url: str,
    topic_prefix: str,
    tmp_path: Path,
    *,
    is_restarted: bool,
) -> None:
    told = "SELECT told_ns FROM execution.feed_outages WHERE cause = 'gap'"
    read = (
        "SELECT count(*) FROM execution.look_back_audits a, execution.feed_outages o "
        "WHERE a.until_ns >= o.told_ns AND a.reason = 'recovery' AND o.cause = 'gap'"
    )
    async with listed(endpoints, ledger_url, redis_url, topic_prefix, tmp_path) as (stage, list_way):
        list_way.cut()
        async with stage.running() as process:
            await stage.settled(process)
            await stage.until_landed(20)
            feeds = process.feeding._venues["ALPHA"]
            feeds.renumbered(feeds._primary, None, time.time_ns())
            async with asyncio.timeout(30):
                while await stage.ledger.fetchval(told) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            if not is_restarted:
                await terminate_sessions(stage.ledger)
                await until(lambda: process.feeding._venues["ALPHA"] is not feeds, 60)
                list_way.restore()
                await until_counted(stage, read)
        if is_restarted:
            list_way.restore()
            async with stage.running():
                await until_counted(stage, read)
        assert "feed_renumbered" in await stage.told()


async def until_counted(stage: Stage, query: str) -> None:
    async with asyncio.timeout(90):
        while not await stage.ledger.fetchval(query):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_the_primary_is_cut_under_load_and_comes_back(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.settled(process)
        await stage.until_landed(50)
        assert BACKUP not in process.metrics.feed_states, "a standby is not connected"
        stage.way.cut()
        await stage.until_switch()
        assert process.feeding.active == {"ALPHA": BACKUP}
        await stage.until_landed(50, BACKUP)
        stage.way.restore()
        await stage.until_return()
        await until(lambda: BACKUP not in process.metrics.feed_states)
        assert process.status()["failover"]["venues"]["ALPHA"] == {
            "active": PRIMARY,
            "counted_on": "primary",
            "out": [],
        }
        before = await stage.landed_by(PRIMARY)
        await stage.until_landed(before + 20)
        await stage.balanced()
        bodies = [json.loads(m.value) for m in read_topic(stage.settings.kafka, AUDIT_EVENT) if m.key == "ALPHA"]
    told = await stage.told()
    assert sorted(told) == ["feed_outage", "feed_recovered", "feed_returned", "feed_switched"]
    switched = [body for body in bodies if body["event"] == "feed_switched"][-1]
    assert (switched["detail"]["feed"], switched["detail"]["active_feed"]) == (PRIMARY, BACKUP)
    outage = (await stage.ledger.fetch("SELECT * FROM execution.feed_outages ORDER BY began_ns"))[-1]
    assert (outage["feed"], outage["cause"]) == (PRIMARY, "silence")
    assert outage["began_ns"] < outage["told_ns"] < outage["ended_ns"]


async def test_a_backup_that_is_started_again_goes_on_from_where_it_was(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.settled(process)
        await stage.until_landed(20)
        for turn in (1, 2):
            stage.way.cut()
            await stage.until_switch(turn)
            await stage.until_landed(30 * turn, BACKUP)
            stage.way.restore()
            await stage.until_return()
        await stage.balanced()
    assert sorted(await stage.told()) == sorted(
        2 * ["feed_outage", "feed_recovered", "feed_returned", "feed_switched"]
    )


async def test_both_live_the_first_report_wins_and_a_cut_moves_nothing(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    hot = QUICK.model_copy(update={"mode": "hot"})
    async with (
        staged(endpoints, ledger_url, redis_url, topic_prefix, tmp_path, hot) as stage,
        stage.running() as process,
    ):
        await until(lambda: process.metrics.feed_states.get(BACKUP) == "live", 60)
        await stage.settled(process)
        await stage.until_landed(20)
        stage.backup_way.cut()
        async with asyncio.timeout(30):
            while "feed_outage" not in await stage.told():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert "feed_switched" not in await stage.told(), "the primary is well"
        stage.backup_way.restore()
        async with asyncio.timeout(30):
            while "feed_recovered" not in await stage.told():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stage.way.cut()
        await stage.until_switch()
        stage.way.restore()
        await stage.until_return()
        assert process.metrics.feed_states[BACKUP] == "live"
        await stage.balanced()
        assert process.metrics.duplicates[PRIMARY] + process.metrics.duplicates[BACKUP] > 0


async def test_a_restarted_process_goes_on_with_the_backup(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.settled(process)
        await stage.until_landed(20)
        stage.way.cut()
        await stage.until_switch()
    await shown_by_the_command(stage)
    before = await stage.landed_by(BACKUP)
    async with stage.running() as process:
        await until(lambda: process.feeding.active == {"ALPHA": BACKUP}, 30)
        await stage.until_landed(before + 20, BACKUP)
        stage.way.restore()
        await stage.until_return()
        await stage.balanced()
    assert sorted(await stage.told()) == ["feed_outage", "feed_recovered", "feed_returned", "feed_switched"]


async def shown_by_the_command(stage: Stage) -> None:
    url = stage.settings.postgres_url.get_secret_value()
    asked = await asyncio.to_thread(CliRunner().invoke, app, ["venues", "--json", "--url", url])
    (row,) = json.loads(asked.stdout)
    assert (row["venue"], row["state"], row["active"]) == ("ALPHA", "backup", BACKUP)
    assert row["outages_today"] >= 1
    assert [feed["cause"] for feed in row["feeds"] if feed["feed"] == PRIMARY] == ["silence"]
    table = await asyncio.to_thread(CliRunner().invoke, app, ["venues", "--url", url])
    head, line = table.stdout.splitlines()
    assert head.split()[:3] == ["venue", "state", "active"]
    assert line.split()[:3] == ["ALPHA", "backup", BACKUP]


async def test_killed_in_the_middle_of_switches_nothing_is_lost_or_told_twice(stage: Stage) -> None:
    """SIGKILL at the moment of the switch and of the return, as a watcher of the ledger sees them begin."""
    settings, venue = stage.settings, stage.settings.venues["ALPHA"].model_dump(mode="json", exclude_none=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EXECUTION_AGENT_")},
        "EXECUTION_AGENT_POSTGRES_URL": settings.postgres_url.get_secret_value(),
        "EXECUTION_AGENT_REDIS_URL": settings.redis_url.get_secret_value(),
        "EXECUTION_AGENT_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "EXECUTION_AGENT_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "EXECUTION_AGENT_HTTP__PORT": str(free_port()),
        "EXECUTION_AGENT_VENUES": json.dumps({"ALPHA": venue}),
    }
    async with stage.running() as process:
        await stage.settled(process)
    for is_cut in (True, False):
        async with streaming(environment) as running:
            feed = PRIMARY if is_cut else BACKUP
            await stage.until_landed(await stage.landed_by(feed) + 5, feed)
            (stage.way.cut if is_cut else stage.way.restore)()
            await (stage.until_switch() if is_cut else stage.until_return())
            running.kill()
            await running.wait()
    async with streaming(environment):
        await stage.until_landed(await stage.landed_by(PRIMARY) + 10)
        await stage.balanced()
    told = await stage.told()
    assert told.count("feed_switched") == told.count("feed_returned") >= 1
    assert told.count("feed_outage") == told.count("feed_recovered") >= 1
    rows = await stage.ledger.fetch("SELECT event_id FROM execution.audit_events WHERE event_type LIKE 'feed_%'")
    assert len({row["event_id"] for row in rows}) == len(rows)


@asynccontextmanager
async def streaming(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "operations.cli", "stream"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_primary_that_lives_and_reports_nothing_is_found_out_by_the_backup(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Every fill is withheld from the WebSocket: its heartbeats go on, only orders say that it should speak."""
    venues = (
        VenueConfig("ALPHA", "websocket", look_back_port=0),
        VenueConfig("ALPHA.backup", "fix", mirror_of="ALPHA", sender_comp_id="ALPHA", target_comp_id="AGENT"),
    )
    deaf = rates(withheld=1.0)
    async with staged(
        endpoints, ledger_url, redis_url, topic_prefix, tmp_path, faults=deaf, venues=venues
    ) as stage:
        known = venue_of(tmp_path, stage.backup_way, stage.way, QUICK)  # the FIX session is the backup here
        assert known.backup is not None
        backup = BackupSettings(format="fix44", feed=known.feed)
        swapped = known.model_copy(update={"format": "canonical", "feed": known.backup.feed, "backup": backup})
        stage.settings = stage.settings.model_copy(update={"venues": {"ALPHA": swapped}})
        async with stage.running() as process:
            quiet = "SELECT count(*) FROM execution.feed_switches WHERE cause = 'quiet'"
            async with asyncio.timeout(60):
                while not await stage.ledger.fetchval(quiet):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert process.metrics.feed_states["ALPHA.ws"] == "live"
            await stage.until_landed(30, "ALPHA.backup.fix")
            await stage.balanced()
            assert await stage.landed_by("ALPHA.ws") == 0


def rates(**changes: float) -> FaultRates:
    return FaultRates(**{name: getattr(NO_FAULTS, name) for name in FaultRates.__struct_fields__} | changes)


async def test_without_snapshots_slippage_is_best_effort_and_that_is_told(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    """One of each symbol comes at the start, and then no more."""
    async with staged(
        endpoints, ledger_url, redis_url, topic_prefix, tmp_path, snapshots_per_second=0.0001, fill_gap_seconds=1.0
    ) as stage:
        limits = {"snapshot_out_seconds": Decimal(2), "stale_snapshot_seconds": Decimal(1)}
        stage.settings = stage.settings.model_copy(update=limits)
        query = "SELECT max(told_ns) FROM execution.feed_outages WHERE venue = 'market-data'"
        async with stage.running() as process:
            async with asyncio.timeout(60):
                while (told_ns := await stage.ledger.fetchval(query)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            out = process.status()["failover"]["snapshots_out"]
            assert out
            assert all(feed.startswith("market-data.") for feed in out)
            await stage.until_landed(await stage.landed_by(PRIMARY) + 10)
        found = await stage.ledger.fetch(
            "SELECT DISTINCT quality, quality_reason FROM execution.slippage_metrics "
            "JOIN execution.executions USING (execution_id) WHERE kind = 'fill_mid' AND transact_ns > $1",
            told_ns,
        )
        assert [tuple(row) for row in found] == [("best_effort", "stale_snapshot")]
        events = "SELECT event_type FROM execution.audit_events WHERE key = 'market-data'"
        assert {row["event_type"] for row in await stage.ledger.fetch(events)} == {"snapshot_feed_out"}
