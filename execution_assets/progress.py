"""How far something long has come, said now and then: rate and time left."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SECONDS = 5.0


class Progress:
    """Counts towards ``total`` and says so every few seconds. ``clock`` gives seconds."""

    def __init__(self, what: str, total: int, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._what = what
        self._total = total
        self._say = say
        self._clock = clock
        self._began = self._told = clock()
        self._done = 0

    def advance(self, count: int) -> None:
        """Take up what was done since."""
        self._done += count
        now = self._clock()
        if now - self._told < EVERY_SECONDS:
            return
        self._told = now
        rate = self._done / (now - self._began)
        left = max(0, self._total - self._done) / rate
        self._say(f"{self._what} {self._done:,} of {self._total:,}, {rate:,.0f}/s, {left:,.0f} s left")
