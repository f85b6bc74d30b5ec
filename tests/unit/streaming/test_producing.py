from __future__ import annotations

from typing import Any

import pytest

from ledger.db.outbox_event import OutboxEvent
from streaming.producing import TopicWriter
from streaming.settings import KafkaSettings
from streaming.topics import DEAD_LETTERS


class Recorder:
    """Stands where librdkafka's producer does, to see what it is handed."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, dict[str, Any]]] = []

    def poll(self, _: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def commit_transaction(self, _: float) -> None: ...

    def produce(self, topic: str, value: bytes, _key: str, *, headers: list[tuple[str, Any]], **_: object) -> None:
        self.sent.append((topic, value, dict(headers)))


@pytest.mark.parametrize(("size", "omitted"), [(10, False), (900_000, False), (900_001, True), (8 << 20, True)])
def test_a_dead_letter_that_a_broker_would_refuse_goes_out_without_its_bytes(size: int, omitted: bool) -> None:
    writer = TopicWriter(KafkaSettings(bootstrap="127.0.0.1:1"), "spiffe://test")
    recorder = Recorder()
    writer._producer = recorder  # type: ignore[assignment]
    writer.write([OutboxEvent("id", "dead_letter", "id", b'{"why": 1}', b"x" * size)], set())
    value, headers = next((v, h) for t, v, h in recorder.sent if t == DEAD_LETTERS)
    assert headers["ce_reason"] == b'{"why": 1}'
    assert (value == b'{"why": 1}') is omitted
    assert headers.get("ce_omitted") == (str(size).encode() if omitted else None)
    assert max(len(value) for _, value, _ in recorder.sent) <= 900_000
