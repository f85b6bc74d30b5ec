"""One venue's reports by two wires, in two formats: the executions are the same as by one of them alone."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ledger.domain.digest import digest_of
from simulator import canonical, fix_message
from simulator.clock import Clock
from simulator.config import Config, SymbolConfig, VenueConfig
from simulator.market import Market
from simulator.orders import Identifiers, Intent, Report, Snapshot
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_arrival
from streaming.venues import DECODERS
from tests.unit.domain.worlds import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.domain.decide import Fact

CLOCK = Clock(1_700_000_000_000_000_000)
DECODING = {
    "ALPHA": partial(DECODERS["fix44"], account=""),
    "ALPHA.backup.ws": partial(DECODERS["canonical"], account=""),
}
FEEDS = ("ALPHA.fix", "ALPHA.backup.ws")


def fact_of(feed: str, kind: ArrivalKind, raw: bytes) -> list[Fact]:
    venue = "ALPHA" if kind is ArrivalKind.REPORT else None
    facts = decode_arrival(Arrival(feed, venue, kind, raw, CLOCK.started_at), DECODING).facts
    assert all(type(fact).__name__ != "DeadLetter" for fact in facts), facts
    return facts


def framed(body: bytes) -> bytes:
    """A message as the engine hands it over."""
    return b"8=FIX.4.4\x019=0\x0135=8\x0134=1\x0149=ALPHA\x0156=AGENT\x01" + body + b"10=000\x01"


def day(seed: int, tmp_path: Path) -> tuple[list[Fact], list[list[Fact]], list[list[Fact]]]:
    """Intents and snapshots, and the same reports as FIX and as canonical JSON, with microseconds in both."""
    symbols = (SymbolConfig("BTCUSDT", "61685.99", "0.01", "0.00001", "0.05000"),)
    config = Config(str(tmp_path), seed=seed, venues=(VenueConfig("ALPHA", "fix"),), symbols=symbols)
    common: list[Fact] = []
    by_fix: list[list[Fact]] = []
    by_socket: list[list[Fact]] = []
    for number, event in enumerate(Market(config, Identifiers("t", 1)).events()):
        if number > 400:
            break
        if isinstance(event, Intent):
            common += fact_of("order-intents", ArrivalKind.INTENT, canonical.intent_value(event, CLOCK))
        elif isinstance(event, Snapshot):
            common += fact_of("market-data", ArrivalKind.SNAPSHOT, canonical.snapshot_value(event, CLOCK))
        elif isinstance(event, Report) and event.kind != "status":
            by_fix.append(
                fact_of(FEEDS[0], ArrivalKind.REPORT, framed(fix_message.execution_report(event, CLOCK)))
            )
            frame = (
                b'{"channel":"executions","sequence":1,"data":[' + canonical.websocket_report(event, CLOCK) + b"]}"
            )
            by_socket.append(fact_of(FEEDS[1], ArrivalKind.REPORT, frame))
    return common, by_fix, by_socket


def digest(common: list[Fact], reports: list[list[Fact]]) -> str:
    ledger = Ledger()
    ledger.land(common)
    for facts in reports:
        ledger.land(facts)
    assert ledger.executions
    assert not ledger.breaks, ledger.breaks
    return digest_of(ledger.executions.values(), ledger.metrics.values())


@pytest.mark.parametrize("seed", range(2))
def test_the_digest_is_that_of_one_feed_alone(seed: int, tmp_path: Path) -> None:
    common, by_fix, by_socket = day(seed, tmp_path)
    alone = digest(common, by_socket)
    shuffled = by_fix + by_socket
    random.Random(seed).shuffle(shuffled)
    assert digest(common, shuffled) == alone
    assert digest(common, by_fix + by_socket) == alone
    assert digest(common, by_socket + by_fix) == alone
