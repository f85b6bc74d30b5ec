"""What of a log lies where nobody can rewrite it: its checkpoints and its tiles, in a locked bucket.

Unfinished tiles change each second and would stay for years: the bucket has those below one checkpoint now and
then, which make all that is older provable from the bucket alone.

Who may write to the bucket cannot change what is there, but can put other things over, before and beside it: a
delete marker hides a version and deletes none, so versions are read and never what a plain listing shows; of a
checkpoint's name the first version counts that is signed by the log; of a tile's name the first one, unless a
signed note of the log says that another one is. Each such thing is told, and stops nothing.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from trust.errors import AlreadyStoredError, NoteError, StoreError, UnreadableError
from trust.growing import Growing, edge_of
from trust.log_keys import LogKeys
from trust.merkle import HASH_BYTES
from trust.notes import Checkpoint, NoteKey, open_note, parse_checkpoint, sign_note
from trust.tiles import WIDTH_BITS, Tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from trust.locked_store import LockedStore, Version
    from trust.notes import Signer

_DIGITS = 20  # keys in the order of sizes
_LARGEST = 16_384  # of a note; what is larger is none
_FAULTS = 1_000  # that are told: who puts more there has been heard of
_INSTEAD = "execution-agent/audit-tile/v1"


class BucketLog:
    """A log below ``prefix`` of a locked bucket; notes count only when one of ``keys`` has signed them.

    ``faults`` has what should not be there, each once; ``tell`` hears of it when it is found.
    """

    def __init__(
        self,
        store: LockedStore,
        prefix: str,
        origin: str,
        keys: Sequence[NoteKey],
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.store = store
        self.faults: dict[str, None] = {}
        self._prefix = prefix
        self._origin = origin
        self._keys = list(keys)
        self._tell = tell
        self.keys = LogKeys(store, prefix, origin, self._fault)

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return f"s3://{self.store.bucket}/{self._prefix}"

    def check(self) -> None:
        """Raise ``StoreError`` unless the bucket is there and locks objects."""
        self.store.check()

    def trust(self, keys: Sequence[NoteKey]) -> None:
        """Let notes count that these have signed, too."""
        self._keys += [key for key in keys if key not in self._keys]

    def put_checkpoint(self, note: str, retain_until: datetime) -> None:
        """Write a checkpoint; one of the same tree that is there, signed by another key, is as good.

        Raises ``NoteError`` where one that is there is of another tree: two roots over one size.
        """
        ours = self.opened(note)
        key = self._key(ours.size)
        try:
            self.store.put(key, note.encode(), retain_until)
        except AlreadyStoredError:
            if self.checkpoint(ours.size) is None:
                self.store.put_over(key, note.encode(), retain_until)
        held = self.checkpoint(ours.size)  # the store's word alone is not enough: what counts is what is read
        if held is None:
            raise StoreError(f"{self.place}: the checkpoint over {ours.size} events was written and is not there")
        if held != ours:
            raise NoteError(
                f"{self.place}: another root over {ours.size} events is signed and stored: {held.root.hex()}, "
                f"ours is {ours.root.hex()}"
            )

    def put_tile(self, tile: Tile, hashes: bytes, retain_until: datetime, signer: Signer) -> None:
        """Write a tile. Where something else has its name, it is written over, and a signed note says so."""
        key = self._prefix + tile.path
        try:
            self.store.put(key, hashes, retain_until)
        except AlreadyStoredError:
            if self.tile(tile) == hashes:
                return
            self.store.put_over(key, hashes, retain_until)
        if self.tile(tile) == hashes:
            return
        note = sign_note(_correction(self._origin, tile, hashes), [signer])
        place = self._correction_key(tile)
        try:
            self.store.put(place, note.encode(), retain_until)
        except AlreadyStoredError:
            self.store.put_over(place, note.encode(), retain_until)
        if self.tile(tile) != hashes:
            raise StoreError(f"{self.place}{tile.path} was written and is not there")

    def tile(self, tile: Tile) -> bytes | None:
        """Give a tile as it was first written; None where it is not there (yet)."""
        version = self._version(tile)
        return None if version is None else self._get(version)

    def put_edge(self, size: int, edge: Mapping[Tile, bytes], retain_until: datetime) -> None:
        """Write the unfinished tiles below the checkpoint over ``size`` events, which is there.

        Raises ``NoteError`` where they lead to another root, ``ProofError`` where one is missing.
        """
        checkpoint = self.checkpoint(size)
        if checkpoint is None or Growing(size, edge).root() != checkpoint.root:
            raise NoteError(f"{self.place}: the unfinished tiles below {size} events lead to another root")
        if self.edge(size) is None:
            content = b"".join(edge[tile] for tile in edge_of(size))
            self.store.put_over(self._edge_key(size), content, retain_until)

    def edge(self, size: int) -> dict[Tile, bytes] | None:
        """Give the unfinished tiles below a checkpoint: the first version that leads to its root."""
        checkpoint = None
        for version in self._versions(self._edge_key(size)):
            tiles = edge_of(size)
            if not self._has(version, sum(tile.width for tile in tiles) * HASH_BYTES):
                continue
            checkpoint = checkpoint or self.checkpoint(size)
            content, found = self._get(version), {}
            for tile in tiles:
                found[tile], content = content[: tile.width * HASH_BYTES], content[tile.width * HASH_BYTES :]
            if checkpoint is not None and Growing(size, found).root() == checkpoint.root:
                return found
            self._fault(f"{self.place}: {version.key} version {version.version} does not lead to what is signed")
        return None

    def edges(self, after: int = -1) -> Iterator[int]:
        """Give the sizes beyond ``after`` whose unfinished tiles something says to be."""
        yield from self._sized(f"{self._prefix}edge/", after, None)

    def checkpoint(self, size: int) -> Checkpoint | None:
        """Give the checkpoint over ``size`` entries; None for none. See ``note``."""
        note = self.note(size)
        return None if note is None else self.opened(note)

    def note(self, size: int) -> str | None:
        """Give the stored note over ``size`` entries: the oldest version that is this log's."""
        found = self._first(size)
        return None if found is None else found[1]

    def written(self, size: int) -> datetime | None:
        """Give when the store was given the note over ``size`` entries; None for none."""
        found = self._first(size)
        return None if found is None else found[0].written

    def _first(self, size: int) -> tuple[Version, str] | None:
        for version, note in self._notes(self._key(size)):
            try:
                found = self.opened(note)
            except NoteError as error:
                self._fault(f"{self.place}, checkpoint over {size} events: {error}")
                continue
            if found.size == size:
                return version, note
            self._fault(f"{self.place}, checkpoint over {size} events: it is the one over {found.size}")
        return None

    def sizes(self, after: int = -1, limit: int | None = None) -> Iterator[int]:
        """Give the sizes beyond ``after`` under whose name something is, in order."""
        yield from self._sized(f"{self._prefix}checkpoint/", after, limit)

    def newest(self, known: int = 0) -> Checkpoint | None:
        """Give the newest checkpoint; ``known`` is the size of one that should be there: the look begins there."""
        for sizes in ([*self.sizes(known - 1)], [*self.sizes()] if known else []):
            for size in reversed(sizes):
                if found := self.checkpoint(size):
                    return found
        return None

    def extend(self, first: int, last: int, size: int, retain_until: datetime) -> None:
        """Lock what proves leaves ``first`` to ``last`` below the checkpoint over ``size`` until then."""
        for place in (self._key(size), self._edge_key(size)):
            for version in self._versions(place):
                self.store.extend(place, version.version, retain_until)
        level = 0
        while size >> (WIDTH_BITS * (level + 1)):
            for number in range(first >> WIDTH_BITS * (level + 1), (last >> WIDTH_BITS * (level + 1)) + 1):
                for place in (self._prefix + Tile(level, number).path, self._correction_key(Tile(level, number))):
                    for version in self._versions(place):
                        self.store.extend(place, version.version, retain_until)
            level += 1
        self.keys.keep(retain_until)

    def look(self, after: int, until: int) -> None:
        """Find what should not be among the checkpoints over ``after`` to ``until`` events."""
        seen: dict[str, int] = {}
        for found in self.store.history(self._prefix + "checkpoint/", self._key(after) if after > 0 else ""):
            if found.key > self._key(until):
                break
            if found.is_marker:
                self._marked(found)
                continue
            seen[found.key] = seen.get(found.key, 0) + 1
            if seen[found.key] == 2:  # noqa: PLR2004
                self._fault(f"{self.place}: {found.key} was written over; the first that is the log's counts")

    def _version(self, tile: Tile) -> Version | None:
        size = tile.width * HASH_BYTES
        versions = [found for found in self._versions(self._prefix + tile.path) if self._has(found, size)]
        if not versions:
            return None
        if len(versions) > 1:
            self._fault(f"{self.place}{tile.path}: {len(versions)} versions are there, and one is written")
            for _, note in self._notes(self._correction_key(tile)):
                for version in versions:
                    if self._is_correction(note, tile, self._get(version)):
                        return version
        return versions[0]

    def _sized(self, start: str, after: int, limit: int | None) -> Iterator[int]:
        for key in self.store.keys(start, f"{start}{after:0{_DIGITS}d}" if after >= 0 else "", limit):
            digits = key.removeprefix(start)
            if len(digits) == _DIGITS and digits.isascii() and digits.isdigit():
                yield int(digits)
            else:
                self._fault(f"{self.place}: {key} is none of the log's: who has written it?")

    def opened(self, note: str) -> Checkpoint:
        """Read a note; raises ``NoteError`` unless it is of this log and of a known key."""
        found = parse_checkpoint(open_note(note, self._keys))
        if found.origin != self._origin:
            raise NoteError(f"the checkpoint is of {found.origin!r}, and this log is {self._origin!r}")
        return found

    def _notes(self, key: str) -> Iterator[tuple[Version, str]]:
        for version in self._versions(key):
            if version.size > _LARGEST:
                self._fault(
                    f"{self.place}: {key} version {version.version} has {version.size} bytes: it is no note"
                )
            else:
                yield version, self._get(version).decode("utf-8", "replace")

    def _versions(self, key: str) -> list[Version]:
        """Give the versions of a key, the oldest first; a delete marker among them is told."""
        versions = []
        for found in self.store.history(key):
            if found.key != key:
                break  # longer names come behind it
            if found.is_marker:
                self._marked(found)
            else:
                versions.append(found)
        return versions[::-1]

    def _has(self, version: Version, size: int) -> bool:
        if version.size != size:
            self._fault(
                f"{self.place}: {version.key} version {version.version} has {version.size} bytes, not {size}"
            )
        return version.size == size

    def _get(self, version: Version) -> bytes:
        try:
            return self.store.get(version.key, version.version)
        except UnreadableError as error:  # somebody else's: none of the log's bytes
            self._fault(f"{self.place}: {version.key} version {version.version}: {error}")
            return b""

    def _is_correction(self, note: str, tile: Tile, hashes: bytes) -> bool:
        try:
            return open_note(note, self._keys) == _correction(self._origin, tile, hashes)
        except NoteError as error:
            self._fault(f"{self.place}, which version of {tile.path}: {error}")
            return False

    def _marked(self, found: Version) -> None:
        self._fault(
            f"{self.place}: somebody has deleted {found.key} (marker {found.version}); what is locked is read"
        )

    def _fault(self, what: str) -> None:
        if what not in self.faults and len(self.faults) < _FAULTS:
            self.faults[what] = None
            self._tell(what)

    def _key(self, size: int) -> str:
        return f"{self._prefix}checkpoint/{size:0{_DIGITS}d}"

    def _edge_key(self, size: int) -> str:
        return f"{self._prefix}edge/{size:0{_DIGITS}d}"

    def _correction_key(self, tile: Tile) -> str:
        return f"{self._prefix}instead/{tile.path}"


def _correction(origin: str, tile: Tile, hashes: bytes) -> str:
    return f"{_INSTEAD}\n{origin}\n{tile.path}\n{sha256(hashes).hexdigest()}\n"
