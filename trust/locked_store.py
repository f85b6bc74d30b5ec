"""Objects that nobody can change or delete before their time: S3 with Object Lock in COMPLIANCE mode.

Written once (``If-None-Match``), with a SHA-256 that the server checks; read back by version, so that an object
put over another's key later does not matter.
"""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from trust.errors import AlreadyStoredError, StoreError, UnreadableError
from trust.store_errors import told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_MODE: Final = "COMPLIANCE"
LARGEST_BYTES = 5 * 10**9  # of one PutObject; S3's own limit
_STREAMED_BYTES = 1 << 20


class Stored(NamedTuple):
    """One version of one object."""

    key: str
    version: str
    sha256: str
    size: int


class Version(NamedTuple):
    """One version of a key; a delete marker has no bytes: it hides the versions below it, and deletes none."""

    key: str
    version: str
    size: int
    is_marker: bool
    written: datetime


class Lock(NamedTuple):
    """What protects a version: ``retain_until`` is None where nothing does."""

    retain_until: datetime | None
    legal_hold: bool


class LockedStore:
    """One bucket that was made with Object Lock."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def disconnect(self) -> None:
        """Let go of the connections that are kept: where one leads nowhere any more, the others do not either."""
        self._client.close()

    def check(self) -> None:
        """Raise ``StoreError`` unless the bucket is there and locks objects."""
        with self._explained("its Object Lock configuration"):
            answer = self._client.get_object_lock_configuration(Bucket=self.bucket)
        if answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise StoreError(f"bucket {self.bucket}: Object Lock is off; it can only be had by a new bucket")

    def put(self, key: str, content: bytes, retain_until: datetime) -> Stored:
        """Write a new object, locked until then (UTC; rounded up to a second).

        The same bytes under the same key are a success, so that a writer that was killed can write again;
        other bytes raise ``AlreadyStoredError``.
        """
        digest = sha256(content)
        try:
            with self._explained(key):
                answer = self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=content,
                    IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                    ObjectLockMode=_MODE,
                    ObjectLockRetainUntilDate=_whole_seconds(retain_until),
                )
        except AlreadyStoredError:
            try:
                held = self.first(key)
            except UnreadableError:
                held = None
            if held is None or held.sha256 != digest.hexdigest():
                raise
            return held
        return Stored(key, answer["VersionId"], digest.hexdigest(), len(content))

    def put_over(self, key: str, content: bytes, retain_until: datetime) -> Stored:
        """Write a locked version over whatever is under the key: for what somebody has put there before us."""
        digest = sha256(content)
        with self._explained(key):
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=content,
                ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                ObjectLockMode=_MODE,
                ObjectLockRetainUntilDate=_whole_seconds(retain_until),
            )
        return Stored(key, answer["VersionId"], digest.hexdigest(), len(content))

    def put_file(self, key: str, path: Path, retain_until: datetime) -> Stored:
        """Write a new object from a file, which is read in pieces; the key must be new.

        Raises ``AlreadyStoredError`` where it is not, and ``StoreError`` for more than the 5 GB of one request.
        """
        with path.open("rb") as file:
            digest = file_digest(file, "sha256")
            size = file.tell()
            if size > LARGEST_BYTES:
                raise StoreError(f"{key}: {size} bytes are more than one object can be written with")
            file.seek(0)
            with self._explained(key):
                answer = self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=file,
                    IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
                    ObjectLockMode=_MODE,
                    ObjectLockRetainUntilDate=_whole_seconds(retain_until),
                )
        return Stored(key, answer["VersionId"], digest.hexdigest(), size)

    def put_unlocked(self, key: str, content: bytes) -> str:
        """Write an object that may be replaced: a new version of its key; give that version."""
        with self._explained(key):
            answer = self._client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=content,
                ChecksumSHA256=base64.b64encode(sha256(content).digest()).decode(),
            )
        return answer["VersionId"]

    def delete_unlocked(self, key: str, version: str) -> None:
        """Delete one version of an object for good; raises ``StoreError`` where a lock protects it."""
        with self._explained(key):
            self._client.delete_object(Bucket=self.bucket, Key=key, VersionId=version)

    def digest(self, key: str, version: str) -> tuple[str, int]:
        """Read a version in pieces; give its SHA-256 and how many bytes it has."""
        with self._explained(key, reads=True):
            body = self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version)["Body"]
            hasher, size = sha256(), 0
            for piece in body.iter_chunks(_STREAMED_BYTES):
                hasher.update(piece)
                size += len(piece)
        return hasher.hexdigest(), size

    def open(self, stored: Stored) -> StoredFile:
        """Give a version as a file; only what is asked for is fetched, and nothing is written to disk."""
        return StoredFile(self, stored)

    def read_range(self, stored: Stored, start: int, stop: int) -> bytes:
        """Read the bytes [start, stop) of a version."""
        if start >= stop:
            return b""
        with self._explained(stored.key, reads=True):
            answer = self._client.get_object(
                Bucket=self.bucket, Key=stored.key, VersionId=stored.version, Range=f"bytes={start}-{stop - 1}"
            )
            return answer["Body"].read()

    def get(self, key: str, version: str | None = None) -> bytes:
        """Read an object, or one version of it.

        Raises ``StoreError`` where there is none, ``UnreadableError`` where the store does not give this one.
        """
        with self._explained(key, reads=True):
            given = {} if version is None else {"VersionId": version}
            answer = self._client.get_object(Bucket=self.bucket, Key=key, **given)  # type: ignore[arg-type]
            return answer["Body"].read()

    def first(self, key: str) -> Stored | None:
        """Give the oldest version of an object: the one that nobody put over another."""
        versions = [found for found in self.versions(key) if found[0] == key]
        if not versions:
            return None
        _, version, size = versions[-1]
        return Stored(key, version, sha256(self.get(key, version)).hexdigest(), size)

    def versions(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Give key, version and size of all that begins with ``prefix``: by key, the newest version first."""
        for found in self.history(prefix):
            if not found.is_marker:
                yield found.key, found.version, found.size

    def history(self, prefix: str, after: str = "", page: int = 1000) -> Iterator[Version]:
        """Give all versions and delete markers below ``prefix`` whose key comes behind ``after``.

        They come by key, the newest version first; the markers of a key come in no order among them. ``page`` is
        how many are asked for at once.
        """
        place: dict[str, Any] = {"KeyMarker": after} if after else {}
        with self._explained(prefix):
            while True:
                answer = self._client.list_object_versions(
                    Bucket=self.bucket, Prefix=prefix, MaxKeys=page, **place
                )
                found = [
                    Version(v["Key"], v["VersionId"], v["Size"], is_marker=False, written=v["LastModified"])
                    for v in answer.get("Versions", ())
                ]
                found += [
                    Version(m["Key"], m["VersionId"], 0, is_marker=True, written=m["LastModified"])
                    for m in answer.get("DeleteMarkers", ())
                ]
                yield from sorted(found, key=lambda version: version.key)
                if not answer["IsTruncated"]:
                    return
                place = {"KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"]}

    def keys(self, prefix: str, after: str = "", limit: int | None = None) -> Iterator[str]:
        """Give the keys that begin with ``prefix`` and come behind ``after``, in order, at most ``limit``.

        Also those that a delete marker hides: what is locked is there, whatever a plain listing says.
        """
        last, found = "", 0
        for version in self.history(prefix, after, 1000 if limit is None else min(1000, limit + 1)):
            if version.is_marker or version.key == last:
                continue
            if found == limit:
                return
            last = version.key
            found += 1
            yield last

    def lock(self, key: str, version: str) -> Lock:
        """Say what protects a version. Raises as ``get``."""
        with self._explained(key, reads=True):
            head = self._client.head_object(Bucket=self.bucket, Key=key, VersionId=version)
        until = head.get("ObjectLockRetainUntilDate") if head.get("ObjectLockMode") == _MODE else None
        return Lock(
            None if until is None else until.astimezone(UTC), head.get("ObjectLockLegalHoldStatus") == "ON"
        )

    def extend(self, key: str, version: str, retain_until: datetime, slack: timedelta = timedelta(0)) -> None:
        """Keep a version until then, unless it is locked for as long already; ``slack`` is not worth a request."""
        held = self.lock(key, version).retain_until
        if held is not None and held >= retain_until - slack:
            return
        with self._explained(key):
            self._client.put_object_retention(
                Bucket=self.bucket,
                Key=key,
                VersionId=version,
                Retention={"Mode": _MODE, "RetainUntilDate": _whole_seconds(retain_until)},
            )

    def hold(self, key: str, version: str, *, on: bool) -> None:
        """Place or lift a legal hold: it keeps a version beyond its retention, without an end."""
        with self._explained(key):
            self._client.put_object_legal_hold(
                Bucket=self.bucket, Key=key, VersionId=version, LegalHold={"Status": "ON" if on else "OFF"}
            )

    @contextmanager
    def _explained(self, what: str, *, reads: bool = False) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise told(error, self.bucket, what, reads=reads) from error
        except BotoCoreError as error:
            raise StoreError(f"s3://{self.bucket}: the object store cannot be reached: {error}") from error


class StoredFile(io.RawIOBase):
    """One version of an object, read by ranges."""

    def __init__(self, store: LockedStore, stored: Stored) -> None:
        super().__init__()
        self._store, self._stored, self._place = store, stored, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and give the new place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._stored.size}[whence]
        self._place = start + offset
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """Fetch so many bytes, or the rest."""
        wanted = self._stored.size if size is None or size < 0 else self._place + size
        found = self._store.read_range(self._stored, self._place, min(wanted, self._stored.size))
        self._place += len(found)
        return found


def _whole_seconds(moment: datetime) -> datetime:
    cut = moment.astimezone(UTC).replace(microsecond=0)
    return cut if cut == moment else cut + timedelta(seconds=1)
