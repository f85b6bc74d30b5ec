"""A feed is connected, and hands nothing over, while what waited on Kafka goes first."""

from __future__ import annotations

import asyncio

from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.feed_lines import Tap
from tests.unit.domain.facts import T0

ARRIVAL = Arrival("ALPHA.ws", "ALPHA", ArrivalKind.REPORT, b"{}", T0)


async def test_what_comes_before_the_tap_is_open_waits_and_a_caller_does_not() -> None:
    inbox, is_open = Inbox(), asyncio.Event()
    tap = Tap(inbox, is_open)
    putting = asyncio.create_task(tap.put([ARRIVAL]))
    await asyncio.sleep(0.01)
    assert (len(inbox), tap.reported_ns) == (0, 0)
    tap.put_now([ARRIVAL])  # a REST caller would be told to come back, and comes back with the same
    assert len(inbox) == 1
    is_open.set()
    await putting
    assert (len(inbox), tap.reported_ns) == (2, T0)
