"""The object store, the key service and the signer together: list archives, open their files."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.manifest import (
    MANIFESTS,
    VERIFIERS,
    ArchivedObject,
    Listed,
    digest_of_note,
    manifest_prefix,
    read_manifest,
)
from execution_assets.archives.records import TABLES
from execution_assets.archives.settings import TRANSIT
from trust.clients import clients_of, secret_of
from trust.envelope import read_material, unseal
from trust.errors import KeyUnavailableError, NoteError, UnreadableError, WrongKeyError
from trust.keys import FileKeys, TransitKeys
from trust.locked_store import LockedStore, Stored
from trust.log_keys import LogKeys
from trust.notes import parse_key
from trust.signing import FileSigner, TransitSigner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date, datetime

    import pyarrow as pa
    import pyarrow.dataset as pad
    from mypy_boto3_s3 import S3Client

    from execution_assets.archives.settings import ArchiveSettings
    from trust.clients import Clients
    from trust.envelope import KeyMaterial
    from trust.keys import KeyService
    from trust.notes import NoteKey
    from trust.signing import RotatedSigner


ORIGIN = "execution-agent/archive"  # what the keys in the bucket are of
_MOST_BYTES = 16 << 20  # of a manifest; what is larger is none, and not read
_REMEDY = (
    ": if it is ours, name the key that signed it in EXECUTION_AGENT_ARCHIVE_VERIFIERS; else find out who may "
    "write into the bucket, and delete it once no lock keeps it"
)


class Doubt(msgspec.Struct, frozen=True):
    """Why an object is no manifest of ours, and where it is; without its SHA-256 where it was not read."""

    why: str
    stored: Stored


class Manifests(msgspec.Struct, frozen=True):
    """What lies below the manifests: those that count by day, venue and revision; why others do not, by key."""

    listed: list[Listed]
    doubtful: dict[str, Doubt]

    def doubts(self) -> list[str]:
        """Give a line for each object that is no manifest of ours, and what to do about it."""
        return [f"{key}: {doubt.why}{_REMEDY}" for key, doubt in self.doubtful.items()]


class Library:
    """All archives of one bucket. ``verifiers``: keys that count in any case (pinned).

    Reading takes public keys alone: the pinned ones and those in the bucket that these vouch for, and where none
    is pinned the first key in the bucket; and those of the signer, where it can be asked.
    """

    def __init__(
        self, store: LockedStore, keys: KeyService, signer: RotatedSigner, verifiers: Sequence[NoteKey] = ()
    ) -> None:
        self.store, self.keys, self.signer = store, keys, signer
        self.notes: list[str] = []
        self.doubts: list[str] = []  # of what was listed so far
        self._pinned = list(verifiers)
        self._published = LogKeys(store, f"{VERIFIERS}/", ORIGIN, self.notes.append)

    @cached_property
    def verifiers(self) -> list[NoteKey]:
        """The public keys whose signatures count. Raises ``StoreError``."""
        found = self._published.trusted(self._pinned)
        try:
            found += self.signer.keys
        except KeyUnavailableError as error:
            self.notes.append(f"the signing key is not asked for its public half: {error}")
        return list(dict.fromkeys(found))

    def publish_key(self, retain_until: datetime) -> None:
        """Keep the signer's public key in the bucket, locked, so that reading never needs the private one.

        Raises ``TrustError``.
        """
        self._published.publish(self.signer, retain_until)

    def listed(self, record_class: str, first: date, last: date, venues: Sequence[str] = ()) -> list[Listed]:
        """Give all revisions of the days [first, last], by day, venue and revision.

        What is no manifest of ours counts for nothing, and is told in ``doubts``. Raises ``StoreError``.
        """
        found = self.manifests(record_class, first, last)
        self.doubts += [doubt for doubt in found.doubts() if doubt not in self.doubts]
        return [o for o in found.listed if not venues or o.manifest.venue in venues]

    def left_out(self) -> dict[str, str]:
        """Say in a receipt, and in its event, that something below the manifests was left out."""
        return {"left_out": str(len(self.doubts))} if self.doubts else {}

    def manifests(self, record_class: str, first: date, last: date, venue: str | None = None) -> Manifests:
        """Read what lies below the manifests of the days [first, last]. Raises ``StoreError``."""
        found = Manifests([], {})
        for stored in self._stored(record_class, first, last):
            if venue is not None and not stored.key.startswith(manifest_prefix(record_class, first, venue)):
                continue
            opened = self._opened(stored)
            if isinstance(opened, Doubt):
                found.doubtful[stored.key] = opened
            else:
                found.listed.append(opened)
        return found

    def _stored(self, record_class: str, first: date, last: date) -> list[Stored]:
        """Give what was first under each key; not read yet, its SHA-256 is left empty."""
        common = os.path.commonprefix([f"{first}/", f"{last}/"])  # noqa: RUF071  a key is text, no path
        oldest: dict[str, Stored] = {}
        for key, version, size in self.store.versions(f"{MANIFESTS}/{record_class}/{common}"):
            day = key.split("/")[2]
            if str(first) <= day <= str(last):
                oldest[key] = Stored(key, version, "", size)  # they come newest first
        return [oldest[key] for key in sorted(oldest)]

    def _opened(self, stored: Stored) -> Listed | Doubt:
        if stored.size > _MOST_BYTES:
            return Doubt(f"at most {_MOST_BYTES:,} bytes are required, was {stored.size:,}", stored)
        try:
            note = self.given(stored.key, stored.version)
        except UnreadableError as error:
            return Doubt(str(error), stored)
        stored = stored._replace(sha256=digest_of_note(note))
        try:
            manifest, key = read_manifest(note, stored.key, self.verifiers)
        except (NoteError, ArchiveError) as error:
            return Doubt(str(error).removeprefix(f"{stored.key}: "), stored)
        return Listed(manifest, stored, str(key))

    def given(self, key: str, version: str) -> bytes:
        """Read a version of an object that anybody may have put there.

        Raises ``UnreadableError`` where the store does not give this one, and ``StoreError`` where it gives none.
        """
        try:
            return self.store.get(key, version)
        except UnreadableError:
            self.verifiers  # noqa: B018  raises where not even our own keys are given: that is no fault of the object
            raise

    def material(self, held: ArchivedObject) -> KeyMaterial:
        """Read a file's key material as it is now."""
        return read_material(self.store.get(held.material_key))

    def dataset(self, held: ArchivedObject) -> pad.Dataset:
        """Give a file as a dataset that is decrypted as it is read, by ranges, into memory alone."""
        import pyarrow as pa  # noqa: PLC0415  0.3 s that loading the definitions must not cost
        import pyarrow.dataset as pad  # noqa: PLC0415

        properties = unseal(self.keys, self.material(held), held.key)
        options = pad.ParquetFragmentScanOptions(decryption_properties=properties)
        layout = pad.ParquetFileFormat(default_fragment_scan_options=options)
        fragment = layout.make_fragment(pa.PythonFile(self.store.open(held.stored), "r"))
        return pad.FileSystemDataset([fragment], fragment.physical_schema, layout)

    def tables(self, held: ArchivedObject) -> Iterator[pa.Table]:
        """Give a file's rows, a row group at a time.

        Raises ``WrongKeyError`` where it was altered, or is not the object that its name says.
        """
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        properties = unseal(self.keys, self.material(held), held.key)
        try:
            with pq.ParquetFile(self.store.open(held.stored), decryption_properties=properties) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise WrongKeyError(f"{held.key}: it does not open as this object: {error}") from error


def newest(listed: Sequence[Listed]) -> list[Listed]:
    """Give the last revision of each class, day and venue."""
    last = {(o.manifest.record_class, o.manifest.trade_date, o.manifest.venue): o for o in listed}
    return list(last.values())


def objects_of(listed: Sequence[Listed], table: str) -> list[ArchivedObject]:
    """Give the files of one table."""
    if not any(table in tables for tables in TABLES.values()):
        raise ArchiveError(f"table {table!r}: there are {', '.join(t for ts in TABLES.values() for t in ts)}")
    return [held for found in listed for held in found.manifest.objects if held.table == table]


def open_library(settings: ArchiveSettings, environment: Mapping[str, str] = os.environ) -> Library:
    """Connect to what the settings name, with the addresses and credentials of ``environment``.

    What the environment does not say is the AWS SDK's and Vault's own default. Raises ``TrustError``.
    """
    clients = clients_of(environment)
    logged_in = clients.vault
    signer: RotatedSigner
    keys: KeyService
    if settings.keys.startswith(TRANSIT):
        mount, _, key = settings.keys.removeprefix(TRANSIT).rpartition("/")
        keys = TransitKeys(logged_in, key, mount)
    else:
        keys = FileKeys(Path(settings.keys))
    if settings.signer.startswith(TRANSIT):
        mount, _, key = settings.signer.removeprefix(TRANSIT).rpartition("/")
        signer = TransitSigner(settings.name, logged_in, key, mount)
    else:
        signer = FileSigner(settings.name, Path(settings.signer))
    store = LockedStore(s3_client(environment, clients), settings.bucket)
    return Library(store, keys, signer, [parse_key(text) for text in settings.verifiers])


def s3_client(environment: Mapping[str, str], clients: Clients) -> S3Client:
    """Make a client of the object store, which shows who we are where ``clients`` says so."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    own = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    # an address of one's own is mostly one without a name for every bucket
    s3: Any = {"addressing_style": "path"} if own else {}
    shown = clients.s3_options() if clients.of("s3") else {}
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=own,
        aws_access_key_id=_key("AWS_ACCESS_KEY_ID", environment),
        aws_secret_access_key=_key("AWS_SECRET_ACCESS_KEY", environment),
        region_name=environment.get("AWS_DEFAULT_REGION"),
        verify=shown.pop("verify", None),
        config=Config(**shown, s3=s3, retries={"total_max_attempts": 3, "mode": "standard"}, connect_timeout=5),
    )
    return client


def _key(variable: str, environment: Mapping[str, str]) -> str | None:
    """Give a key of the object store: as it is, or by reference; None leaves it to the SDK's own sources."""
    text = environment.get(variable)
    return None if text is None else secret_of(text, environment)
