"""Gaps in a feed's numbers, told when they are over: filled by messages that were sent again, or by nothing.

A gap that lasts makes the feed out (``failover``, cause ``gap``). Each gap, however short, is told here once it is
over, with the numbers that the venue has passed over: which of them were reports it does not say, so whoever
audits a day compares exactly these with the venue's list. They are also told at once, each piece by itself: a feed
may stop in the middle of a gap, and what was passed over before is not asked for again. FIX 4.4, volume 2,
SequenceReset: a gap fill is for session messages, and for what the sender chooses not to send again.

A gap that is open when the venue starts its numbers over is lost: nobody can ask for the old numbers any more.
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
_LOST = "the venue's numbers started over: compare its list of fills with ours since then (look-back)"


class GapFilled(msgspec.Struct, frozen=True, tag="gap_filled"):
    """A feed has no gap from ``first`` to ``last`` any more, both included.

    ``since_ns`` is when it was noticed, ``passed_over`` the pieces that the venue does not send again. ``is_lost``
    where its numbers start over: ``last`` is then the last that is known to be missing, and there may be more.
    """

    venue: str
    feed: str
    first: int
    last: int
    since_ns: int
    at_ns: int
    passed_over: tuple[tuple[int, int], ...] = ()
    is_lost: bool = False

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
            "remedy": _LOST if self.is_lost else _COMPARE if numbers else _NOTHING,
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

    def pass_over(self, first: int, last: int, now_ns: int) -> GapFilled:
        """Note numbers that do not come, and give them: told now, they are not forgotten with the connection."""
        since_ns = now_ns
        if self.is_open:
            self._passed.append((first, last))
            since_ns = self._since_ns
        return GapFilled(self._venue, self._feed, first, last, since_ns, now_ns, ((first, last),))

    def fill(self, now_ns: int, last: int = 0) -> GapFilled | None:
        """End the gap, where there is one; ``last`` is up to where nothing is missing."""
        if not self.is_open:
            return None
        last = max(self._last, last, self._first)
        found = GapFilled(self._venue, self._feed, self._first, last, self._since_ns, now_ns, tuple(self._passed))
        self._forget()
        return found

    def lose(self, taken: int, now_ns: int) -> GapFilled | None:
        """End the gap, where there is one, unfilled: the venue's numbers start over, and these do not come.

        ``taken`` is up to where everything has come.
        """
        if not self.is_open:
            return None
        first, since_ns = max(self._first, taken + 1), self._since_ns
        last = max(self._last, first)
        self._forget()
        missing = ((first, last),)
        return GapFilled(self._venue, self._feed, first, last, since_ns, now_ns, missing, is_lost=True)

    def _forget(self) -> None:
        self._first = self._last = self._since_ns = 0
        self._passed = []


def _pieces(passed_over: tuple[tuple[int, int], ...]) -> str | None:
    said = [str(first) if first == last else f"{first}-{last}" for first, last in passed_over[:_SHOWN]]
    if len(passed_over) > _SHOWN:
        said.append(f"and {len(passed_over) - _SHOWN} more")
    return ", ".join(said) or None
