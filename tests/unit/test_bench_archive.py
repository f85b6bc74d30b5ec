"""What ``make bench-archive`` says of its figures, and what it exits with."""

from __future__ import annotations

from datetime import date

import pytest

from bench.archive import judged
from bench.day import orders
from bench.machine import BROKEN, KEPT, NOT_PROVEN, outcome
from ledger.domain.records import Captured

WELL = {"archive_seconds": 19.9, "memory_mb": 600, "new_revisions_again": 0, "wrong": 0, "share_of_others": 0.5}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({}, KEPT, id="in time, however busy the machine is"),
        pytest.param({"archive_seconds": 20.1}, NOT_PROVEN, id="too slow, and others had half of the processors"),
        pytest.param({"archive_seconds": 20.1, "share_of_others": 0.05}, BROKEN, id="too slow by itself"),
        pytest.param({"memory_mb": 1_001}, BROKEN, id="memory is nobody else's"),
        pytest.param({"new_revisions_again": 1}, BROKEN, id="the same day again is another revision"),
        pytest.param({"archive_seconds": 20.1, "wrong": 1}, BROKEN, id="wrong, and too slow"),
    ],
)
def test_a_missed_promise_is_told_from_one_that_is_not_proven(changes: dict[str, float], code: int) -> None:
    assert outcome(judged({**WELL, **changes}, 1_000_000)) == code


@pytest.mark.parametrize("venues", [1, 3])
def test_a_day_is_of_as_many_venues_as_asked_for(venues: int) -> None:
    facts = orders(date(2026, 11, 20), 200, venues)
    told = {fact.report.venue if isinstance(fact, Captured) else fact.venue for fact in facts}
    assert told == {f"V{n}" for n in range(venues)}


def test_the_time_is_of_the_number_of_fills() -> None:
    figures = {**WELL, "archive_seconds": 2.1, "share_of_others": 0.0}
    assert outcome(judged(figures, 100_000)) == BROKEN
    assert outcome(judged({**figures, "archive_seconds": 1.9}, 100_000)) == KEPT
