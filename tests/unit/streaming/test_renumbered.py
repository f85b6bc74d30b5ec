"""A venue starts its numbers over: that is told to be landed, and its list is asked for what is missing."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from pydantic import SecretStr

from ledger.domain.failover import Cause, FailoverPolicy, Health, HealthKind
from ledger.domain.sequence_gaps import GapFilled
from ledger.domain.venue_health import StandingOutage, Stretch, VenueHealth
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


def staged(inbox: Inbox) -> tuple[VenueFeeds, Line, Recovery]:
    """A venue whose list cannot be had: nothing listens there."""
    feed = WebSocketFeedSettings(url="ws://127.0.0.1:1/")
    look_back = LookBackSettings.model_validate({"url": "http://127.0.0.1:1", "format": "canonical"})
    settings = Settings(
        postgres_url=SecretStr("postgresql://nobody@127.0.0.1:1/none"),
        redis_url=SecretStr("redis://127.0.0.1:1/0"),
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        venues={"ALPHA": VenueSettings(format="canonical", feed=feed, look_back=look_back)},
    )
    metrics = Metrics()
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
    return feeds, line, recovery


LOST = GapFilled("ALPHA", FEED, 7, 9, T0, T0 + SECOND, ((7, 9),), is_lost=True)
ENDED = HealthKind.RENUMBERED


@pytest.mark.parametrize(
    ("lost", "is_out", "kind", "since_ns"),
    [
        (None, False, ENDED, T0 + SECOND),
        (None, True, ENDED, T0 + SECOND),
        (LOST, False, HealthKind.OUTAGE, T0),
        (LOST, True, ENDED, T0),  # its outage stands already, of another cause
    ],
)
async def test_each_renumbering_is_told_to_be_landed_and_the_list_is_asked(
    lost: GapFilled | None, kind: HealthKind, since_ns: int, *, is_out: bool
) -> None:
    feeds, line, recovery = staged(inbox := Inbox())
    standing = VenueHealth()
    if is_out:
        standing.outages["ALPHA", FEED] = StandingOutage("an id", "ALPHA", FEED, Cause.SILENCE, T0)
    feeds.take_up(standing, [])
    feeds.renumbered(line, lost, T0 + SECOND)
    assert recovery.owes
    (told,) = await inbox.take(10)
    health = msgspec.json.decode(told.raw, type=Health)
    assert (health.kind, health.cause, health.since_ns, health.at_ns) == (kind, Cause.GAP, since_ns, T0 + SECOND)
    assert "start over" in health.reason
    assert ("7" in health.reason) is (lost is not None)
    assert feeds.status()["out"] == ([FEED] if is_out or lost is not None else [])


async def test_what_a_renumbering_leaves_missing_outlives_a_lost_lease_until_it_was_read() -> None:
    feeds, line, recovery = staged(Inbox())
    feeds.renumbered(line, None, T0 + SECOND)
    asking = asyncio.create_task(recovery.run())
    await asyncio.sleep(0)  # its turn has begun
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    feeds.take_up(VenueHealth(), [])
    assert recovery.owes, "the row of it may not have landed"


async def test_what_switches_leave_missing_is_taken_from_the_ledger_alone() -> None:
    feeds, _, recovery = staged(Inbox())
    recovery.owe(Stretch("ALPHA", T0, T0 + SECOND, "feed_switched", FEED))
    feeds.take_up(VenueHealth(), [])
    assert not recovery.owes
