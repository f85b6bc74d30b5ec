"""The recent snapshots in memory: a window a symbol, and how far back it is complete."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.records import Snapshot

_Entry = tuple[int, str, "Snapshot"]  # time, id, snapshot: sorts as the benchmark rule does


_AFTER_ANY_ID = "\U0010ffff" * 2


class SnapshotWindow:
    """One symbol's last snapshots, by (time, id). Complete from ``covered_from`` (ns) on."""

    __slots__ = ("_entries", "_ids", "_limit", "covered_from")

    def __init__(self, covered_from: int = 0, limit: int = 1 << 60) -> None:
        self.covered_from = covered_from
        self._limit = limit
        self._entries: list[_Entry] = []
        self._ids: set[str] = set()

    def add(self, snapshot: Snapshot) -> None:
        """Take a snapshot up; the oldest half goes when there are twice as many as the limit."""
        if snapshot.at_ns < self.covered_from or snapshot.snapshot_id in self._ids:
            return
        insort(self._entries, (snapshot.at_ns, snapshot.snapshot_id, snapshot))
        self._ids.add(snapshot.snapshot_id)
        if len(self._entries) > 2 * self._limit:
            gone = self._entries[: -self._limit]
            self._entries = self._entries[-self._limit :]
            self._ids.difference_update(entry[1] for entry in gone)
            self.covered_from = self._entries[0][0]

    def has(self, snapshot_id: str) -> bool:
        """Whether the window holds this snapshot."""
        return snapshot_id in self._ids

    def next_after(self, snapshot: Snapshot) -> int | None:
        """Give the time of the window's next later snapshot, None when there is none."""
        key: Any = (snapshot.at_ns, snapshot.snapshot_id)
        index = bisect_right(self._entries, key)
        if index < len(self._entries) and self._entries[index][1] == snapshot.snapshot_id:
            index += 1  # the snapshot itself: an entry sorts after its own (time, id)
        return self._entries[index][0] if index < len(self._entries) else None

    def at_or_before(self, at_ns: int) -> Snapshot | None:
        """Find the last snapshot of the window at or before a time."""
        after: Any = (at_ns, _AFTER_ANY_ID)  # a shorter tuple compares with entries by time and id
        index = bisect_right(self._entries, after)
        return self._entries[index - 1][2] if index else None


class SnapshotBook:
    """The windows of all symbols, and single older snapshots that were fetched for one question."""

    def __init__(self, covered_from: int = 0, limit: int = 5_000) -> None:
        self._covered_from = covered_from
        self._limit = limit
        self._windows: dict[str, SnapshotWindow] = {}
        self._anchors: dict[tuple[str, int], Snapshot | None] = {}

    def window(self, symbol: str) -> SnapshotWindow:
        """Give the symbol's window, made when first asked for."""
        found = self._windows.get(symbol)
        if found is None:
            found = self._windows[symbol] = SnapshotWindow(self._covered_from, self._limit)
        return found

    def add(self, snapshots: Iterable[Snapshot]) -> None:
        """Take snapshots up and forget the anchors: each was for one batch."""
        for snapshot in snapshots:
            self.window(snapshot.symbol).add(snapshot)
        self._anchors.clear()

    def covers(self, symbol: str, at_ns: int) -> bool:
        """Whether ``at_or_before`` knows all it needs for this question."""
        found = self._windows.get(symbol)
        covered_from = found.covered_from if found is not None else self._covered_from
        return at_ns >= covered_from or (symbol, at_ns) in self._anchors

    def anchor(self, symbol: str, at_ns: int, snapshot: Snapshot | None) -> None:
        """Remember what the database answered to a question that the window does not cover."""
        self._anchors[symbol, at_ns] = snapshot

    def at_or_before(self, symbol: str, at_ns: int) -> Snapshot | None:
        """Find the last snapshot at or before a time."""
        if self._anchors and (symbol, at_ns) in self._anchors:
            return self._anchors[symbol, at_ns]
        found = self._windows.get(symbol)
        return found.at_or_before(at_ns) if found is not None else None
