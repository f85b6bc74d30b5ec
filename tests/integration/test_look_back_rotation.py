"""The key of a venue's list of fills replaced under load: the next page is asked with it, and no fill is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.bao import Corner, corner_of
from tests.integration.database import until
from tests.integration.test_look_back import BY_LIST, NAME, Stage, drained
from tests.integration.test_look_back import stage as stage  # noqa: PLC0414  a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded import Endpoints
    from simulator.simulation import Simulation

ROTATIONS = 3


@pytest.fixture
def corner(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corner]:
    with corner_of(endpoints.vault_addr, endpoints.vault_token) as corner:
        monkeypatch.setenv("VAULT_TOKEN", corner.token())
        vault = {"address": endpoints.vault_addr, "poll_seconds": 0.05}
        monkeypatch.setenv("EXECUTION_AGENT_VAULT", json.dumps(vault))
        yield corner


def counted(simulation: Simulation, what: str) -> int:
    return int(simulation.journal.counts[f"look_back_{what}/{NAME}"])


async def ten_more(simulation: Simulation, what: str) -> None:
    wanted = counted(simulation, what) + 10
    await until(lambda: counted(simulation, what) >= wanted)


async def test_a_key_is_replaced_between_pages_and_no_fill_is_lost(stage: Stage, corner: Corner) -> None:
    """The venue accepts both for a while, as the order of a change says: nothing is refused at all."""
    pairs = {"agent": "s3cret"}
    corner.put("list", key="agent", secret="s3cret")
    async with stage.venue(withheld=0.3) as simulation:
        named = {name: corner.reference("list", name) for name in ("key", "secret")}
        settings = stage.settings(simulation, page_size=2, overlap_seconds="3", **named)
        async with stage.running(settings):
            for number in range(ROTATIONS):
                old, key = [*pairs][-1], f"agent-{number}"
                await ten_more(simulation, f"by {old}")
                pairs[key] = f"s3cret-{number}"
                simulation.lists[NAME].rekey(pairs)
                corner.put("list", key=key, secret=pairs[key])
                await ten_more(simulation, f"by {key}")
                pairs = {key: pairs[key]}
                simulation.lists[NAME].rekey(pairs)  # who shows the old one is refused from here on
                assert counted(simulation, f"by {old}") > 9, "there was load with each"
            # a venue that forgets the old key at once refuses us until the next look, and nothing is lost by it
            simulation.lists[NAME].rekey({"last": "s3cret-last"})
            assert counted(simulation, "unauthorized") == 0
            await until(lambda: counted(simulation, "unauthorized") > 0)
            corner.put("list", key="last", secret="s3cret-last")
            await until(lambda: counted(simulation, "by last") > 9)
            await drained(simulation)
            await stage.balances(simulation)
            assert await stage.value(BY_LIST) > 0
