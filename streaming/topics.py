"""The topics' names, and making those that are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ledger.domain.controls import HALTED, RESUMED
from ledger.domain.delay_events import DELAY_BEGAN, DELAY_ENDED, HEDGE_ENDS, HEDGE_REQUESTED, STATUS_REQUESTED
from ledger.domain.events import COMPLIANCE_FLAG, DEAD_LETTER, FILL_EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streaming.settings import KafkaSettings

ORDER_INTENT = "order.intent.route.v1"
MARKET_DATA = "market.data.snapshot.v1"
FILL_EVENT = "execution.event.fill.v1"
AUDIT_EVENT = "audit.event.execution"
DEAD_LETTERS = "dlq.execution"
COMPLIANCE_FLAGS = "compliance.flag.execution.v1"
HALTS = "execution.control.halt.v1"
FILL_DELAYS = "order.notice.fill_delay.v1"
STATUS_REQUESTS = "venue.request.status.v1"
HEDGES = "hedge.request.provisional.v1"

INBOUND = (ORDER_INTENT, MARKET_DATA)
OUTBOUND = (FILL_EVENT, AUDIT_EVENT, DEAD_LETTERS, COMPLIANCE_FLAGS, HALTS, FILL_DELAYS, STATUS_REQUESTS, HEDGES)
# The embedded broker looks through a partition's batches for each fetch and gives what it has when the time is up:
# of a partition of 34,000 small ones nothing came in 6 s with 10 ms, and 1,000 messages in 0.3 s with this.
FETCH_MS = 100
_TIMEOUT = 5.0
_PROBE_SECONDS = 2.0  # metadata is small: a broker that has not sent it by then is away, or the connection is lost
_NO_TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # sixteen zero bytes in base64, as librdkafka shows them
_BESIDE_AUDIT = {  # the others' topics, by event type
    HALTED: HALTS,
    RESUMED: HALTS,
    DELAY_BEGAN: FILL_DELAYS,
    DELAY_ENDED: FILL_DELAYS,
    STATUS_REQUESTED: STATUS_REQUESTS,
    HEDGE_REQUESTED: HEDGES,
    **dict.fromkeys(HEDGE_ENDS, HEDGES),
}


def topics_of(event_type: str) -> tuple[str, ...]:
    """Name the topics an audit event is published on: every decision on the audit topic."""
    if event_type in FILL_EVENTS:
        return (FILL_EVENT, AUDIT_EVENT)
    if event_type == DEAD_LETTER:
        return (DEAD_LETTERS, AUDIT_EVENT)
    if event_type == COMPLIANCE_FLAG:
        return (COMPLIANCE_FLAGS, AUDIT_EVENT)
    beside = _BESIDE_AUDIT.get(event_type)
    return (AUDIT_EVENT,) if beside is None else (beside, AUDIT_EVENT)


def written(incarnations: Mapping[str, str]) -> str:
    """Write down each topic's incarnation, as a cursor keeps it."""
    return " ".join(f"{topic}={incarnation}" for topic, incarnation in sorted(incarnations.items()))


def made_again(known: str, incarnations: Mapping[str, str]) -> frozenset[str]:
    """Name the topics that are not those that a cursor ``known`` was published to.

    A cursor of an earlier version names the cluster alone, and so does a broker that gives no topic ids.
    """
    before = dict(part.partition("=")[::2] for part in known.split(" ") if "=" in part)
    return frozenset(
        topic
        for topic, incarnation in incarnations.items()
        if before.get(topic, known) not in (incarnation, incarnation.partition("/")[0])
    )


class BrokerClient(Protocol):
    """What a client of the broker has to know of its settings."""

    @property
    def bootstrap(self) -> str:
        """Addresses, as librdkafka takes them."""
        ...

    @property
    def topic_prefix(self) -> str:
        """What stands before every topic's name."""
        ...

    @property
    def transactional_id(self) -> str:
        """The producer's, less the prefix."""
        ...

    def client_options(self) -> dict[str, str]:
        """Give librdkafka's options as of now."""
        ...


def client_config(kafka: BrokerClient) -> dict[str, Any]:
    """Give what every client of the broker is configured with."""
    return {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": "execution-agent",
        "reconnect.backoff.max.ms": 1000,  # librdkafka's 10 s would be added to every longer outage
        **kafka.client_options(),
    }


class Broker:
    """The broker as administrators see it. All calls block: run them in a thread."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin = AdminClient(client_config(kafka))

    def incarnation(self) -> str:
        """Name the cluster: an embedded broker that forgot everything comes back under another id."""
        metadata = self._admin.list_topics(timeout=_PROBE_SECONDS)
        return metadata.cluster_id or "unknown"

    def incarnations(self, topics: Sequence[str]) -> dict[str, str]:
        """Name the cluster and each topic in it: one that was deleted and made again starts over, too.

        A broker before Kafka 3.1 gives no topic ids: then it is the cluster alone.
        """
        cluster = self.incarnation()
        names = {topic: self._kafka.topic_prefix + topic for topic in topics}
        asked = self._admin.describe_topics(TopicCollection(list(names.values())), request_timeout=_PROBE_SECONDS)
        found: dict[str, str] = {}
        for topic, name in names.items():
            topic_id = str(asked[name].result(_PROBE_SECONDS).topic_id or "")
            found[topic] = cluster if topic_id in ("", _NO_TOPIC_ID) else f"{cluster}/{topic_id}"
        return found

    def partitions(self, topic: str) -> list[int]:
        """List the partitions of a topic, made with the configured number when there is no such topic."""
        name = self._kafka.topic_prefix + topic
        metadata = self._admin.list_topics(timeout=_TIMEOUT)
        if name not in metadata.topics:
            wanted = NewTopic(name, self._kafka.partitions, 1)
            for future in self._admin.create_topics([wanted], operation_timeout=_TIMEOUT).values():
                try:
                    future.result(_TIMEOUT)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                        raise
            metadata = self._admin.list_topics(timeout=_TIMEOUT)
        found = metadata.topics.get(name)
        return sorted(found.partitions) if found is not None else []
