"""What others had of the machine, and what a missed promise then proves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.machine import BROKEN, KEPT, NOT_PROVEN, cpu_seconds, family, outcome, verdict

_WORKS = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


@pytest.mark.parametrize(
    ("is_kept", "share", "said"),
    [
        (True, 0.0, "kept"),
        (True, 0.9, "kept"),
        (False, 0.0, "broken"),
        (False, 0.1, "broken"),
        (False, 0.11, "not proven"),
    ],
)
def test_a_promise_that_is_missed_is_broken_where_nobody_else_had_the_processors(
    is_kept: bool, share: float, said: str
) -> None:
    assert verdict(is_kept=is_kept, share_of_others=share) == said


def test_one_broken_promise_is_the_outcome_whatever_else_there_is() -> None:
    assert outcome({"a": "kept", "b": "kept"}) == KEPT
    assert outcome({"a": "kept", "b": "not proven"}) == NOT_PROVEN
    assert outcome({"a": "broken", "b": "not proven", "c": "kept"}) == BROKEN


def test_a_child_that_has_ended_counts_as_ours() -> None:
    before = cpu_seconds(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", _WORKS])
    assert child.pid in family(os.getpid())
    child.wait()
    assert cpu_seconds(os.getpid()) - before >= 0.25
    assert child.pid not in family(os.getpid())
