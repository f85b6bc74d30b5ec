"""The producer in a process of its own: what it writes, and what becomes of it and us when one of both dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.machine import family
from ledger.db.outbox_event import OutboxEvent
from ledger.faultpoints import SWITCH, VARIABLE
from streaming import publisher, publishing_session
from streaming.errors import PublishError
from streaming.producing import TopicWriter
from streaming.producing_child import Opening, receive, send
from streaming.producing_process import ApartWriter
from streaming.topics import AUDIT_EVENT, FILL_EVENT, OUTBOUND, Broker
from tests.integration.database import until
from tests.integration.test_publisher import LETTER, World, world  # noqa: F401  a fixture
from tests.integration.topics import kafka_settings, read_topic
from tests.unit.domain.facts import T0, intent, report

if TYPE_CHECKING:
    from operations.embedded import Endpoints
    from streaming.settings import KafkaSettings

EVENTS = [OutboxEvent(f"{n:032x}", "fill", f"C{n % 7}", b'{"n": %d}' % n, None) for n in range(500)]

_WRITES_AND_WAITS = """
import sys, time
from ledger.db.outbox_event import OutboxEvent
from streaming.producing_process import ApartWriter
from streaming.settings import KafkaSettings
writer = ApartWriter(KafkaSettings(bootstrap=sys.argv[1], topic_prefix=sys.argv[2]), "spiffe://test")
writer.open()
print(writer._child.pid, flush=True)
writer.write([OutboxEvent("0" * 32, "fill", "C1", b"{}", None)], set())
time.sleep(60)
"""


@pytest.fixture
def kafka(endpoints: Endpoints, topic_prefix: str) -> KafkaSettings:
    settings = kafka_settings(endpoints, topic_prefix)
    for topic in OUTBOUND:
        Broker(settings).partitions(topic)
    return settings


def producers() -> set[int]:
    """List the producers' processes that this one has started."""
    return {child for child in family(os.getpid()) if is_producer(child)}


def is_producer(pid: int) -> bool:
    """Whether a process is there, and a producer's."""
    try:
        return b"streaming.producing_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_it_writes_what_a_writer_in_the_process_writes(kafka: KafkaSettings) -> None:
    apart = ApartWriter(kafka, "spiffe://test")
    apart.open()
    found = {(FILL_EVENT, EVENTS[0].event_id)}
    assert apart.write(EVENTS[:250], found) == {FILL_EVENT: 249, AUDIT_EVENT: 250}
    assert apart.write(EVENTS[:250], set(), frozenset({FILL_EVENT})) == {FILL_EVENT: 250}
    apart.abandon()
    within = TopicWriter(kafka, "spiffe://test")
    within.open()
    assert within.write(EVENTS[250:], set()) == {FILL_EVENT: 250, AUDIT_EVENT: 250}
    messages = read_topic(kafka, AUDIT_EVENT)
    assert sorted(m.event_id for m in messages) == [event.event_id for event in EVENTS]
    ids = {event.event_id for event in EVENTS[:250]}
    ways: list[set[tuple[str, int, tuple[str, ...]]]] = [set(), set()]
    for m in messages:
        ways[m.event_id in ids].add((m.key, m.partition, tuple(m.headers)))
    assert ways[0] == ways[1]
    assert 0 < max(apart.tails.values()) <= 500


def test_the_next_one_fences_it_and_it_says_so(kafka: KafkaSettings) -> None:
    first, second = ApartWriter(kafka, "spiffe://test"), ApartWriter(kafka, "spiffe://test")
    first.open()
    first.write(EVENTS[:1], set())
    second.open()
    with pytest.raises(PublishError, match=r"(?i)fenced|newer"):
        first.write(EVENTS[1:2], set())
    second.write(EVENTS[2:3], set())
    assert {m.event_id for m in read_topic(kafka, AUDIT_EVENT)} == {EVENTS[0].event_id, EVENTS[2].event_id}
    for writer in (first, second):
        writer.abandon()


def test_a_broker_that_cannot_be_reached_is_an_error(kafka: KafkaSettings) -> None:
    writer = ApartWriter(kafka.model_copy(update={"bootstrap": "127.0.0.1:1"}), "spiffe://test")
    with pytest.raises(PublishError):
        writer.open()
    writer.abandon()


async def test_each_event_is_published_once_though_the_process_is_killed_again_and_again(
    world: World,  # noqa: F811
) -> None:
    world.make_writer = ApartWriter
    killed: set[int] = set()
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(LETTER)
        for number in range(4):
            await world.land(intent(f"C{number}", f"M{number}"))
            for fill in range(25):
                await world.land(report(f"E{number}-{fill}", cl_ord_id=f"M{number}", qty="0.01", at=T0))
            for pid in producers() - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await until(lambda: bool(producers() - killed), seconds=20)
        await world.live(publisher)
        await world.check()
    assert len(killed) >= 4
    await until(lambda: not producers(), seconds=10)


async def test_a_process_that_hangs_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(publisher, "LONGEST_SECONDS", 3.0)
    monkeypatch.setattr(publishing_session, "LONGEST_SECONDS", 3.0)
    world.make_writer = ApartWriter
    async with world.publishing() as publishing:
        await world.live(publishing)
        await world.land(intent("C1", "M1"))
        await world.live(publishing)
        (hung,) = producers()
        os.kill(hung, signal.SIGSTOP)
        await world.land(report("E1", cl_ord_id="M1", qty="0.01", at=T0))
        await until(lambda: not is_producer(hung))
        await world.live(publishing)
        await world.check()


def test_what_ends_by_an_error_leaves_no_core() -> None:
    """The interpreter's own end aborts where a thread waits for standard input."""
    opening = Opening("127.0.0.1:1", "", "t", {"socket.timeout.ms": "1000", "transaction.timeout.ms": "1000"}, "x")
    arguments = [sys.executable, "-m", "streaming.producing_child"]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        send(child.stdin, opening)
        assert receive(child.stdout) is not None
        assert child.wait(timeout=10) == 1
        assert b"Fatal" not in child.stderr.read()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_it_ends_when_its_parent_does(kafka: KafkaSettings, how: signal.Signals) -> None:
    arguments = [sys.executable, "-c", _WRITES_AND_WAITS, kafka.bootstrap, kafka.topic_prefix]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220  for a moment
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_producer(child)
        parent.send_signal(how)
        parent.wait()
        await until(lambda: not is_producer(child))


def test_a_fault_in_it_is_one_of_the_streaming_process(kafka: KafkaSettings) -> None:
    arguments = [sys.executable, "-c", _WRITES_AND_WAITS, kafka.bootstrap, kafka.topic_prefix]
    environment = {**os.environ, SWITCH: "1", VARIABLE: "publisher.before_commit:1"}
    began = time.monotonic()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as parent:
        _, said = parent.communicate(timeout=50)
    assert parent.returncode == -signal.SIGKILL, f"after {time.monotonic() - began:.1f} s: {said!r}"
    assert b"fault point publisher.before_commit" in said
    assert read_topic(kafka, AUDIT_EVENT) == []
