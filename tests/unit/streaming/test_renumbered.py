"""A venue starts its numbers over: what was missing is an outage, and its list is asked for it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from pydantic import SecretStr

from ledger.domain.failover import Cause, FailoverPolicy, Health, HealthKind
from ledger.domain.sequence_gaps import GapFilled
from streaming.arrivals import Inbox
from streaming.failover import VenueFeeds
from streaming.feed_lines import Line, Tap
from streaming.look_back.making import look_backs_of
from streaming.metrics import Metrics
from streaming.open_orders import OpenOrders
from streaming.policy import decoders_of
from streaming.recovering import Recovery
from streaming.settings import KafkaSettings, LookBackSettings, Settings, VenueSettings, WebSocketFeedSettings
from tests.unit.domain.facts import SECOND, T0

FEED = "ALPHA.ws"


async def never(_feed: str, _before_ns: int) -> int | None:
    return None


@pytest.mark.parametrize("is_open", [True, False])
async def test_an_open_gap_is_an_outage_and_the_list_is_asked_in_either_case(*, is_open: bool) -> None:
    feed = WebSocketFeedSettings(url="ws://127.0.0.1:1/")
    look_back = LookBackSettings.model_validate({"url": "http://127.0.0.1:1", "format": "canonical"})
    settings = Settings(
        postgres_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        venues={"ALPHA": VenueSettings(format="canonical", feed=feed, look_back=look_back)},
    )
    inbox, metrics = Inbox(), Metrics()
    line = Line(FEED, feed, Tap(inbox, asyncio.Event()), metrics, lambda _: None)
    recovery = Recovery("ALPHA", look_backs_of(settings, inbox, decoders_of(settings))["ALPHA"], never)
    feeds = VenueFeeds(
        "ALPHA",
        FailoverPolicy(),
        line,
        None,
        is_hot=False,
        make=lambda _line, _position: pytest.fail("nothing is started"),
        positions=lambda: pytest.fail("nothing is started"),
        recovery=recovery,
        inbox=inbox,
        orders=OpenOrders(),
        metrics=metrics,
        active={},
    )
    lost = GapFilled("ALPHA", FEED, 7, 9, T0, T0 + SECOND, ((7, 9),), is_lost=True) if is_open else None
    feeds.renumbered(line, lost, T0 + SECOND)
    assert recovery.owes
    if not is_open:
        assert len(inbox) == 0
        return
    (told,) = await inbox.take(10)
    health = msgspec.json.decode(told.raw, type=Health)
    assert (health.kind, health.cause, health.since_ns) == (HealthKind.OUTAGE, Cause.GAP, T0)
    assert "7" in health.reason
    assert feeds.status()["out"] == [FEED]
