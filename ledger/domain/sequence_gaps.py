"""Gaps in a feed's numbers, told when they are filled: by messages that were sent again, or by nothing.

A gap that lasts makes the feed out (``failover``, cause ``gap``). Each gap, however short, is told here once it is
over, with the numbers that the venue has passed over: which of them were reports it does not say, so whoever
audits a day compares exactly these with the venue's list. FIX 4.4, volume 2, SequenceReset: a gap fill is for
session messages, and for what the sender chooses not to send again.
"""

from __future__ import annotations

import msgspec

from ledger.domain.events import control_event
from ledger.domain.halts import seconds
from ledger.domain.identity import identify
from ledger.domain.records import AuditEvent  # noqa: TC001  of a struct's method
from ledger.domain.times import format_utc

SEQUENCE_GAP_FILLED = "sequence_gap_filled"
_SHOWN = 20  # pieces that were passed over; of more the number is said
_NOTHING = "nothing to do: all of it was sent again"
_COMPARE = "more than the session's own messages? compare the venue's list of fills with ours (look-back)"


class GapFilled(msgspec.Struct, frozen=True, tag="gap_filled"):
    """A feed has no gap from ``first`` to ``last`` any more, both included.

    ``since_ns`` is when it was noticed, ``passed_over`` the pieces that the venue does not send again.
    """

    venue: str
    feed: str
    first: int
    last: int
    since_ns: int
    at_ns: int
    passed_over: tuple[tuple[int, int], ...] = ()

    def event(self) -> AuditEvent:
        """Build the event. Its id is of the gap: landed again after a crash, it is the same."""
        at = (str(self.first), str(self.last), str(self.since_ns), str(self.at_ns))
        event_id = identify(SEQUENCE_GAP_FILLED, self.venue, self.feed, *at)
        numbers = sum(last - first + 1 for first, last in self.passed_over)
        detail = {
            "venue": self.venue,
            "feed": self.feed,
            "first": str(self.first),
            "last": str(self.last),
            "since": format_utc(self.since_ns),
            "filled_at": format_utc(self.at_ns),
            "gap_seconds": seconds(self.at_ns - self.since_ns),
            "passed_over": _pieces(self.passed_over),
            "passed_over_numbers": str(numbers),
            "remedy": _COMPARE if numbers else _NOTHING,
        }
        return control_event(SEQUENCE_GAP_FILLED, event_id, self.venue, event_id, detail)


class Gaps:
    """What one feed misses, from the first sign of it to the last of it: one gap at a time. No clock."""

    def __init__(self, venue: str, feed: str) -> None:
        self._venue, self._feed = venue, feed
        self._first = self._last = self._since_ns = 0
        self._passed: list[tuple[int, int]] = []

    @property
    def is_open(self) -> bool:
        """Whether something is missing."""
        return self._first > 0

    @property
    def last(self) -> int:
        """The last number that is known to be missing; 0 where it is not known."""
        return self._last

    def miss(self, first: int, last: int, now_ns: int) -> None:
        """Note that numbers from ``first`` on are missing, as far as is known up to ``last``."""
        if not self.is_open:
            self._first, self._since_ns = first, now_ns
        self._last = max(self._last, last)

    def pass_over(self, first: int, last: int, now_ns: int) -> GapFilled | None:
        """Note numbers that do not come; give the gap that they are, unless they are a part of one."""
        if self.is_open:
            self._passed.append((first, last))
            return None
        return GapFilled(self._venue, self._feed, first, last, now_ns, now_ns, ((first, last),))

    def fill(self, now_ns: int, last: int = 0) -> GapFilled | None:
        """End the gap, where there is one; ``last`` is up to where nothing is missing."""
        if not self.is_open:
            return None
        last = max(self._last, last, self._first)
        found = GapFilled(self._venue, self._feed, self._first, last, self._since_ns, now_ns, tuple(self._passed))
        self._forget()
        return found

    def break_off(self, now_ns: int) -> GapFilled | None:
        """Forget the gap: the connection has ended, and the next one shows what is missing.

        What was passed over is not asked for again: it is given.
        """
        passed, since_ns = tuple(self._passed), self._since_ns
        self._forget()
        if not passed:
            return None
        return GapFilled(self._venue, self._feed, passed[0][0], passed[-1][1], since_ns, now_ns, passed)

    def _forget(self) -> None:
        self._first = self._last = self._since_ns = 0
        self._passed = []


def _pieces(passed_over: tuple[tuple[int, int], ...]) -> str | None:
    said = [str(first) if first == last else f"{first}-{last}" for first, last in passed_over[:_SHOWN]]
    if len(passed_over) > _SHOWN:
        said.append(f"and {len(passed_over) - _SHOWN} more")
    return ", ".join(said) or None
