"""What an archive says of itself: a signed note beside it, enough to open and judge it with Postgres gone."""

from __future__ import annotations

from datetime import date, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from execution_assets.archives.errors import ArchiveError
from trust.errors import NoteError
from trust.locked_store import Stored
from trust.notes import open_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.archives.records import Part
    from trust.notes import NoteKey, Signer

_TITLE = "execution-agent/archive-manifest/v1"
OBJECTS, MANIFESTS, KEYS, ACCESSES = "archives", "manifests", "keys", "accesses"  # KEYS alone is not locked
HOLDS, VERIFIERS = "holds", "verifiers"


class ArchivedObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: which version of which object, its bytes' SHA-256, and the digest of its rows."""

    table: str
    key: str
    version: str
    sha256: str
    size: int
    rows: int
    digest: str
    key_id: str
    schema_version: int

    @property
    def stored(self) -> Stored:
        """Give where it is."""
        return Stored(self.key, self.version, self.sha256, self.size)

    @property
    def material_key(self) -> str:
        """Give where its key material is, which a rotation replaces."""
        return f"{KEYS}/{self.key}.json"


class PassedOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object under the name of a revision that was no manifest of ours as far as its writer knew.

    ``sha256`` is empty where it could not be read, or was too large to be a manifest.
    """

    key: str
    version: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One revision of what is kept of a day at a venue. ``previous``: SHA-256 of the revision before it.

    ``venues`` and ``before`` are the calendar, as it was when this was written: all venues of which the day had
    records, and the last day before it that had any (None: none in the month before). ``passed_over`` is what lay
    under the numbers between the revision before it and this one; None in manifests that are older than this list.
    """

    record_class: str
    trade_date: date
    venue: str
    revision: int
    created_at: datetime
    retain_until: datetime
    previous: str | None
    objects: tuple[ArchivedObject, ...]
    venues: tuple[str, ...] = ()
    before: date | None = None
    passed_over: tuple[PassedOver, ...] | None = None

    @property
    def rows(self) -> int:
        """How many rows its files have."""
        return sum(found.rows for found in self.objects)

    @property
    def size(self) -> int:
        """How many bytes its files have."""
        return sum(found.size for found in self.objects)

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each table's rows."""
        return {found.table: found.digest for found in self.objects}

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.record_class} {self.trade_date} {self.venue} revision {self.revision}"

    @property
    def key(self) -> str:
        """Give the object key of the manifest itself."""
        return manifest_key(self.record_class, self.trade_date, self.venue, self.revision)


class Listed(msgspec.Struct, frozen=True):
    """A manifest as stored: what it says, where it is with the SHA-256 of its note, the key that signed it."""

    manifest: Manifest
    stored: Stored
    signed_by: str = ""


def manifest_prefix(record_class: str, day: date | str, venue: str | None = None) -> str:
    """Give what the keys of a day's manifests begin with."""
    return f"{MANIFESTS}/{record_class}/{day}/" + ("" if venue is None else f"{quote(venue, safe='')}/")


def manifest_key(record_class: str, day: date, venue: str, revision: int) -> str:
    """Give the key of one revision: who writes it first has it."""
    return f"{manifest_prefix(record_class, day, venue)}{revision:04d}.note"


def object_key(part: Part, revision: int, attempt: str, table: str) -> str:
    """Give the key of a file; ``attempt`` keeps two writers of one revision apart."""
    venue = quote(part.venue, safe="")
    return f"{OBJECTS}/{part.record_class}/{part.day}/{venue}/r{revision:04d}-{attempt}/{table}.parquet"


def write_manifest(manifest: Manifest, signer: Signer) -> bytes:
    """Give the signed note."""
    text = f"{_TITLE}\n{msgspec.json.encode(manifest).decode()}\n"
    return sign_note(text, [signer]).encode()


def read_manifest(note: bytes, key: str, verifiers: Sequence[NoteKey]) -> tuple[Manifest, NoteKey]:
    """Read a note that was found under ``key``; give the manifest, and the key that signed it.

    Raises ``NoteError`` where no known key has signed it, ``ArchiveError`` where it is another one's manifest.
    """
    text = note.decode("utf-8", "replace")
    title, _, content = open_note(text, verifiers).partition("\n")
    if title != _TITLE:
        raise ArchiveError(f"{key}: {_TITLE} is required in its first line, was {title!r}")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{key}: it cannot be read: {error}") from error
    if manifest.key != key:
        raise ArchiveError(f"{key}: it is the manifest of {manifest.key}, put under another name")
    return manifest, next(verifier for verifier in verifiers if is_signed(text, verifier))


def is_signed(note: str, key: NoteKey) -> bool:
    """Whether this key has signed a note."""
    try:
        open_note(note, [key])
    except NoteError:
        return False
    return True


def digest_of_note(note: bytes) -> str:
    """Give what the next revision calls this one."""
    return sha256(note).hexdigest()
