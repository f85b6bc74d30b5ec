"""The publisher and a broker that is lost without a word: connections that lead nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.outages.proxy import Proxy
from operations.embedded import ServerName
from operations.embedded.broker import Broker
from operations.embedded.state import StateFolder
from streaming.settings import KafkaSettings
from tests.integration.database import connected
from tests.integration.test_publisher import World, orders
from tests.unit.domain.facts import report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[tuple[Proxy, KafkaSettings]]:
    """A broker of its own, which sends its clients to a proxy."""
    state = StateFolder(tmp_path / "state")
    state.acquire()
    proxy = Proxy(0, state.port(ServerName.BROKER))
    proxy.start()
    broker = Broker(state, advertised=f"127.0.0.1:{proxy.port}")
    try:
        broker.start()
        yield proxy, KafkaSettings(bootstrap=f"127.0.0.1:{proxy.port}")
    finally:
        broker.process.ask_to_stop()
        broker.process.wait_stopped()
        proxy.stop()
        state.release()


async def test_a_commit_that_nobody_answers_does_not_hold_up_the_events(
    ledger_url: str, behind: tuple[Proxy, KafkaSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.producing._TRANSACTION_SECONDS", 60.0)  # what librdkafka waits by itself
    proxy, kafka = behind
    async with connected(ledger_url) as connection:
        world = World(ledger_url, kafka, connection)
        async with world.publishing() as publisher:
            await world.land(*orders(1), report("E0", cl_ord_id="M0"))
            await world.live(publisher)
            proxy.lose()
            await world.land(report("E1", cl_ord_id="M0"))
            await world.live(publisher)
            await world.check()
