"""A session without hours on an engine that wants hours. Standard library only: the child imports this.

QuickFIX C++ starts a session's numbers over, by itself and without telling the venue, whenever the store's
creation time is not in the same StartTime-EndTime range as now: with 00:00:00-00:00:00 at every midnight, as it
then compares the dates. The venue would be refused for good. NonStopSession is QuickFIX/J's. But the rule for a
range over midnight (``TimeRange::isInSameRange``) takes any creation time that is up to a day *ahead* of now to
be in the same range. Measured over the boundary of such a range: the expected number stays at 500, and falls to
1 without the trick (tests/integration/test_fix_feed.py). The range ends one nanosecond before it begins, so no
time is outside of it. The creation time is kept ahead, written anew several times a day;
``Session.refresh`` makes the engine read it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_AHEAD = timedelta(hours=23)
_EVERY_SECONDS = 6 * 3600.0


class Schedule:
    """The ``.session`` file of a store, which holds nothing but the creation time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether the creation time comes near."""
        return time.monotonic() >= self._due

    def postpone(self) -> None:
        """Set the creation time ahead; the engine has to refresh."""
        fresh = self._path.with_suffix(".session-new")
        fresh.write_text((datetime.now(UTC) + _AHEAD).strftime("%Y%m%d-%H:%M:%S"), encoding="ascii")
        fresh.replace(self._path)
        self._due = time.monotonic() + _EVERY_SECONDS
