"""A broker with transactions, and the three clients of confluent_kafka that the streaming core uses.

A producer with a transactional id fences the one before it. What is in an open transaction hides all that is
behind it from those who read committed; what was aborted they never see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException

from simulation.loop import FATE
from simulation.threads import wait

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from simulation.loop import VirtualLoop

_PATIENCE = 10  # a consumer that finds nothing waits so many times longer than it may: fewer steps, the same end
_OPEN, _COMMITTED, _ABORTED = "open", "committed", "aborted"


class Work(msgspec.Struct):
    """One transaction of a producer."""

    state: str = _OPEN


class Entry(msgspec.Struct):
    """One message of a partition."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: list[tuple[str, Any]]
    work: Work
    written_ns: int


class BrokerTroubles(msgspec.Struct):
    """How likely which trouble of a commit is."""

    fails: float = 0.0
    unknown: float = 0.0
    dies_before: float = 0.0
    dies_after: float = 0.0


class MemoryBroker:
    """Topics in memory. ``on_commit`` is called with the messages of each committed transaction."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, partitions: int) -> None:
        self.loop = loop
        self.rng = rng
        self.partitions = partitions
        self.cluster_id = "broker-1"
        self.up = True
        self.troubles = BrokerTroubles()
        self.on_commit: list[Callable[[list[Entry]], None]] = []
        self.note: Callable[[str], None] = lambda _: None
        self._topics: dict[str, list[list[Entry]]] = {}
        self._owners: dict[str, MemoryProducer] = {}
        self.waiting: list[Callable[[], None]] = []

    def topic(self, name: str) -> list[list[Entry]]:
        """Give the partitions of a topic, made when first asked for."""
        return self._topics.setdefault(name, [[] for _ in range(self.partitions)])

    def has(self, name: str) -> bool:
        """Whether a topic is there."""
        return name in self._topics

    def append(self, topic: str, key: str, value: bytes, headers: list[tuple[str, Any]], work: Work) -> Entry:
        """Write a message."""
        number = crc32(key.encode()) % self.partitions
        log = self.topic(topic)[number]
        entry = Entry(topic, number, len(log), key, value, headers, work, self.loop.time_ns())
        log.append(entry)
        if work.state == _COMMITTED:
            self.wake()
        return entry

    def wake(self) -> None:
        """Let those go on who wait for messages."""
        for woken in list(self.waiting):
            woken()

    def publish(self, topic: str, key: str, value: bytes) -> Entry:
        """Write a message of another agent's."""
        return self.append(topic, key, value, [("ce_type", topic.encode())], Work(_COMMITTED))

    def read(self, topic: str, partition: int, offset: int, limit: int) -> tuple[list[Entry], int]:
        """Give committed messages from an offset on, and where to read on."""
        found: list[Entry] = []
        log = self.topic(topic)[partition]
        while offset < len(log) and len(found) < limit:
            entry = log[offset]
            if entry.work.state == _OPEN:
                break
            if entry.work.state == _COMMITTED:
                found.append(entry)
            offset += 1
        return found, offset

    def at_end(self, topic: str, partition: int, offset: int) -> bool:
        """Whether those who read committed have nothing more to read."""
        log = self.topic(topic)[partition]
        return offset >= len(log) or log[offset].work.state == _OPEN

    def require(self) -> None:
        """Raise where the broker is away."""
        if not self.up:
            raise _failure(KafkaError._TRANSPORT, "broker is down")  # noqa: SLF001  librdkafka's local codes

    def take_over(self, name: str, producer: MemoryProducer) -> None:
        """Fence the producer that has a transactional id."""
        before = self._owners.get(name)
        if before is not None and before is not producer:
            before.fence()
        self._owners[name] = producer


class MemoryProducer:
    """``confluent_kafka.Producer``, transactional."""

    broker: MemoryBroker

    def __init__(self, config: dict[str, Any]) -> None:
        self._name: str = config["transactional.id"]
        self._fenced = False
        self._work: Work | None = None
        self._written: list[Entry] = []
        self._undelivered: list[tuple[Callable[..., None], Entry]] = []

    def init_transactions(self, timeout: float) -> None:
        """Fence whoever has the transactional id; its open transaction is aborted."""
        del timeout
        self.broker.require()
        self.broker.take_over(self._name, self)

    def fence(self) -> None:
        """Be fenced by a successor."""
        self._fenced = True
        if self._work is not None and self._work.state == _OPEN:
            self._work.state = _ABORTED

    def begin_transaction(self) -> None:
        """Open a transaction."""
        self._check()
        self._work = Work()
        self._written = []

    def produce(
        self,
        topic: str,
        value: bytes,
        key: str,
        partition: int = -1,
        on_delivery: Callable[..., None] = lambda *_: None,
        timestamp: int = 0,
        headers: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Write a message."""
        self._check()
        assert self._work is not None
        assert partition == -1, "the key chooses the partition"
        del timestamp
        entry = self.broker.append(topic, key, value, _as_bytes(headers), self._work)
        self._written.append(entry)
        self._undelivered.append((on_delivery, entry))

    def poll(self, timeout: float) -> None:
        """Call back."""
        del timeout
        for told, entry in self._undelivered:
            told(None, MemoryMessage(entry))
        self._undelivered.clear()

    def commit_transaction(self, timeout: float) -> None:
        """Commit; with the troubles that a commit may have."""
        del timeout
        self._check()
        assert self._work is not None
        broker, troubles = self.broker, self.broker.troubles
        draw = broker.rng.random()
        if draw < troubles.dies_before:
            self._die("killed with an open Kafka transaction")
        draw -= troubles.dies_before
        if 0 <= draw < troubles.fails:
            broker.note("Kafka commit fails, the transaction stays open")
            raise _failure(KafkaError._TIMED_OUT, "commit timed out")  # noqa: SLF001
        draw -= troubles.fails
        self.poll(0)
        self._work.state = _COMMITTED
        for told in broker.on_commit:
            told(self._written)
        if 0 <= draw < troubles.dies_after:
            self._die("killed after a Kafka commit")
        draw -= troubles.dies_after
        if 0 <= draw < troubles.unknown:
            broker.note("Kafka commit is done, its answer is lost")
            raise _failure(KafkaError._TIMED_OUT, "commit timed out")  # noqa: SLF001

    def purge(self) -> None:
        """Throw away what is not out: of a dead process nothing runs, of a live one the transaction stays open."""
        self._undelivered.clear()

    def _check(self) -> None:
        self.broker.require()
        if self._fenced:
            raise _failure(KafkaError._FENCED, "fenced by a newer producer")  # noqa: SLF001

    def _die(self, why: str) -> None:
        fate = FATE.get()
        assert fate is not None
        self.broker.note(f"{fate} {why}")
        self.broker.loop.kill(fate)
        raise _failure(KafkaError._DESTROY, why)  # noqa: SLF001  of a dead process nobody catches it


class MemoryConsumer:
    """``confluent_kafka.Consumer`` that reads committed, partitions assigned by hand."""

    broker: MemoryBroker

    def __init__(self, config: dict[str, Any]) -> None:
        self._tells_ends = bool(config.get("enable.partition.eof"))
        self._places: dict[tuple[str, int], int] = {}
        self._told: set[tuple[str, int]] = set()

    def assign(self, places: Sequence[Any]) -> None:
        """Read these partitions from these offsets on."""
        for place in places:
            offset = 0 if place.offset == OFFSET_BEGINNING else place.offset
            self._places[place.topic, place.partition] = offset

    def consume(self, limit: int, timeout: float) -> list[Any]:
        """Give what is there."""
        found = self._found(limit)
        if not found:
            wait(self.broker.loop, timeout * _PATIENCE, self.broker.waiting)
            found = self._found(limit)
        return found

    def _found(self, limit: int) -> list[Any]:
        self.broker.require()
        found: list[Any] = []
        for (topic, partition), offset in self._places.items():
            entries, after = self.broker.read(topic, partition, offset, limit - len(found))
            self._places[topic, partition] = after
            if entries:
                self._told.discard((topic, partition))
            found += [MemoryMessage(entry) for entry in entries]
            ends = self._tells_ends and (topic, partition) not in self._told
            if ends and len(found) < limit and self.broker.at_end(topic, partition, after):
                self._told.add((topic, partition))
                found.append(_End(topic, partition))
        return found

    def get_watermark_offsets(self, place: Any, timeout: float = 0, *, cached: bool = False) -> tuple[int, int]:
        """Give the first offset and the one after the last."""
        del timeout, cached
        self.broker.require()
        return 0, len(self.broker.topic(place.topic)[place.partition])

    def close(self) -> None:
        """Do nothing."""


class MemoryMessage:
    """``confluent_kafka.Message``."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def error(self) -> None:
        """None: it is a message."""

    def topic(self) -> str:
        """Its topic."""
        return self._entry.topic

    def partition(self) -> int:
        """Its partition."""
        return self._entry.partition

    def timestamp(self) -> tuple[int, int]:
        """When it was written, in milliseconds."""
        return 1, self._entry.written_ns // 1_000_000

    def offset(self) -> int:
        """Its offset."""
        return self._entry.offset

    def headers(self) -> list[tuple[str, Any]]:
        """Its headers."""
        return self._entry.headers

    def value(self) -> bytes:
        """Its value."""
        return self._entry.value


class _End:
    def __init__(self, topic: str, partition: int) -> None:
        self._place = topic, partition

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._PARTITION_EOF)  # noqa: SLF001

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]


class MemoryAdmin:
    """``confluent_kafka.admin.AdminClient``."""

    broker: MemoryBroker

    def __init__(self, config: dict[str, Any]) -> None:
        del config
        self.broker.require()

    def list_topics(self, timeout: float) -> _Metadata:
        """Give the cluster's id and topics."""
        del timeout
        self.broker.require()
        return _Metadata(self.broker)

    def create_topics(self, wanted: Sequence[Any], operation_timeout: float) -> dict[str, _Made]:
        """Make topics."""
        del operation_timeout
        self.broker.require()
        for topic in wanted:
            self.broker.topic(topic.topic)
        return {topic.topic: _Made() for topic in wanted}

    def describe_topics(self, wanted: Any, request_timeout: float) -> dict[str, _Described]:
        """Give the topics' ids."""
        del request_timeout
        self.broker.require()
        return {name: _Described() for name in wanted.topic_names}


class _Described:
    topic_id = "AAAAAAAAAAAAAAAAAAAAAA"  # as of a broker that gives none

    def result(self, timeout: float) -> _Described:
        del timeout
        return self


class _Made:
    def result(self, timeout: float) -> None:
        pass


class _Metadata:
    def __init__(self, broker: MemoryBroker) -> None:
        self.cluster_id = broker.cluster_id
        self.topics = _Topics(broker)


class _Topics:
    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def __contains__(self, name: str) -> bool:
        return self._broker.has(name)

    def get(self, name: str) -> _Topic | None:
        return _Topic(self._broker.partitions) if self._broker.has(name) else None


class _Topic(msgspec.Struct):
    count: int

    @property
    def partitions(self) -> range:
        return range(self.count)


def _as_bytes(headers: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]


def _failure(code: int, text: str) -> KafkaException:
    return KafkaException(KafkaError(code, text))
