"""A venue whose feed lives and leaves fills out: its own list brings them, once, through faults and crashes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ledger import clocks
from ledger.domain.times import NANOS, format_utc
from operations.cli import app
from simulator.config import NO_FAULTS, Config, VenueConfig
from simulator.simulation import Simulation
from streaming.arrivals import Arrival, ArrivalKind
from streaming.process import Process
from streaming.settings import (
    FixFeedSettings,
    GraceSettings,
    HttpSettings,
    KafkaSettings,
    LookBackSettings,
    Settings,
    VenueSettings,
    WebSocketFeedSettings,
)
from tests.integration.database import connected, terminate_sessions, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from operations.embedded import Endpoints
    from tests.integration.people import Person

NAME = "BRAVO"
ROOT = Path(__file__).parents[2]


class Stage:
    """A practice venue, the process that listens to it, and the ledger looked at from beside it."""

    def __init__(
        self,
        endpoints: Endpoints,
        urls: tuple[str, str],
        prefix: str,
        folder: Path,
        watching: asyncpg.Connection[Any],
    ) -> None:
        self._endpoints = endpoints
        self._urls = urls
        self._prefix = prefix
        self._folder = folder
        self.watching = watching

    @asynccontextmanager
    async def venue(
        self, kind: str = "websocket", *, withheld: float = 0.2, bust: float = 0.0, per_second: int = 200
    ) -> AsyncIterator[Simulation]:
        venue = {
            "name": NAME, "kind": kind, "account": "BRAVO-1", "look_back_port": 0, "look_back_key": "agent",
            "look_back_secret": "s3cret", "look_back_per_second": per_second,
        }  # fmt: skip
        config = Config(
            state_dir=str(self._folder / "venue"),
            kafka_bootstrap=self._endpoints.kafka_bootstrap,
            topic_prefix=self._prefix,
            venues=(msgspec.convert(venue, VenueConfig),),
            orders_per_second=20,
            snapshots_per_second=2,
            faults=msgspec.structs.replace(NO_FAULTS, withheld=withheld, bust=bust),
            grace_seconds=5,
        )
        simulation = Simulation(config)
        task = asyncio.create_task(simulation.run())
        try:
            await until(lambda: simulation.control_port != 0 and simulation.lists[NAME].port != 0)
            yield simulation
        finally:
            simulation.leave()
            await task

    def settings(self, simulation: Simulation, *, gap: str = "10", **changes: Any) -> Settings:
        look_back = LookBackSettings.model_validate(
            {
                "url": f"http://127.0.0.1:{simulation.lists[NAME].port}", "format": "canonical", "key": "agent",
                "secret": "s3cret", "requests_per_second": 100, "page_size": 40, "audit_minutes": "0.02",
                "grace_seconds": "0.5", "overlap_seconds": "1", **changes,
            }
        )  # fmt: skip
        address = simulation.venues[0].address
        feed: WebSocketFeedSettings | FixFeedSettings
        if simulation.venues[0].kind == "websocket":
            spoken, feed = "canonical", WebSocketFeedSettings(url=address)
        else:
            host, _, port = address.rpartition("//")[2].partition(":")
            spoken, feed = "fix44", FixFeedSettings(
                host=host, port=int(port), sender_comp_id="EXECUTIONAGENT", target_comp_id=NAME,
                store=self._folder / "store",
            )  # fmt: skip
        return Settings(
            postgres_url=SecretStr(self._urls[0]),
            redis_url=SecretStr(self._urls[1]),
            kafka=KafkaSettings(bootstrap=self._endpoints.kafka_bootstrap, topic_prefix=self._prefix),
            http=HttpSettings(port=0),
            grace=GraceSettings(gap_seconds=Decimal(gap)),
            venues={NAME: VenueSettings(format=spoken, feed=feed, look_back=look_back)},
        )

    @asynccontextmanager
    async def running(self, settings: Settings) -> AsyncIterator[Process]:
        process = Process(settings)
        stop = asyncio.Event()
        task = asyncio.create_task(process.run(stop))
        try:
            await until(lambda: _is_live(process), 60)
            yield process
        finally:
            stop.set()
            await task

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.watching.fetchval(query, *arguments)

    async def reaches(self, wanted: object, query: str, *arguments: object) -> None:
        async with asyncio.timeout(60):
            while await self.value(query, *arguments) != wanted:  # noqa: ASYNC110  Postgres has no event for it
                await asyncio.sleep(0.05)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        query = "SELECT body FROM execution.audit_events WHERE event_type = $1 ORDER BY xid, position"
        return [json.loads(row["body"]) for row in await self.watching.fetch(query, kind)]

    async def balances(self, simulation: Simulation) -> None:
        """Every report that the venue made is here once, and nothing else is."""
        totals = simulation.journal.totals()
        made = sum(totals[NAME, kind].made for kind in ("fill", "bust", "correct") if (NAME, kind) in totals)
        await self.reaches(made, "SELECT count(DISTINCT report_id) FROM execution.fills")
        fills = totals[NAME, "fill"].made
        await self.reaches(fills, "SELECT count(*) FROM execution.executions")
        # a gap that waited for longer than its grace time ends by itself when the fill is there
        await self.reaches(0, "SELECT count(*) FROM execution.dead_letters WHERE replayed_at IS NULL")
        strange = "SELECT count(*) FROM execution.dead_letters WHERE reason <> 'out_of_order'"
        assert not await self.value(strange)


@pytest.fixture
async def stage(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Stage]:
    async with connected(ledger_url) as watching:
        yield Stage(endpoints, (ledger_url, redis_url), topic_prefix, tmp_path, watching)


OPEN = "SELECT count(*) FROM execution.completeness_findings WHERE ended_ns IS NULL"
FOUND = "SELECT count(*) FROM execution.completeness_findings"
BY_LIST = "SELECT count(*) FROM execution.fills WHERE feed = 'BRAVO.look_back'"


def toml_of(settings: Settings) -> str:
    venue = settings.venues[NAME]
    back, feed = venue.look_back, venue.feed
    assert back is not None
    assert isinstance(feed, WebSocketFeedSettings)
    return f"""
postgres_url = "{settings.postgres_url.get_secret_value()}"
redis_url = "{settings.redis_url.get_secret_value()}"
[kafka]
bootstrap = "{settings.kafka.bootstrap}"
topic_prefix = "{settings.kafka.topic_prefix}"
[http]
port = 0
[grace]
gap_seconds = {settings.grace.gap_seconds}
[venues.{NAME}]
format = "canonical"
feed = {{ kind = "websocket", url = "{feed.url}" }}
[venues.{NAME}.look_back]
url = "{back.url}"
key = "agent"
secret = "s3cret"
requests_per_second = {back.requests_per_second}
page_size = {back.page_size}
audit_minutes = {back.audit_minutes}
grace_seconds = {back.grace_seconds}
overlap_seconds = {back.overlap_seconds}
"""


def _is_live(process: Process) -> bool:
    return any(feed.startswith(NAME) and state == "live" for feed, state in process.metrics.feed_states.items())


async def drained(simulation: Simulation) -> int:
    """Let the venue end its day; give how many reports it left out."""
    simulation.stop_orders()
    await until(lambda: simulation.state == "drained", 60)
    return simulation.journal.counts[f"withheld/{NAME}"]


@pytest.mark.parametrize("kind", ["websocket", "fix"])
async def test_fills_that_a_living_feed_leaves_out_are_found_and_landed_once(stage: Stage, kind: str) -> None:
    async with stage.venue(kind, bust=0.05) as simulation, stage.running(stage.settings(simulation)) as process:
        await asyncio.sleep(2)
        withheld = await drained(simulation)
        assert withheld > 5
        await stage.balances(simulation)
        assert await stage.value(BY_LIST) == withheld
        await stage.reaches(0, OPEN)
        assert await stage.value(FOUND) == withheld
        told = await stage.events("completeness_missing")
        assert sum(int(event["detail"]["missing"]) for event in told) == withheld
        assert {event["detail"]["is_hidden"] for event in told} == {"true"}
        audits = "SELECT sum(missing) = sum(handed_in) AND sum(unconfirmed) = 0 FROM execution.look_back_audits"
        assert await stage.value(audits)
        assert process.status()["complete_to"][NAME] is not None


async def test_gaps_that_wait_are_asked_for_before_they_are_dead_letters(stage: Stage) -> None:
    async with stage.venue(withheld=0.1) as simulation:
        async with stage.running(stage.settings(simulation, gap="30", audit_minutes="0")):
            await asyncio.sleep(2)
            await drained(simulation)
            await stage.reaches(0, "SELECT count(*) FROM execution.fills_pending WHERE reason = 'awaiting_gap'")
            assert await stage.value(BY_LIST) > 0
            reasons = "SELECT array_agg(DISTINCT reason) FROM execution.look_back_audits"
            assert await stage.value(reasons) == ["order"]
            assert not await stage.value("SELECT count(*) FROM execution.dead_letters")
        # an order's last fills may be left out, and nothing after them says so: only the whole list tells
        async with stage.running(stage.settings(simulation)):
            await stage.balances(simulation)


async def test_sessions_that_end_in_the_middle_of_audits_lose_nothing(stage: Stage) -> None:
    async with stage.venue(withheld=0.4) as simulation, stage.running(stage.settings(simulation, page_size=5)):
        ended = 0
        for _ in range(8):
            await asyncio.sleep(0.4)
            ended += await terminate_sessions(stage.watching)
        assert ended > 8
        withheld = await drained(simulation)
        await stage.balances(simulation)
        await stage.reaches(0, OPEN)
        # what is under way while a session ends may be found missing, too, and its feed may bring it first
        assert withheld <= await stage.value(BY_LIST) <= await stage.value(FOUND)


async def test_a_process_that_is_killed_in_the_middle_of_an_audit_finds_it_again(
    stage: Stage, tmp_path: Path
) -> None:
    async with stage.venue(withheld=0.4) as simulation:
        settings = stage.settings(simulation, page_size=20)
        config = tmp_path / "stream.toml"
        config.write_text(toml_of(settings))
        environment = {n: v for n, v in os.environ.items() if not n.startswith("EXECUTION_AGENT_")}
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "operations.cli", "stream", cwd=ROOT,
                env={**environment, "EXECUTION_AGENT_CONFIG": str(config)},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            async with asyncio.timeout(60):
                while not await stage.value(OPEN):  # noqa: ASYNC110  written down, and not yet seen to land
                    await asyncio.sleep(0.002)
            process.kill()
            await process.wait()
        async with stage.running(settings):
            withheld = await drained(simulation)
            await stage.balances(simulation)
            await stage.reaches(0, OPEN)
        # what is under way while a session ends may be found missing, too, and its feed may bring it first
        assert withheld <= await stage.value(BY_LIST) <= await stage.value(FOUND)


async def test_a_rate_that_is_kept_is_never_refused_and_one_that_is_refused_waits(stage: Stage) -> None:
    def counted(simulation: Simulation) -> tuple[int, int]:
        counts = simulation.journal.counts
        return counts[f"look_back_requests/{NAME}"], counts[f"look_back_refused/{NAME}"]

    async with stage.venue(per_second=6) as simulation:
        async with stage.running(stage.settings(simulation, requests_per_second=5, page_size=10)):
            await asyncio.sleep(2)
            await drained(simulation)
            await stage.balances(simulation)
        requests, refused = counted(simulation)
        assert requests > 5
        assert refused == 0
        settings = stage.settings(simulation, requests_per_second=500, page_size=2, audit_minutes="0")
        async with stage.running(settings) as process:
            now_ns = clocks.time_ns()
            assert await process.look_backs[NAME].recover(now_ns - 60 * NANOS, now_ns, "test") == 0
        all_requests, now_refused = counted(simulation)
        assert now_refused > 0
        # a refusal is one request, and six go through before the next: it waits for what the venue says
        assert now_refused <= (all_requests - requests) / 6 + 1


async def test_recover_hands_in_what_is_listed_and_not_here(stage: Stage) -> None:
    async with stage.venue() as simulation:
        began_ns = clocks.time_ns() - 60 * NANOS
        async with stage.running(stage.settings(simulation, gap="1000", audit_minutes="0")) as process:
            await asyncio.sleep(1.5)
            withheld = await drained(simulation)
            made = simulation.journal.totals()[NAME, "fill"].made
            await stage.reaches(made - withheld, "SELECT count(*) FROM execution.fills")
            recover = process.look_backs[NAME].recover
            assert await recover(began_ns, clocks.time_ns() + NANOS, "the feed was out") == withheld
            assert await recover(began_ns, clocks.time_ns() + NANOS, "again") == 0
            found = await stage.watching.fetch(
                "SELECT theirs, ours, missing, handed_in FROM execution.look_back_audits "
                "WHERE reason = 'recovery' ORDER BY compared_ns"
            )
            assert [tuple(row) for row in found] == [
                (made, made - withheld, withheld, withheld), (made, made, 0, 0),
            ]  # fmt: skip
            await stage.balances(simulation)


async def test_a_fill_that_the_venue_does_not_list_is_flagged_kept_and_confirmed_when_it_is(stage: Stage) -> None:
    async with stage.venue(withheld=0.0) as simulation, stage.running(stage.settings(simulation)) as process:
        ghost = {
            "type": "fill", "exec_id": "GHOST", "cl_ord_id": "NOBODY", "account": "BRAVO-1", "symbol": "BTCUSDT",
            "side": "buy", "last_qty": "1", "last_px": "1", "transact_time": format_utc(clocks.time_ns()),
        }  # fmt: skip
        raw = json.dumps(ghost).encode()
        await process.inbox.put([Arrival(f"{NAME}.ws", NAME, ArrivalKind.REPORT, raw, clocks.time_ns())])
        await stage.reaches(1, OPEN)
        (event,) = await stage.events("completeness_unconfirmed")
        assert event["detail"]["exec_id"] == "GHOST"
        flags = [event["detail"] for event in await stage.events("compliance_flag")]
        flags = [flag for flag in flags if flag["kind"] == "not_at_venue"]
        assert [(flag["state"], flag["exec_id"]) for flag in flags] == [("opened", "GHOST")]
        assert await stage.value("SELECT count(*) FROM execution.fills WHERE exec_id = 'GHOST'") == 1
        row = await stage.value("SELECT kind FROM execution.completeness_findings")
        assert row == "unconfirmed"
        simulation.journal._listed.append((1_000_000, NAME, ghost["transact_time"], "NOBODY", "", raw))
        await stage.watching.execute(
            "INSERT INTO execution.look_back_requests (venue, from_ns, until_ns) VALUES ($1, $2, $3)",
            NAME, clocks.time_ns() - 60 * NANOS, clocks.time_ns(),
        )  # fmt: skip
        await stage.reaches("done", "SELECT outcome FROM execution.look_back_requests")
        await stage.reaches(0, OPEN)
        assert len(await stage.events("completeness_confirmed")) == 1


async def test_the_command_compares_and_has_it_handed_in(
    stage: Stage, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "stream.toml"

    async def run(*words: str) -> tuple[int, dict[str, Any]]:
        words = ("look-back", NAME, "--from", "5m", "--to", "now", "--json", *words)
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
        # the process of this test logs to the same stream
        return result.exit_code, json.loads(result.stdout.strip().splitlines()[-1])

    async with stage.venue() as simulation:
        settings = stage.settings(simulation, gap="1000", audit_minutes="0")
        config.write_text(toml_of(settings))
        monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(config))
        async with stage.running(settings):
            await asyncio.sleep(1.5)
            withheld = await drained(simulation)
            made = simulation.journal.totals()[NAME, "fill"].made
            await stage.reaches(made - withheld, "SELECT count(*) FROM execution.fills")
            code, shown = await run("--dry-run")
            assert (code, shown["figures"]["missing"], len(shown["missing"])) == (1, withheld, withheld)
            assert await stage.value("SELECT count(*) FROM execution.fills") == made - withheld
            refused = await asyncio.to_thread(CliRunner().invoke, app, ["look-back", NAME, "--from", "5m"])
            assert "is a person's to do" in refused.stderr
            code, done = await run("--url", alice.url)
            assert (code, done["outcome"], done["figures"]["handed_in"]) == (0, "done", withheld)
            await stage.balances(simulation)
        assert (await run("--dry-run"))[0] == 0
        # where no process lands, the command does
        code, again = await run("--url", alice.url)
        assert (code, again["outcome"], again["figures"]["missing"]) == (0, "done", 0)
