"""What the audit log's bench says of its promises: kept, broken, or not proven where others had the processors."""

from __future__ import annotations

import pytest

from bench.audit_log import judged
from bench.machine import BROKEN, KEPT, NOT_PROVEN, outcome

GOOD = {
    "grow_events_per_core_second": 20_000.0, "grow_share_of_others": 0.0,
    "apart_events_per_second": 20_000.0, "apart_most_seconds": 1.0, "apart_share_of_others": 0.0,
    "topic_most_seconds": 1.0, "topic_share_of_others": 0.0,
    "proof_p95_ms": 50.0, "proof_share_of_others": 0.0,
}  # fmt: skip
MISSED = [
    ("grow", {"grow_events_per_core_second": 19_999.0}),
    ("apart", {"apart_most_seconds": 1.01}),
    ("apart", {"apart_events_per_second": 19_999.0}),
    ("topic", {"topic_most_seconds": 1.01}),
    ("proof", {"proof_p95_ms": 50.1}),
]


def test_what_is_kept_is_kept_on_a_busy_machine_too() -> None:
    busy = {name: 0.8 if name.endswith("share_of_others") else value for name, value in GOOD.items()}
    for figures in (GOOD, busy):
        assert set(judged(figures).values()) == {"kept"}
        assert outcome(judged(figures)) == KEPT


@pytest.mark.parametrize(("name", "change"), MISSED)
def test_what_is_missed_is_broken_where_nobody_disturbed(name: str, change: dict[str, float]) -> None:
    verdicts = judged({**GOOD, **change})
    assert verdicts[name] == "broken"
    assert outcome(verdicts) == BROKEN
    busy = judged({**GOOD, **change, f"{name}_share_of_others": 0.5})
    assert busy[name] == "not proven"
    assert outcome(busy) == NOT_PROVEN
