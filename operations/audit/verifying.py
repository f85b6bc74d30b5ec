"""The whole log worked out again from the rows, and compared with all that was ever said of it.

The rows give the leaves; the ledger's tiles, its checkpoints and the bucket's must agree. Who may write the ledger
can make the first two agree with anything, the bucket's checkpoints they cannot: what those say counts. The bucket
is read before the ledger: what it says was in the ledger then, also of a log that grows meanwhile.

The leaves of rows whose partition was dropped are those of the tiles, compared with the archives where these are
read; an event of the log has to say that they were dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from operations.audit.absent import Absent
from operations.audit.outside import Outside, look
from operations.audit.reading import known, opened
from operations.audit.walking import Walk, located, steps
from trust.errors import NoteError
from trust.merkle import Range, peaks
from trust.notes import open_note, parse_checkpoint
from trust.tiles import WIDTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from ledger.db.audit_entries import AuditRow
    from operations.audit.reading import Log
    from trust.bucket_log import BucketLog
    from trust.notes import NoteKey

_TOLD_EVERY = 50_000
_PROBLEMS = 20


class Verdict(msgspec.Struct):
    """What was compared, and what differs. ``first`` names the first row that is not what was logged.

    ``since``: leaves that were verified before, and whose root was compared. ``dropped``: leaves without rows, by
    day; ``archived`` of them were compared with the archives. ``unsigned``: leaves that no checkpoint covers yet.
    ``faults`` are what somebody has put into the bucket: they change nothing of the log.
    """

    origin: str = ""
    since: int = 0
    rows: int = 0
    leaves: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)
    archived: int = 0
    unsigned: int = 0
    waiting: int = 0
    root: str = ""
    checkpoints: int = 0
    bucket: str = "not asked"
    stored: int = 0
    stored_newest: int = 0
    stored_root: str = ""
    first: str | None = None
    problems: list[str] = msgspec.field(default_factory=list)
    faults: list[str] = msgspec.field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all agree."""
        return not self.problems

    def add(self, problem: str) -> None:
        """Note what differs; the first few are enough."""
        if len(self.problems) < _PROBLEMS:
            self.problems.append(problem)


def verify(
    url: str,
    bucket: BucketLog | None,
    keys: Sequence[NoteKey],
    sample: int,
    tell: Callable[[int, int], None],
    *,
    since: int = 0,
    scan: int | None = None,
    archived: Callable[[date], Iterator[AuditRow]] | None = None,
) -> Verdict:
    """Compare everything from the checkpoint over ``since`` events on, which was verified before.

    ``sample`` is how many of the bucket's checkpoints are compared, beside the newest; 0 is all. ``scan``: see
    ``look``. ``archived`` gives the events that the archive of a day has. Raises ``AuditError``, ``TrustError``
    and ``psycopg.Error`` where something cannot be read.
    """
    outside = Outside.of_none() if bucket is None else look(bucket, known(url), sample, since, scan)
    with opened(url) as log:
        return compare(log, outside, keys, tell, since=since, archived=archived)


def compare(
    log: Log,
    outside: Outside,
    keys: Sequence[NoteKey],
    tell: Callable[[int, int], None],
    *,
    since: int = 0,
    archived: Callable[[date], Iterator[AuditRow]] | None = None,
) -> Verdict:
    """Compare one log with what was read of the bucket before. Raises as ``verify``."""
    return _Comparison(log, outside, keys, since, archived).run(tell)


class _Comparison:
    def __init__(
        self,
        log: Log,
        outside: Outside,
        keys: Sequence[NoteKey],
        since: int,
        archived: Callable[[date], Iterator[AuditRow]] | None,
    ) -> None:
        grown = log.grown()
        self._log, self._outside, self._grown = log, outside, grown
        self._stored = dict(outside.checkpoints)
        self._verdict = Verdict(
            origin=grown.origin, since=since, leaves=grown.size, bucket=outside.place,
            stored=len(self._stored), problems=list(outside.problems),
        )  # fmt: skip
        if self._stored:
            newest = self._stored[max(self._stored)]
            self._verdict.stored_newest, self._verdict.stored_root = newest.size, newest.root.hex()
        self._base = since - since % WIDTH  # a tile's begin: from there the rows are read
        before = [log.node(height, index) for height, index in peaks(self._base)]
        self._walk = Walk(Range(self._base, before), self._base // WIDTH)
        self._signed = _Signed(log, keys, grown.origin, max(since, self._base) - 1, self._verdict)
        self._absent = Absent(log, self._base, archived, self._verdict)

    def run(self, tell: Callable[[int, int], None]) -> Verdict:
        """Walk along all leaves."""
        verdict, walk = self._verdict, self._walk
        expected = self._log.leaves(self._base // WIDTH)
        self._reached()
        for step in steps(self._log, self._base):
            told = next(expected, None)
            walk.take(step.leaf)
            if step.row is not None:
                verdict.rows += step.index >= verdict.since
                self._absent.hear(step.row)
            else:
                self._absent.compare(step)
            if told != step.leaf and verdict.first is None:
                verdict.first = step.named
                verdict.add(f"the ledger's tiles have another leaf there, or none: {verdict.first}")
            self._reached()
            if walk.size % _TOLD_EVERY == 0:
                tell(walk.size, self._grown.size)
        self._ended()
        return verdict

    def _reached(self) -> None:
        verdict, walk = self._verdict, self._walk
        self._signed.at(walk.range)
        external = self._stored.pop(walk.size, None)
        if external is None or external.root == walk.range.root():
            return
        verdict.add(f"the bucket's checkpoint over {external.size} events has another root than the rows")
        bucket = self._outside.bucket
        if walk.size == self._base:
            verdict.first = verdict.first or f"before leaf {self._base}: verify the whole log"
        elif bucket is not None:
            verdict.first = located(self._log, bucket, walk, self._base) or verdict.first
        if verdict.first is None:  # in the tile that is not full, and the ledger's was made to agree
            verdict.first = f"between leaves {walk.full_until} and {external.size - 1}"
        self._stored = {}

    def _ended(self) -> None:
        verdict, walk, grown = self._verdict, self._walk, self._grown
        verdict.root = walk.range.root().hex()
        verdict.waiting = self._log.beyond(grown.last)
        verdict.faults = [] if self._outside.bucket is None else list(self._outside.bucket.faults)
        if walk.size != grown.size:
            verdict.add(f"the tree has {grown.size} leaves, and there are {walk.size} rows up to its last one")
            verdict.first = verdict.first or f"leaf {walk.size}: its row is gone"
        if self._stored:
            largest = max(self._stored)
            verdict.add(f"the bucket has a checkpoint over {largest} events, and there are {walk.size} rows")
            verdict.first = verdict.first or f"leaf {walk.size}: its row is gone"
        self._signed.end()
        verdict.unsigned = max(0, grown.size - self._signed.newest)
        self._absent.end()


class _Signed:
    """The ledger's own checkpoints, each compared when the rows have come so far."""

    def __init__(self, log: Log, keys: Sequence[NoteKey], origin: str, after: int, verdict: Verdict) -> None:
        self._left = log.checkpoints(after)
        self._keys, self._origin, self._verdict = keys, origin, verdict
        self._next = next(self._left, None)
        self.newest = 0

    def at(self, reached: Range) -> None:
        while self._next is not None and self._next[0] <= reached.size:
            size, root, note = self._next
            self.newest = size
            self._verdict.checkpoints += 1
            if root != reached.root():
                self._verdict.add(f"the ledger's checkpoint over {size} events has another root than the rows")
            try:
                found = parse_checkpoint(open_note(note, self._keys))
            except NoteError as error:
                self._verdict.add(f"the ledger's checkpoint over {size} events: {error}")
            else:
                if (found.origin, found.size, found.root) != (self._origin, size, root):
                    self._verdict.add(f"the ledger's checkpoint over {size} events: its note says something else")
            self._next = next(self._left, None)

    def end(self) -> None:
        if self._next is not None:
            self._verdict.add(f"a checkpoint of the ledger is over {self._next[0]} events: there are fewer rows")
