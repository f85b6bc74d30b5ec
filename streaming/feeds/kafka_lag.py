"""What the inbound topics still hold, as the answers to our own fetches tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

Place = tuple[str, int]  # topic, partition


class Waiting(msgspec.Struct, frozen=True):
    """How many messages a feed's topic still holds, and when the last one that was read was written."""

    count: int
    since_ns: int | None


class Lag:
    """What lies beyond what was read. ``behind`` are the partitions whose end was not reached yet."""

    def __init__(self, feeds: Mapping[Place, str]) -> None:
        self._feeds = feeds
        self._next: dict[Place, int] = {}
        self._written_ns: dict[Place, int] = {}
        self._at_end: set[Place] = set()
        self.behind = set(feeds)

    def note(self, place: Place, message: Any) -> None:
        """Note a message that was read."""
        self._next[place] = message.offset() + 1
        self._written_ns[place] = message.timestamp()[1] * 1_000_000
        self._at_end.discard(place)

    def note_end(self, place: Place) -> None:
        """Note that there is no more for now."""
        self._at_end.add(place)
        self.behind.discard(place)

    def waiting(self, consumer: Consumer) -> dict[str, Waiting]:
        """Count by feed what was there at the last fetch and is not read. What no fetch has told is not in it."""
        found = dict.fromkeys(self._feeds.values(), Waiting(0, None))
        for place, feed in self._feeds.items():
            if place in self._at_end or place not in self._next:
                continue
            # kept from the fetch: to a question of its own the embedded broker gives a wrong answer
            _, end = consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            count, since_ns = max(0, end - self._next[place]), self._written_ns[place]
            if count:
                known = found[feed]
                oldest = since_ns if known.since_ns is None else min(known.since_ns, since_ns)
                found[feed] = Waiting(known.count + count, oldest)
        return found
