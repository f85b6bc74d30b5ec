"""What waits to be landed: how many, since when, by where it comes from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streaming.arrivals import Arrival


class Waiting(msgspec.Struct, frozen=True):
    """What waits of one source: a venue, or a feed of other agents (``order-intents``, ``market-data``).

    ``count`` are the arrivals of this process, ``at_source`` what the source has said it still holds for us. Ages
    in seconds: ``arrived_age`` of the oldest arrival, ``age`` of the oldest of all where the source tells times.
    """

    count: int
    arrived_age: float
    at_source: int
    age: float


def tally(
    arrivals: Iterable[Arrival], at_source: Mapping[str, int], since_ns: Mapping[str, int], now_ns: int
) -> dict[str, Waiting]:
    """Count arrivals by source, beside what each source of ``at_source`` still holds and since when."""
    counts: dict[str, int] = {}
    oldest: dict[str, int] = {}
    for arrival in arrivals:  # of tens of thousands: what is said of every one costs a backlog a hundredth
        source, received_ns = arrival.venue or arrival.feed, arrival.received_ns
        known = oldest.get(source)
        if known is None:
            counts[source], oldest[source] = 1, received_ns
            continue
        counts[source] += 1
        if received_ns < known:
            oldest[source] = received_ns
    found: dict[str, Waiting] = {}
    for source in counts.keys() | at_source.keys():
        arrived_ns = oldest.get(source, now_ns)
        first_ns = min(arrived_ns, since_ns.get(source, now_ns))
        found[source] = Waiting(
            counts.get(source, 0), _age(arrived_ns, now_ns), at_source.get(source, 0), _age(first_ns, now_ns)
        )
    return found


def _age(since_ns: int, now_ns: int) -> float:
    return max(0, now_ns - since_ns) / 1e9
