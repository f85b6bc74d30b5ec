"""The leaves without rows: which of them the log itself says to have been dropped, and what their archives have.

Whoever deletes a row can write down beside the log that it went with a partition. So each range of such leaves
has to be one that the event of a drop names, and that event has to be in the log: its row, or its day's archive.
"""

from __future__ import annotations

from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from operations.audit.reading import Dropped
from trust.merkle import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.db.audit_entries import AuditRow
    from operations.audit.reading import Log
    from operations.audit.verifying import Verdict
    from operations.audit.walking import Step

DROP = "archive_partition_dropped"
_NAMED = 3  # ranges of a day


class Absent:
    """What is known of the leaves from ``base`` on that have no row.

    ``archived`` gives a day's archived events, in the order of their leaves; None where these are not read.
    """

    def __init__(
        self, log: Log, base: int, archived: Callable[[date], Iterator[AuditRow]] | None, verdict: Verdict
    ) -> None:
        self._log, self._base, self._archived, self._verdict = log, base, archived, verdict
        self._pieces = log.dropped()
        self._days: dict[date, Iterator[AuditRow]] = {}
        self._told: set[Dropped] = set()

    def hear(self, row: AuditRow) -> None:
        """Take up what an event of the log says of a drop."""
        if row.event_type == DROP:
            self._told.update(told_by(row))

    def compare(self, step: Step) -> None:
        """Count a leaf without a row, and compare it with its archive where these are read."""
        verdict, day = self._verdict, step.day
        verdict.dropped[str(day)] = verdict.dropped.get(str(day), 0) + 1
        if self._archived is None:
            return
        if day not in self._days:
            self._days[day] = self._opened(self._archived, day)
        row = next(self._days[day], None)
        if row is None or leaf_hash(row.entry()) != step.leaf:
            if verdict.first is None:
                verdict.add(f"the archive of {day} has another event there, or none: {step.named}")
            verdict.first = verdict.first or step.named
        else:
            verdict.archived += 1
            self.hear(row)

    def end(self) -> None:
        """Tell what the archives have beyond the leaves, and which leaves no event says to have been dropped."""
        for day, left in self._days.items():
            if more := sum(1 for _ in left):
                self._verdict.add(f"the archive of {day} has {more} events more than the log's leaves of that day")
        for row in self._log.waiting_drops():
            self.hear(row)
        # the event of a drop comes behind all leaves that it names: the walk has passed it
        untold = [piece for piece in self._pieces if piece.last >= self._base and piece not in self._told]
        for day, pieces in groupby(sorted(untold, key=lambda piece: piece.day), lambda piece: piece.day):
            self._untold(day, [*pieces])

    def _opened(self, archived: Callable[[date], Iterator[AuditRow]], day: date) -> Iterator[AuditRow]:
        """Open a day's archive where the walk enters it: it may have begun within the day."""
        rows, base = archived(day), self._base
        below = (min(p.last + 1, base) - p.first for p in self._pieces if p.day == day and p.first < base)
        for _ in range(sum(below)):
            next(rows, None)
        return rows

    def _untold(self, day: date, pieces: list[Dropped]) -> None:
        named = ", ".join(f"{piece.first} to {piece.last}" for piece in pieces[:_NAMED])
        more = f" and {len(pieces) - _NAMED} ranges more" if len(pieces) > _NAMED else ""
        hint = "" if self._archived is not None else ": give --archives, if that event's own day was dropped too"
        self._verdict.add(
            f"the rows of leaves {named}{more} are gone, and no event that is left says that they were dropped "
            f"with {day}{hint}"
        )
        if self._verdict.first is None:
            self._verdict.first = f"leaf {pieces[0].first}, of the partition of {day} as the ledger says"


def told_by(row: AuditRow) -> Iterator[Dropped]:
    """Give the leaves that the event of a drop names; none where it is not the event of audit events dropped."""
    try:
        detail = msgspec.json.decode(row.body, type=_Event).detail
        if (detail.record_class, detail.known_by) == ("audit", "login"):
            for piece in detail.leaves.split():
                first, _, last = piece.partition("-")
                yield Dropped(int(first), int(last), date.fromisoformat(detail.trade_date))
    except ValueError:  # msgspec's are ValueErrors: an event that says nothing
        return


class _Detail(msgspec.Struct):
    record_class: str = ""
    known_by: str = ""
    trade_date: str = ""
    leaves: str = ""


class _Event(msgspec.Struct):
    detail: _Detail
