"""What the engine has asked the venue to send again, in pieces no larger than the venue allows.

QuickFIX asks once for everything from the first missing number on (EndSeqNo(16)=0) and then waits, however long,
for what it has asked for. A venue may refuse that, or send a part: CME gives 2,500 messages a ResendRequest. So
the request is cut on its way out, and when its last number is in, or nothing has come for some seconds, two
things together make the engine ask for what is still missing, and for nothing where nothing is: it may ask again
(SendRedundantResendRequests), and a TestRequest's answer shows it the venue's number. Which numbers were missing
at the start needs not be known, nor what the venue's limit is.

Standard library only: the engine's process imports this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STALLED_SECONDS = 5.0  # nothing of what was asked for has come for so long: ask again


class Resends:
    """One session's open request. ``again`` makes the engine ask anew for what is missing; ``limit`` 0 is none.

    ``on_change`` hears whether messages are missing, when that changes, and from which number on, or up to which
    there are none now (0: that is not known).
    """

    def __init__(self, limit: int, again: Callable[[], None], on_change: Callable[[bool, int], None]) -> None:
        self._limit = limit
        self._again = again
        self._on_change = on_change
        self._end = 0  # the last number of the piece that was asked for; 0: to the end
        self._moved_at = 0.0
        self.is_open = False

    def asked(self, begin: int, now: float) -> int:
        """Note a ResendRequest on its way out; give the EndSeqNo that it is to have, 0 is to the end."""
        self._end = begin + self._limit - 1 if self._limit else 0
        self._moved_at = now
        self._set(begin, is_open=True)
        return self._end

    def took(self, last: int, now: float, *, is_again: bool) -> None:
        """Note a report that was processed in its turn, or a gap fill up to ``last``.

        ``is_again``: it is a PossDup. One that is not, beyond the piece, was sent live: nothing is missing before
        it. Within the piece it says nothing: venues send what was never on the wire without the flag.
        """
        if not self.is_open:
            return
        self._moved_at = now
        if 0 < self._end <= last:
            self._end = 0
            self._again()
        elif not is_again and last > self._end:
            self._set(last - 1, is_open=False)

    def tick(self, now: float) -> None:
        """Ask again where what was asked for does not come."""
        if self.is_open and now - self._moved_at >= STALLED_SECONDS:
            self._moved_at = now
            self._again()

    def ended(self, number: int = 0) -> None:
        """Forget the request: a Heartbeat has come in its turn, which is never sent again, so nothing is missing.

        ``number`` is its own. Or, 0, the connection is gone, and the next Logon shows what is missing.
        """
        self._end = 0
        self._set(max(0, number - 1), is_open=False)

    def _set(self, number: int, *, is_open: bool) -> None:
        if is_open is not self.is_open:
            self.is_open = is_open
            self._on_change(is_open, number)
