"""The process's clock: the system's at the start, and then steady, whatever is done to the system's.

Latencies, grace times and deadlines compare times of now with times of before. When the system's clock is set, by
an hour say, all of them would be wrong by an hour at once: every venue late, every order overdue, every callback's
timestamp refused. So the time is read once and counted on by CLOCK_BOOTTIME, which nobody can set (and which,
unlike CLOCK_MONOTONIC, counts a suspended machine's time). NTP's slewing acts on both clocks. A step is told, and
taken over with the next start of the process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from ledger.domain.times import NANOS

if TYPE_CHECKING:
    from streaming.metrics import Metrics

_TOLD_NS = NANOS // 4  # a step this small moves no decision

log = structlog.get_logger()


class SteadyClock:
    """UTC in nanoseconds since 1970, as it was at ``anchor_ns`` before CLOCK_BOOTTIME's zero, counted on."""

    def __init__(self, anchor_ns: int | None = None) -> None:
        self.anchor_ns = time.time_ns() - _counted() if anchor_ns is None else anchor_ns
        self._told_ns = 0

    def time_ns(self) -> int:
        """Give the time."""
        return self.anchor_ns + _counted()

    def step_ns(self) -> int:
        """By how much the system's clock has been set since the start; forward is positive."""
        return time.time_ns() - self.time_ns()

    def look(self, metrics: Metrics) -> None:
        """Measure the step, and tell of a new one."""
        step_ns = self.step_ns()
        metrics.clock_step.set(step_ns / NANOS)
        if abs(step_ns - self._told_ns) > _TOLD_NS:
            self._told_ns = step_ns
            log.error(
                "the system's clock was set",
                seconds=round(step_ns / NANOS, 3),
                to_do="times go on as before; see that the clock is right, then start the process again",
            )


def _counted() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
