"""How late a venue confirms: latencies over a sliding window, and how far the venue's clock is off from ours.

All times are UTC nanoseconds and all figures whole numbers: nothing is rounded on the way to a decision.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 4_096  # of the reports that a window holds: of more in its span the newest count
_BUCKET_NS = 60_000_000_000
_BUCKETS = 10
_PROOF = 3  # one report with a wrong time, or two, say nothing of the clock


def nearest_rank(ordered: Sequence[int], percent: int) -> int:
    """Give a percentile of sorted values by nearest rank: the least one that ``percent`` of them do not exceed.

    ``percent`` is from 1 to 100; raises ``IndexError`` where there are no values.
    """
    return ordered[-(-percent * len(ordered) // 100) - 1]


class Window:
    """Latencies (ns) of the reports of the last ``span_ns``, by when they were received."""

    def __init__(self, span_ns: int, late_ns: int) -> None:
        self._span_ns = span_ns
        self._late_ns = late_ns
        self._held: deque[tuple[int, int]] = deque(maxlen=LIMIT)
        self._late_in_a_row = 0
        self._late_since_ns = 0
        self._p95: int | None = None
        self._is_stale = False

    def __len__(self) -> int:
        return len(self._held)

    def add(self, received_ns: int, latency_ns: int) -> None:
        """Take up a report. One that is received out of turn counts from the place where it came."""
        self._held.append((received_ns, latency_ns))
        self._is_stale = True
        if latency_ns <= self._late_ns:
            self._late_in_a_row = 0
        else:
            self._late_since_ns = self._late_since_ns if self._late_in_a_row else received_ns
            self._late_in_a_row += 1

    def clear(self) -> None:
        """Begin anew."""
        self._held.clear()
        self._late_in_a_row = 0
        self._is_stale = True

    def expire(self, now_ns: int) -> None:
        """Let go of what is older than the span."""
        first = now_ns - self._span_ns
        while self._held and self._held[0][0] < first:
            self._held.popleft()
            self._is_stale = True

    @property
    def late_in_a_row(self) -> int:
        """How many of the newest reports were late, one after the other."""
        return min(self._late_in_a_row, len(self._held))

    @property
    def late_since_ns(self) -> int:
        """When the first of those was received."""
        return max(self._late_since_ns, self._held[-self.late_in_a_row][0]) if self.late_in_a_row else 0

    @property
    def first_ns(self) -> int:
        """When the oldest report was received; 0 without any."""
        return self._held[0][0] if self._held else 0

    @property
    def p95(self) -> int | None:
        """The 95th percentile by nearest rank; None without a report."""
        if self._is_stale:
            self._is_stale = False
            ordered = sorted(latency for _, latency in self._held)
            self._p95 = nearest_rank(ordered, 95) if ordered else None
        return self._p95


class ClockFilter:
    """Estimates the offset between a venue's clock and ours: the least (received - transact) of ten minutes.

    A minimum filter, as NTP's clock filter: the sample with the least delay says the most about the clock (RFC
    5905, section 10; D. L. Mills, "Internet time synchronization", 1991). It takes the third least: a report or
    two with a wrong time do not move it. Negative: the venue's clock is ahead, which is proven, for nothing is
    received before it happens. Positive: it is behind, or every report takes at least so long: one way alone
    cannot tell these apart.
    """

    def __init__(self) -> None:
        self._least: dict[int, list[int]] = {}
        self.offset_ns: int | None = None

    def add(self, received_ns: int, delay_ns: int) -> None:
        """Take up the delay of a report, received - transact."""
        bucket = received_ns // _BUCKET_NS
        least = self._least.get(bucket)
        if least is None:
            least = self._least[bucket] = []
            for old in [b for b in self._least if b <= bucket - _BUCKETS]:
                del self._least[old]
        elif len(least) == _PROOF:
            if delay_ns >= least[-1]:
                return
            least.pop()
        insort(least, delay_ns)
        merged = sorted(delay for bucket in self._least.values() for delay in bucket)
        self.offset_ns = merged[_PROOF - 1] if len(merged) >= _PROOF else None

    def correction_ns(self, limit_ns: int) -> int:
        """Give what to take off a delay: the offset where it is believed, else nothing.

        A clock that is ahead is corrected by all that is proven. One that seems to be behind by more than the
        limit is not believed to be: a venue that confirms everything late would look the same.
        """
        offset = self.offset_ns
        return offset if offset is not None and offset <= limit_ns else 0
