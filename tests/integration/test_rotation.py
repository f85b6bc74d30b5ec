"""Secrets of three venues replaced under load, Vault sealed in between: no report is lost and no secret is told.

The venues are the simulator's, which let in only who shows the secret of the moment. The process is the command
as it is shipped, with its log on a pipe.
"""

# ruff: noqa: ASYNC110  tests wait by looking
from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from simulator.books import books
from simulator.config import NO_FAULTS, Config, VenueConfig
from simulator.rest_venue import RestVenue
from simulator.simulation import Simulation
from tests.integration.bao import Corner, OwnVault, corner_of
from tests.integration.test_stream_command import Command
from tests.integration.topics import kafka_settings
from tests.integration.untold import check_untold, tables, topics
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded import Endpoints

ROTATIONS = 2
LIVE = {"ALPHA.fix": "live", "BRAVO.ws": "live", "CHARLIE.rest": "live", "kafka": "live"}
WEBHOOK, TOKEN, PASSWORD = "webhook", "token", "password"
VENUES = {"CHARLIE": WEBHOOK, "BRAVO": TOKEN, "ALPHA": PASSWORD}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnVault]:
    vault = OwnVault(tmp_path / "vault")
    yield vault
    vault.close()


class Keys:
    """The secrets of the moment, and all that there ever were."""

    def __init__(self, corner: Corner) -> None:
        self.corner = corner
        self.ever: list[str] = []
        self.now: dict[str, str] = {}

    def make(self, venue: str) -> str:
        fresh = secrets.token_bytes(24)
        text = "whsec_" + base64.b64encode(fresh).decode() if VENUES[venue] == WEBHOOK else fresh.hex()
        self.ever.append(text)
        self.now[venue] = text
        return text

    def tell(self, venue: str) -> None:
        self.corner.put(f"venues/{venue}", **{VENUES[venue]: self.now[venue]})


def simulated(folder: Path, keys: Keys, endpoints: Endpoints, prefix: str, port: int) -> Simulation:
    url = f"http://127.0.0.1:{port}"
    return Simulation(
        Config(
            state_dir=str(folder),
            kafka_bootstrap=endpoints.kafka_bootstrap,
            topic_prefix=prefix,
            venues=(
                VenueConfig("ALPHA", "fix", account="A", key=keys.now["ALPHA"]),
                VenueConfig("BRAVO", "websocket", account="B", key=keys.now["BRAVO"]),
                VenueConfig("CHARLIE", "rest", account="C", url=url, secret=keys.now["CHARLIE"]),
            ),
            faults=NO_FAULTS,
            orders_per_second=60,
            fill_gap_seconds=0.02,
            snapshots_per_second=2,
            grace_seconds=30,
        )
    )


def settings_of(simulation: Simulation, keys: Keys, vault: OwnVault, token: str, store: Path) -> dict[str, str]:
    at = {venue.name: venue.address for venue in simulation.venues}
    host, _, port = at["ALPHA"].rpartition(":")
    named = {venue: keys.corner.reference(f"venues/{venue}", field) for venue, field in VENUES.items()}
    fix = {"kind": "fix", "host": host, "port": int(port), "store": str(store), "password": named["ALPHA"]}
    comp_ids = {"sender_comp_id": "EXECUTIONAGENT", "target_comp_id": "ALPHA", "username": "agent"}
    return {
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": token,
        "EXECUTION_AGENT_VAULT": json.dumps({"poll_seconds": 0.3}),
        "EXECUTION_AGENT_VENUES": json.dumps(
            {
                "ALPHA": {"format": "fix44", "feed": fix | comp_ids},
                "BRAVO": {
                    "format": "canonical",
                    "feed": {"kind": "websocket", "url": at["BRAVO"], "token": named["BRAVO"]},
                },
                "CHARLIE": {"format": "canonical", "feed": {"kind": "rest", "secrets": [named["CHARLIE"]]}},
            }
        ),
    }


async def log_of(process: asyncio.subprocess.Process, lines: list[bytes]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        lines.append(line)


async def told(lines: list[bytes], text: bytes, count: int = 1) -> None:
    async with asyncio.timeout(30):
        while sum(text in line for line in lines) < count:
            await asyncio.sleep(0.05)


def replaced(venue: str) -> bytes:
    """What the log says when a secret was replaced."""
    return f'venues/{venue}", "fields": ["{VENUES[venue]}"]'.encode()


async def rotate(simulation: Simulation, keys: Keys, command: Command, lines: list[bytes], round_: int) -> None:
    """As venues do it: the new secret is made, told, and from some time on the only one."""
    alpha, bravo, charlie = simulation.venues
    assert isinstance(charlie, RestVenue)
    before = dict(keys.now)
    for venue in VENUES:
        keys.make(venue)
    alpha.rekey(before["ALPHA"], keys.now["ALPHA"])
    bravo.rekey(before["BRAVO"], keys.now["BRAVO"])
    for venue in VENUES:
        keys.tell(venue)
    for venue in VENUES:
        await told(lines, replaced(venue), round_)
    refused = charlie.answers[401]
    await asyncio.sleep(0.5)  # CHARLIE still signs with the old one
    charlie.rekey(keys.now["CHARLIE"])
    alpha.rekey(keys.now["ALPHA"])
    bravo.rekey(keys.now["BRAVO"])
    for dialled in (alpha, bravo):
        dialled.drop()  # whoever comes back shows the new one, or stays outside
    await command.until(feeds=LIVE)
    assert charlie.answers[401] == refused, "in the overlap both secrets count"


async def landed(url: str) -> set[tuple[str, str]]:
    connection = await asyncpg.connect(url)
    try:
        return {(r[0], r[1]) for r in await connection.fetch("SELECT venue, exec_id FROM execution.fills")}
    finally:
        await connection.close()


async def test_secrets_are_replaced_under_load_and_nothing_is_lost_or_told(
    endpoints: Endpoints, command_environment: dict[str, str], ledger_url: str, topic_prefix: str,
    tmp_path: Path, own: OwnVault,
) -> None:  # fmt: skip
    port = free_port()
    with corner_of(own.address, own.token) as corner:
        keys = Keys(corner)
        for venue in VENUES:
            keys.make(venue)
            keys.tell(venue)
        simulation = simulated(tmp_path / "venues", keys, endpoints, topic_prefix, port)
        playing = asyncio.create_task(simulation.run())
        while any(venue.address.endswith(":0") for venue in simulation.venues):
            await asyncio.sleep(0.01)
        token = corner.token()
        environment = {
            **command_environment,
            **settings_of(simulation, keys, own, token, tmp_path / "store"),
            "EXECUTION_AGENT_HTTP__PORT": str(port),
        }
        command = Command(environment)
        lines: list[bytes] = []
        async with command.running() as process:
            reading = asyncio.create_task(log_of(process, lines))
            await command.until(feeds=LIVE)
            for number in range(1, ROTATIONS + 1):
                await rotate(simulation, keys, command, lines, number)
            at_seal = len(await landed(ledger_url))
            await asyncio.to_thread(own.seal)
            await told(lines, b"a secret cannot be had from Vault")
            simulation.venues[0].drop()
            simulation.venues[1].drop()
            async with asyncio.timeout(30):  # with Vault sealed both sessions come back, on what is held
                while len(await landed(ledger_url)) < at_seal + 100:
                    await asyncio.sleep(0.1)
            status = await command.status()
            assert len(status["secrets"]["troubles"]) == len(VENUES)
            await asyncio.to_thread(own.unseal)
            await told(lines, b"a secret can be read again", len(VENUES))
            await rotate(simulation, keys, command, lines, ROTATIONS + 1)
            simulation.stop_orders()
            async with asyncio.timeout(60):
                while simulation.state != "drained":
                    await asyncio.sleep(0.05)
            page = books(simulation)
            made = {(fill["venue"], fill["exec_id"]) for fill in simulation.journal.fills(0, 1_000_000)}
            async with asyncio.timeout(30):
                while not made <= await landed(ledger_url):
                    await asyncio.sleep(0.1)
            await command.stop()
            await reading
        simulation.leave()
        await asyncio.wait_for(playing, 30)
    assert await landed(ledger_url) == made
    assert sum(b"logs on anew" in line for line in lines) == ROTATIONS + 1
    assert min(of["fills"] for of in page["venues"].values()) > 50, "there was load at every venue"
    hidden = {f"secret {n}": secret for n, secret in enumerate([*keys.ever, token, own.token])}
    kept = {**contents(tmp_path / "store"), **await tables(ledger_url)}
    kept |= topics(kafka_settings(endpoints, topic_prefix))
    check_untold(hidden, {"the log": b"".join(lines), "/status": json.dumps(status).encode(), **kept})


def contents(folder: Path) -> dict[str, bytes]:
    """What is in the files of the FIX session."""
    found = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found
    return found


@pytest.fixture
def command_environment(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str
) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTION_AGENT_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{kept.get('PATH', '')}",
        "EXECUTION_AGENT_POSTGRES_URL": ledger_url,
        "EXECUTION_AGENT_REDIS_URL": redis_url,
        "EXECUTION_AGENT_KAFKA__BOOTSTRAP": endpoints.kafka_bootstrap,
        "EXECUTION_AGENT_KAFKA__TOPIC_PREFIX": topic_prefix,
    }
