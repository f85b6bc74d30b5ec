"""``execution-agent stream`` as a service manager sees it: how it stops, and what it says when it cannot go on."""

# ruff: noqa: ASYNC110  tests wait by looking
from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from ledger.db.landing import Landing
from tests.integration.database import connected
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from operations.embedded import Endpoints

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 5.0
POSITION = """
INSERT INTO execution.feed_positions (feed, stream, incarnation, position)
SELECT feed, stream, incarnation, 1000000 FROM execution.feed_positions WHERE feed = 'order-intents'
ON CONFLICT (feed, stream) DO UPDATE SET position = excluded.position
"""


class Command:
    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.port = int(environment["EXECUTION_AGENT_HTTP__PORT"])
        self.process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "operations.cli", "stream",
            cwd=ROOT, env={**self.environment, **changes},
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def status(self) -> dict[str, Any]:
        """Ask over HTTP; nothing while it is not up."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            raw = await reader.read()
            writer.close()
        except OSError:
            return {}
        found: dict[str, Any] = json.loads(raw.partition(b"\r\n\r\n")[2] or b"{}")
        return found

    async def until(self, **wanted: object) -> None:
        async with asyncio.timeout(60):
            while not wanted.items() <= {k: v for k, v in (await self.status()).items() if k in wanted}.items():
                await asyncio.sleep(0.05)

    async def stop(self) -> float:
        """SIGTERM; give how long it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await self.process.wait()
        assert self.process.returncode == 0
        return time.monotonic() - began


@pytest.fixture
def command(endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str) -> Command:
    return Command(
        {
            **{name: value for name, value in os.environ.items() if not name.startswith("EXECUTION_AGENT_")},
            "EXECUTION_AGENT_POSTGRES_URL": ledger_url,
            "EXECUTION_AGENT_REDIS_URL": redis_url,
            "EXECUTION_AGENT_KAFKA__BOOTSTRAP": endpoints.kafka_bootstrap,
            "EXECUTION_AGENT_KAFKA__TOPIC_PREFIX": topic_prefix,
            "EXECUTION_AGENT_HTTP__PORT": str(free_port()),
            "EXECUTION_AGENT_VENUES": json.dumps(
                {
                    "BETA": {
                        "format": "canonical",
                        "feed": {"kind": "rest", "secrets": ["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="]},
                    }
                }
            ),
        }
    )


async def slow_callback(port: int) -> asyncio.StreamWriter:
    """A caller that has sent half of its body."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/venues/BETA/fills HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    return writer


async def test_it_stops_at_once_when_nothing_is_open(command: Command) -> None:
    async with command.running():
        await command.until(ready=True, publisher="live", redis="live")
        assert await command.stop() < STOP_SECONDS / 2


@pytest.mark.parametrize("broker", ["there", "away"])
async def test_it_stops_in_time_with_a_slow_callback_open(command: Command, broker: str) -> None:
    away = {} if broker == "there" else {"EXECUTION_AGENT_KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}"}
    async with command.running(**away):
        await command.until(ready=True)
        await asyncio.sleep(2)  # calls to the broker are under way
        caller = await slow_callback(command.port)
        await asyncio.sleep(0.2)
        assert await command.stop() < STOP_SECONDS
        caller.close()


async def test_a_standby_stops_at_once(command: Command, ledger_url: str) -> None:
    async with connected(ledger_url) as holder, command.running():
        await Landing(holder).take_lease("execution-agent")
        await command.until(ready=False)
        await asyncio.sleep(1)
        assert await command.stop() < STOP_SECONDS / 2


async def test_a_port_that_is_taken_is_one_line(command: Command) -> None:
    with socket.create_server(("127.0.0.1", command.port)):
        async with command.running() as process:
            _, said = await process.communicate()
    assert process.returncode == 2
    (line,) = said.decode().splitlines()
    assert "http.port" in line
    assert str(command.port) in line


async def test_a_position_that_went_back_is_one_line(command: Command, ledger_url: str) -> None:
    topic = command.environment["EXECUTION_AGENT_KAFKA__TOPIC_PREFIX"] + "order.intent.route.v1"
    producer = Producer({"bootstrap.servers": command.environment["EXECUTION_AGENT_KAFKA__BOOTSTRAP"]})
    async with connected(ledger_url) as ledger, command.running() as process:
        await command.until(ready=True, publisher="live")
        producer.produce(topic, value=b"{}", partition=0, headers={"ce_type": "order.intent.route.v1"})
        await asyncio.to_thread(producer.flush, 10)
        async with asyncio.timeout(20):
            while not await ledger.fetchval("SELECT count(*) FROM execution.feed_positions"):
                await asyncio.sleep(0.05)
        await ledger.execute(POSITION)
        producer.produce(topic, value=b"{ }", partition=0, headers={"ce_type": "order.intent.route.v1"})
        await asyncio.to_thread(producer.flush, 10)
        async with asyncio.timeout(20):
            _, said = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in said
    assert said.decode().splitlines()[-1].startswith("execution-agent: ")
