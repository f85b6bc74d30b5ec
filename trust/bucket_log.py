"""What of a log lies where nobody can rewrite it: its checkpoints and its full tiles, in a locked bucket.

Partial tiles change each second and would stay for years: the bucket has none, the checkpoints cover them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trust.errors import AlreadyStoredError, NoteError, StoreError
from trust.notes import Checkpoint, NoteKey, open_note, parse_checkpoint
from trust.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from trust.locked_store import LockedStore, Stored

_DIGITS = 20  # keys in the order of sizes


class BucketLog:
    """A log below ``prefix`` of a locked bucket; notes count only when one of ``keys`` has signed them."""

    def __init__(self, store: LockedStore, prefix: str, origin: str, keys: Sequence[NoteKey]) -> None:
        self._store = store
        self._prefix = prefix
        self._origin = origin
        self._keys = keys

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return f"s3://{self._store.bucket}/{self._prefix}"

    def check(self) -> None:
        """Raise ``StoreError`` unless the bucket is there and locks objects."""
        self._store.check()

    def put_checkpoint(self, note: str, retain_until: datetime) -> Stored | None:
        """Write a checkpoint; None where one of the same tree is there, signed by another key.

        Raises ``NoteError`` where the one that is there is of another tree: two roots over one size.
        """
        ours = self.opened(note)
        key = self._key(ours.size)
        try:
            return self._store.put(key, note.encode(), retain_until)
        except AlreadyStoredError:
            held = self.checkpoint(ours.size)
            if held is None or held != ours:
                raise NoteError(
                    f"{self.place}: another root over {ours.size} events is signed and stored: "
                    f"{'' if held is None else held.root.hex()}, ours is {ours.root.hex()}"
                ) from None
            return None

    def put_tile(self, tile: Tile, hashes: bytes, retain_until: datetime) -> Stored:
        """Write a full tile; raises ``AlreadyStoredError`` where other hashes are there."""
        assert tile.width == WIDTH, "partial tiles are not kept"
        return self._store.put(self._prefix + tile.path, hashes, retain_until)

    def tile(self, tile: Tile) -> bytes | None:
        """Give a full tile as it was first written; None where it is not there (yet)."""
        first = self._store.first(self._prefix + tile.path)
        return None if first is None else self._store.get(first.key, first.version)

    def checkpoint(self, size: int) -> Checkpoint | None:
        """Give the checkpoint over ``size`` entries as it was first written; None for none. See ``note``."""
        note = self.note(size)
        return None if note is None else self.opened(note)

    def note(self, size: int) -> str | None:
        """Give the stored note over ``size`` entries, the oldest version of it."""
        first = self._store.first(self._key(size))
        if first is None:
            return None
        return self._store.get(first.key, first.version).decode("utf-8", "replace")

    def sizes(self, after: int = -1, limit: int | None = None) -> Iterator[int]:
        """Give the sizes of the checkpoints beyond ``after``, in order."""
        start = self._prefix + "checkpoint/"
        for key in self._store.keys(start, self._key(after) if after >= 0 else "", limit):
            digits = key.removeprefix(start)
            if len(digits) != _DIGITS or not digits.isdigit():
                raise StoreError(f"{self.place}: {key} is no checkpoint: who has written it?")
            yield int(digits)

    def newest(self, known: int = 0) -> Checkpoint | None:
        """Give the newest checkpoint; ``known`` is the size of one that should be there: the look begins there."""
        sizes = [*self.sizes(known - 1)] or [*self.sizes()]
        return self.checkpoint(sizes[-1]) if sizes else None

    def opened(self, note: str) -> Checkpoint:
        """Read a note; raises ``NoteError`` unless it is of this log and of a known key."""
        found = parse_checkpoint(open_note(note, self._keys))
        if found.origin != self._origin:
            raise NoteError(f"the checkpoint is of {found.origin!r}, and this log is {self._origin!r}")
        return found

    def _key(self, size: int) -> str:
        return f"{self._prefix}checkpoint/{size:0{_DIGITS}d}"
