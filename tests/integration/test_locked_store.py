"""Objects under Object Lock, on the embedded S3 server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from trust.errors import AlreadyStoredError, StoreError, UnreadableError
from trust.locked_store import Lock, LockedStore, Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from operations.embedded.endpoints import Endpoints

CONTENT = b"what was written"


@pytest.fixture
def store(s3: S3Client, worm_bucket: str) -> LockedStore:
    return LockedStore(s3, worm_bucket)


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=20)


def test_an_object_is_written_once_and_read_by_version(store: LockedStore, s3: S3Client) -> None:
    until = soon()
    stored = store.put("a/b", CONTENT, until)
    assert (stored.sha256, stored.size) == (sha256(CONTENT).hexdigest(), len(CONTENT))
    assert store.put("a/b", CONTENT, until) == stored  # a writer that was killed writes again
    with pytest.raises(AlreadyStoredError, match="there is another object under this key"):
        store.put("a/b", b"other bytes", until)
    s3.put_object(Bucket=store.bucket, Key="a/b", Body=b"put over it")  # without asking whether it is there
    assert store.get("a/b") == b"put over it"
    assert store.get("a/b", stored.version) == CONTENT
    assert store.first("a/b") == stored
    assert [size for _, _, size in store.versions("a/")] == [len(b"put over it"), len(CONTENT)]


def test_a_locked_version_cannot_go(store: LockedStore, s3: S3Client) -> None:
    until = soon()
    stored = store.put("a/b", CONTENT, until)
    held = store.lock("a/b", stored.version)
    assert held.retain_until is not None
    assert until <= held.retain_until <= until + timedelta(seconds=1)
    assert not held.legal_hold
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=store.bucket, Key="a/b", VersionId=stored.version)
    shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": until - timedelta(seconds=10)}
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object_retention(Bucket=store.bucket, Key="a/b", VersionId=stored.version, Retention=shorter)  # type: ignore[arg-type]


def test_a_legal_hold_is_placed_and_lifted(store: LockedStore) -> None:
    stored = store.put("a/b", CONTENT, soon())
    store.hold("a/b", stored.version, on=True)
    assert store.lock("a/b", stored.version).legal_hold
    store.hold("a/b", stored.version, on=False)
    assert not store.lock("a/b", stored.version).legal_hold


def test_what_has_no_lock_is_said(store: LockedStore, s3: S3Client, bucket: str) -> None:
    store.check()
    version = s3.put_object(Bucket=store.bucket, Key="a", Body=b"no lock")["VersionId"]
    assert store.lock("a", version) == Lock(None, legal_hold=False)
    with pytest.raises(StoreError, match="made without Object Lock"):
        LockedStore(s3, bucket).check()


def test_what_is_not_there_is_said(store: LockedStore) -> None:
    assert store.first("none") is None
    with pytest.raises(StoreError, match=r"s3://.*/none: there is no such object"):
        store.get("none")


def test_what_somebody_put_under_a_key_of_their_own_is_told_apart(store: LockedStore, s3: S3Client) -> None:
    """SSE-C: the store gives it to nobody who has not that key. It is there, and stops nothing else."""
    s3.put_object(
        Bucket=store.bucket, Key="theirs", Body=b"junk", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32
    )
    [(_, version, size)] = store.versions("theirs")
    for read in (store.get, store.digest, store.lock):
        with pytest.raises(UnreadableError, match=r"s3://.*/theirs: the store does not give this object"):
            read("theirs", version)
    with pytest.raises(UnreadableError):
        store.read_range(Stored("theirs", version, "", size), 0, 1)
    with pytest.raises(AlreadyStoredError):
        store.put("theirs", CONTENT, soon())
    assert store.get("ours", store.put("ours", CONTENT, soon()).version) == CONTENT


def test_a_login_that_is_refused_is_no_objects_fault(store: LockedStore, endpoints: Endpoints) -> None:
    stored = store.put("ours", CONTENT, soon())
    keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoints.s3_endpoint, **keys)  # type: ignore[call-overload]
    with pytest.raises(StoreError) as error:
        LockedStore(client, store.bucket).get("ours", stored.version)
    assert type(error.value) is StoreError
    client.close()


def test_a_store_that_is_away_is_said() -> None:
    config = Config(connect_timeout=0.5, retries={"max_attempts": 1})
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=config, **keys)  # type: ignore[call-overload]
    with pytest.raises(StoreError, match="cannot be reached"):
        LockedStore(client, "none").get("a")
    client.close()
