"""A log in a locked bucket that others may write to: what they hide, put over, or put there first."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from trust.bucket_log import BucketLog
from trust.bucket_tree import BucketTree
from trust.errors import NoteError, ProofError
from trust.growing import Growing
from trust.locked_store import LockedStore
from trust.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from trust.notes import Checkpoint, sign_note
from trust.signing import FileSigner, make_key_file
from trust.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

ORIGIN = "example.com/log"
ROOT = bytes(range(HASH_BYTES))


class Stage:
    """A log, and somebody else with the right to write to its bucket."""

    def __init__(self, s3: S3Client, bucket: str, folder: Path) -> None:
        self.s3, self.name = s3, bucket
        make_key_file(folder / "ours")
        make_key_file(folder / "theirs")
        self.signer, self.other = FileSigner(ORIGIN, folder / "ours"), FileSigner(ORIGIN, folder / "theirs")
        self.until = datetime.now(UTC) + timedelta(minutes=5)

    def log(self, signer: FileSigner | None = None) -> BucketLog:
        return BucketLog(LockedStore(self.s3, self.name), "audit/", ORIGIN, [(signer or self.signer).key])

    def note(self, size: int, root: bytes = ROOT, signer: FileSigner | None = None) -> str:
        return sign_note(Checkpoint(ORIGIN, size, root).body(), [signer or self.signer])

    def intrude(self, key: str, content: bytes) -> None:
        """Put a locked object: it stays."""
        self.s3.put_object(
            Bucket=self.name, Key=f"audit/{key}", Body=content,
            ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=self.until,
        )  # fmt: skip

    def hide(self, key: str) -> None:
        self.s3.delete_object(Bucket=self.name, Key=f"audit/{key}")


@pytest.fixture
def stage(s3: S3Client, worm_bucket: str, tmp_path: Path) -> Stage:
    return Stage(s3, worm_bucket, tmp_path)


def name(size: int) -> str:
    return f"checkpoint/{size:020d}"


def test_deleted_checkpoints_are_read_and_told(stage: Stage) -> None:
    log = stage.log()
    for size in (1, 2, 3):
        log.put_checkpoint(stage.note(size), stage.until)
    for size in (2, 3):
        stage.hide(name(size))
    hidden = stage.s3.list_objects_v2(Bucket=stage.name, Prefix="audit/checkpoint/")["Contents"]
    assert len(hidden) == 1  # a listing shows one
    log = stage.log()
    assert [*log.sizes()] == [1, 2, 3]
    assert [*log.sizes(1, 1)] == [2]
    assert log.newest() == Checkpoint(ORIGIN, 3, ROOT)
    assert len(log.faults) == 1
    log.look(0, 3)
    assert sum("somebody has deleted" in fault for fault in log.faults) == 2


def test_no_other_root_is_put_over_a_deleted_checkpoint(stage: Stage) -> None:
    log = stage.log()
    log.put_checkpoint(stage.note(3), stage.until)
    stage.hide(name(3))
    with pytest.raises(NoteError, match="another root over 3 events is signed and stored"):
        log.put_checkpoint(stage.note(3, bytes(HASH_BYTES)), stage.until)  # the store takes it: nothing is there
    assert stage.log().checkpoint(3) == Checkpoint(ORIGIN, 3, ROOT)


@pytest.mark.parametrize("content", [b"garbage", b"", b"\xff" * 20_000, "other", "elsewhere"])
def test_what_lies_under_the_next_checkpoints_name_stops_nothing(stage: Stage, content: bytes | str) -> None:
    notes = {"other": stage.note(5, signer=stage.other), "elsewhere": stage.note(4)}
    stage.intrude(name(5), notes[content].encode() if isinstance(content, str) else content)
    stage.intrude("checkpoint/none", b"garbage")
    stage.intrude(name(10**19), b"garbage")
    told: list[str] = []
    log = BucketLog(LockedStore(stage.s3, stage.name), "audit/", ORIGIN, [stage.signer.key], told.append)
    for size in (4, 5, 6):
        log.put_checkpoint(stage.note(size), stage.until)
    assert log.newest() == Checkpoint(ORIGIN, 6, ROOT)
    assert log.checkpoint(5) == Checkpoint(ORIGIN, 5, ROOT)
    assert told == [*log.faults]
    assert sum("over 5 events" in fault or f"{5:020d}" in fault for fault in told) == 1
    assert sum("none of the log's" in fault for fault in told) == 1


def test_what_is_put_over_a_checkpoint_does_not_count(stage: Stage) -> None:
    log = stage.log()
    log.put_checkpoint(stage.note(3), stage.until)
    stage.intrude(name(3), stage.note(3, bytes(HASH_BYTES), stage.other).encode())
    assert stage.log().checkpoint(3) == Checkpoint(ORIGIN, 3, ROOT)
    log = stage.log()
    log.look(0, 3)
    assert sum("was written over" in fault for fault in log.faults) == 1


@pytest.mark.parametrize("before", [True, False])
def test_a_tile_is_the_one_that_the_log_says(stage: Stage, *, before: bool) -> None:
    tile, hashes = Tile(0, 0), os.urandom(WIDTH * HASH_BYTES)
    other = os.urandom(WIDTH * HASH_BYTES)
    if before:
        stage.intrude(tile.path, b"short")
        stage.intrude(tile.path, other)
        stage.intrude(f"instead/{tile.path}", b"garbage")
    stage.log().put_tile(tile, hashes, stage.until, stage.signer)
    if not before:
        stage.intrude(tile.path, other)
        stage.hide(tile.path)
    log = stage.log()
    assert log.tile(tile) == hashes
    assert log.faults
    log.put_tile(tile, hashes, stage.until, stage.signer)  # a writer that was killed writes again
    assert log.tile(tile) == hashes


def grown(stage: Stage, size: int) -> tuple[BucketLog, list[bytes]]:
    """Store a log of so many leaves: full tiles, unfinished ones and a checkpoint."""
    leaves = [leaf_hash(str(n).encode()) for n in range(size)]
    log, growing = stage.log(), Growing(0, {})
    tiles = growing.append(b"".join(leaves))
    for tile, hashes in tiles.items():
        if tile.width == WIDTH:
            log.put_tile(tile, hashes, stage.until, stage.signer)
    log.put_checkpoint(stage.note(size, growing.root()), stage.until)
    log.put_edge(size, {tile: hashes for tile, hashes in tiles.items() if tile.width < WIDTH}, stage.until)
    return log, leaves


def test_a_leaf_is_proven_from_the_bucket_alone(stage: Stage) -> None:
    stage.intrude(f"edge/{700:020d}", os.urandom(HASH_BYTES * (700 % WIDTH + 2)))
    _, leaves = grown(stage, 700)
    for leaf in (0, 255, 256, 511, 512, 699):
        tree = BucketTree(stage.log())
        checkpoint = tree.covering(leaf)
        assert checkpoint.size == 700
        assert tree.leaf(leaf) == leaves[leaf]
        verify_inclusion(leaves[leaf], leaf, 700, tree.proof(leaf, checkpoint), checkpoint.root)
    with pytest.raises(ProofError, match="no checkpoint over leaf 700"):
        BucketTree(stage.log()).covering(700)


def test_tiles_that_are_not_what_was_signed_prove_nothing(stage: Stage) -> None:
    log, _ = grown(stage, 300)
    with pytest.raises(NoteError, match="lead to another root"):
        log.put_edge(300, {Tile(0, 1, 44): bytes(44 * HASH_BYTES), Tile(1, 0, 1): bytes(HASH_BYTES)}, stage.until)
    wrong = stage.log()
    wrong.put_tile(Tile(0, 1), os.urandom(WIDTH * HASH_BYTES), stage.until, stage.signer)
    tree = BucketTree(wrong)
    with pytest.raises(ProofError, match="the tiles have the root"):
        tree.check(Checkpoint(ORIGIN, 512, ROOT))


def test_a_key_counts_by_the_word_of_one_that_was_there(stage: Stage, tmp_path: Path) -> None:
    log = stage.log()
    log.keys.publish(stage.signer, stage.until)
    log.keys.publish(stage.signer, stage.until)
    assert log.keys.trusted([]) == [stage.signer.key]
    theirs = sign_note(f"execution-agent/log-key/v1\n{ORIGIN}\n{stage.other.key}\n", [stage.other])
    for place in ("0000", "0001", "0002", "00001"):
        stage.intrude(f"key/{place}", theirs.encode())
    stage.intrude("key/0001", b"garbage")
    log = stage.log()
    assert log.keys.trusted([]) == [stage.signer.key]  # the first that was written, whatever the names
    assert sum("does not count" in fault for fault in log.faults) == 2
    assert stage.log().keys.trusted([stage.other.key]) == [stage.other.key]  # who pins one, trusts that one

    make_key_file(tmp_path / "next")
    following = FileSigner(ORIGIN, tmp_path / "next")
    following.older = lambda: [stage.signer]  # type: ignore[method-assign]  # as of a key with versions
    log.keys.publish(following, stage.until)
    assert stage.log().keys.trusted([]) == [stage.signer.key, following.key]


def test_a_key_is_kept_as_long_as_what_it_signs(stage: Stage) -> None:
    log = stage.log()
    log.keys.publish(stage.signer, stage.until)
    log.keys.keep(stage.until + timedelta(days=30))
    [version] = stage.s3.list_object_versions(Bucket=stage.name, Prefix="audit/key/")["Versions"]
    held = log.store.lock(version["Key"], version["VersionId"]).retain_until
    assert held is not None
    assert held >= stage.until + timedelta(days=30)
