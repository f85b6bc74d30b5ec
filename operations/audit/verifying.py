"""The whole log worked out again from the rows, and compared with all that was ever said of it.

The rows give the leaves; the ledger's tiles, its checkpoints and the bucket's must agree. Who may write the ledger
can make the first two agree with anything, the bucket's checkpoints they cannot: what those say counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from trust.errors import NoteError, StoreError, TrustError
from trust.merkle import HASH_BYTES, Range, leaf_hash
from trust.notes import open_note, parse_checkpoint
from trust.tiles import WIDTH, WIDTH_BITS, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ledger.db.audit_entries import AuditRow
    from operations.audit.reading import Log
    from trust.bucket_log import BucketLog
    from trust.notes import Checkpoint, NoteKey

_TOLD_EVERY = 50_000
_PROBLEMS = 20


class Verdict(msgspec.Struct):
    """What was compared, and what differs. ``first`` names the first row that is not what was logged."""

    origin: str = ""
    rows: int = 0
    leaves: int = 0
    waiting: int = 0
    root: str = ""
    checkpoints: int = 0
    bucket: str = "not asked"
    stored: int = 0
    stored_newest: int = 0
    first: str | None = None
    problems: list[str] = msgspec.field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all agree."""
        return not self.problems

    def add(self, problem: str) -> None:
        """Note what differs; the first few are enough."""
        if len(self.problems) < _PROBLEMS:
            self.problems.append(problem)


class _Walk:
    """The rows in the order of the leaves, and the tree over them."""

    def __init__(self) -> None:
        self.range = Range()
        self.tiles: list[bytes] = []  # the root over each full tile of leaves
        self.starts: list[tuple[int, int]] = []  # (xid, position) of each tile's first row
        self.leaves: list[tuple[bytes, AuditRow]] = []  # those of the tile that is not full

    def take(self, row: AuditRow) -> bytes:
        """Append a row; give its leaf's hash."""
        leaf = leaf_hash(row.entry())
        if self.range.size % WIDTH == 0:
            self.starts.append((row.xid, row.position))
            self.leaves = []
        self.leaves.append((leaf, row))
        for height, _, node in self.range.append(leaf):
            if height == WIDTH_BITS:
                self.tiles.append(node)
        return leaf


def verify(
    log: Log, bucket: BucketLog | None, keys: Sequence[NoteKey], sample: int, tell: Callable[[int, int], None]
) -> Verdict:
    """Compare everything. ``sample`` is how many of the bucket's checkpoints are, beside the newest; 0 is all.

    Raises ``AuditError``, ``StoreError`` and ``psycopg.Error`` where something cannot be read.
    """
    grown = log.grown()
    verdict = Verdict(origin=grown.origin, leaves=grown.size)
    stored = {} if bucket is None else _stored(bucket, grown.stored_size, sample, verdict)
    walk = _Walk()
    expected, signed = log.leaves(), _Signed(log, keys, grown.origin, verdict)
    signed.at(walk.range)
    for row in log.rows(grown.last):
        leaf = walk.take(row)
        told = next(expected, None)
        if told != leaf and verdict.first is None:
            verdict.first = _named(walk.range.size - 1, row)
            verdict.add(f"the ledger's tiles have another leaf there, or none: {verdict.first}")
        signed.at(walk.range)
        external = stored.pop(walk.range.size, None)
        if external is not None and external.root != walk.range.root():
            verdict.add(f"the bucket's checkpoint over {external.size} events has another root than the rows")
            if bucket is not None:
                verdict.first = _located(log, bucket, walk, grown.last) or verdict.first
            if verdict.first is None:  # in the tile that is not full, and the ledger's was made to agree
                verdict.first = f"between leaves {len(walk.tiles) * WIDTH} and {external.size - 1}"
            stored = {}
        if walk.range.size % _TOLD_EVERY == 0:
            tell(walk.range.size, grown.size)
    verdict.rows, verdict.root = walk.range.size, walk.range.root().hex()
    verdict.waiting = log.beyond(grown.last)
    if verdict.rows != grown.size:
        verdict.add(f"the tree has {grown.size} leaves, and there are {verdict.rows} rows up to its last one")
        verdict.first = verdict.first or f"leaf {verdict.rows}: its row is gone"
    if stored:
        verdict.add(f"the bucket has a checkpoint over {max(stored)} events, and there are {verdict.rows} rows")
        verdict.first = verdict.first or f"leaf {verdict.rows}: its row is gone"
    signed.end()
    return verdict


class _Signed:
    """The ledger's own checkpoints, each compared when the rows have come so far."""

    def __init__(self, log: Log, keys: Sequence[NoteKey], origin: str, verdict: Verdict) -> None:
        self._left = log.checkpoints()
        self._keys, self._origin, self._verdict = keys, origin, verdict
        self._next = next(self._left, None)

    def at(self, reached: Range) -> None:
        while self._next is not None and self._next[0] <= reached.size:
            size, root, note = self._next
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


def _stored(bucket: BucketLog, known: int, sample: int, verdict: Verdict) -> dict[int, Checkpoint]:
    """Read the bucket's newest checkpoint, and others from the whole of its history."""
    verdict.bucket = bucket.place
    newest = bucket.newest(known)
    if newest is None:
        verdict.add(f"{bucket.place} has no checkpoint: nothing says what the ledger once was")
        return {}
    if sample:
        sizes = {s for n in range(sample) for s in bucket.sizes(n * newest.size // sample - 1, 1)}
    else:
        sizes = set(bucket.sizes())
    found: dict[int, Checkpoint] = {}
    for size in sorted(sizes | {newest.size}):
        try:
            checkpoint = bucket.checkpoint(size)
        except NoteError as error:
            verdict.add(f"{bucket.place}, checkpoint over {size} events: {error}")
            continue
        if checkpoint is not None:
            found[size] = checkpoint
    verdict.stored, verdict.stored_newest = len(found), newest.size
    return found


def _located(log: Log, bucket: BucketLog, walk: _Walk, last: tuple[int, int]) -> str | None:
    """Name the first row that is not what the bucket's tiles have; None where these do not say."""
    try:
        for number, ours in _differing(bucket, walk.tiles):
            theirs = bucket.tile(Tile(0, number))
            if theirs is None or _root(theirs) == ours:
                continue
            rows = _rows_from(log, walk.starts[number], last)
            for place in range(WIDTH):
                row = next(rows)
                if leaf_hash(row.entry()) != theirs[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                    return _named(number * WIDTH + place, row)
    except (StoreError, TrustError):
        return None
    return None


def _differing(bucket: BucketLog, ours: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give the tiles that differ by the bucket's tiles of the level above, or all where there is none yet."""
    for upper in range(-(-len(ours) // WIDTH)):
        theirs = bucket.tile(Tile(1, upper)) if (upper + 1) * WIDTH <= len(ours) else None
        for number in range(upper * WIDTH, min(len(ours), (upper + 1) * WIDTH)):
            place = (number % WIDTH) * HASH_BYTES
            if theirs is None or theirs[place : place + HASH_BYTES] != ours[number]:
                yield number, ours[number]


def _rows_from(log: Log, start: tuple[int, int], last: tuple[int, int]) -> Iterator[AuditRow]:
    return log.rows(last, (start[0], start[1] - 1))


def _root(hashes: bytes) -> bytes:
    whole = Range()
    whole.extend(hashes[n : n + HASH_BYTES] for n in range(0, len(hashes), HASH_BYTES))
    return whole.root()


def _named(leaf: int, row: AuditRow) -> str:
    event = f"{row.event_id.hex()}, {row.event_type}"
    return f"leaf {leaf}, where the row at position {row.position} is (event {event})"
