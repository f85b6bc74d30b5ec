"""Which sequences of a venue were handed over: the contiguous prefix, what lies ahead of it, the holes. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

MAX_ISLANDS = 10_000  # more separate pieces ahead than this is no stream with a hole; memory is bounded


class Hole(NamedTuple):
    """Sequences that are missing, both ends included."""

    first: int
    last: int


class Sequences:
    """Everything up to ``contiguous`` was handed over; beyond it are islands with holes before them."""

    def __init__(self, contiguous: int) -> None:
        self.contiguous = contiguous
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._announced = contiguous

    @property
    def highest(self) -> int:
        """The last sequence that was handed over."""
        return self._ends[-1] if self._ends else self.contiguous

    @property
    def is_overgrown(self) -> bool:
        """Whether it is better to start over from the contiguous end."""
        return len(self._starts) > MAX_ISLANDS

    def announce(self, last: int) -> None:
        """The venue says it has sent up to ``last``: what is not here by now is missing."""
        self._announced = max(self._announced, last)

    def add(self, sequence: int) -> bool:
        """Note a sequence that is handed over; whether the contiguous end moved."""
        if sequence == self.contiguous + 1 and not self._starts:
            self.contiguous = sequence
            return True
        if sequence <= self.contiguous:
            return False
        self._add_ahead(sequence)
        if self._starts[0] != self.contiguous + 1:
            return False
        self.contiguous = self._ends.pop(0)
        del self._starts[0]
        return True

    def holes(self) -> list[Hole]:
        """What is missing, in order."""
        found: list[Hole] = []
        before = self.contiguous
        for start, end in zip(self._starts, self._ends, strict=True):
            found.append(Hole(before + 1, start - 1))
            before = end
        if self._announced > before:
            found.append(Hole(before + 1, self._announced))
        return found

    def _add_ahead(self, sequence: int) -> None:
        at = bisect_right(self._starts, sequence)
        if at and sequence <= self._ends[at - 1]:
            return
        joins_before = at > 0 and self._ends[at - 1] == sequence - 1
        joins_after = at < len(self._starts) and self._starts[at] == sequence + 1
        if joins_before and joins_after:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_before:
            self._ends[at - 1] = sequence
        elif joins_after:
            self._starts[at] = sequence
        else:
            self._starts.insert(at, sequence)
            self._ends.insert(at, sequence)
