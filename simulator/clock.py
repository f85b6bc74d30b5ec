"""Run time to wall time, and how the wires write it."""

from __future__ import annotations

import time
from functools import lru_cache

import msgspec

SECOND = 1_000_000_000


class Clock(msgspec.Struct, frozen=True):
    """Maps ns since the start of the run onto the wall clock, compressed by ``speed``."""

    started_at: int
    speed: float = 1.0

    def wall(self, at: int) -> int:
        """Unix ns at which a moment of the run is due."""
        return self.started_at + (at if self.speed == 1.0 else round(at / self.speed))

    def now(self) -> int:
        """The moment of the run that is due now."""
        passed = time.time_ns() - self.started_at
        return passed if self.speed == 1.0 else round(passed * self.speed)


@lru_cache(maxsize=64)
def _second(seconds: int, layout: str) -> str:
    return time.strftime(layout, time.gmtime(seconds))


def rfc3339(wall: int) -> str:
    """UTC with nanoseconds."""
    seconds, fraction = divmod(wall, SECOND)
    return f"{_second(seconds, '%Y-%m-%dT%H:%M:%S')}.{fraction:09d}Z"


def fix_time(wall: int) -> str:
    """UTCTimestamp with microseconds: FIX 4.4 says milliseconds, venues under RTS 25 send finer."""
    seconds, fraction = divmod(wall, SECOND)
    return f"{_second(seconds, '%Y%m%d-%H:%M:%S')}.{fraction // 1000:06d}"
