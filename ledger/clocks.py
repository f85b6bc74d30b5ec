"""The clocks: the system's; a simulation puts its own in their place.

Call them through the module (``clocks.time_ns()``), never by an imported name: that is the seam, and it costs
nothing. Tasks sleep by the event loop's own clock.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

time_ns: Callable[[], int] = time.time_ns  # UTC, nanoseconds since 1970
monotonic: Callable[[], float] = time.monotonic  # seconds


@contextmanager
def replaced(by_time_ns: Callable[[], int], by_monotonic: Callable[[], float]) -> Iterator[None]:
    """Let other clocks tell the time."""
    global time_ns, monotonic
    before = time_ns, monotonic
    time_ns, monotonic = by_time_ns, by_monotonic
    try:
        yield
    finally:
        time_ns, monotonic = before
