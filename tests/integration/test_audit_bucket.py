"""The audit log and its bucket: meddled with, behind, and with keys that change."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import hvac
import pytest

from operations.audit.verifying import verify
from tests.integration.audit_stage import ORIGIN, AuditStage, eventually
from trust.bucket_log import BucketLog
from trust.bucket_tree import BucketTree
from trust.locked_store import LockedStore
from trust.signing import FileSigner, make_key_file
from trust.tiles import WIDTH, Tile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints


@pytest.fixture
def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path) -> AuditStage:
    return AuditStage(endpoints, ledger_url, worm_bucket, tmp_path)


@contextlib.asynccontextmanager
async def inserting(stage: AuditStage, rows: int) -> AsyncIterator[None]:
    """Insert so many rows again and again."""

    async def insert() -> None:
        while True:
            await asyncio.to_thread(stage.insert, rows)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(insert())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_garbage_and_delete_markers_are_told_and_stop_nothing(stage: AuditStage, s3: S3Client) -> None:
    bucket = stage.settings.bucket
    s3.put_object(Bucket=bucket, Key="audit/tile/0/000", Body=bytes(WIDTH * 32))
    for size in range(250, 330):
        s3.put_object(Bucket=bucket, Key=f"audit/checkpoint/{size:020d}", Body=b"garbage")
    async with stage.checkpointing() as maker:
        await asyncio.to_thread(stage.insert, 300)
        await stage.settled(maker)
        await eventually(lambda: stage.run("SELECT tiled_size FROM execution.audit_tree")[0][0] == 256, maker)
        assert (maker.state, maker.faults() > 0) == ("live", True)
    log = stage.bucket(s3)
    newest = log.newest()
    assert newest is not None
    assert newest.size >= 300
    assert log.faults
    s3.delete_object(Bucket=bucket, Key=f"audit/checkpoint/{newest.size:020d}")
    async with stage.checkpointing() as maker:
        await asyncio.to_thread(stage.insert, 5)
        await stage.settled(maker)
        assert (maker.state, maker.faults() > 0) == ("live", True)
    assert stage.bucket(s3).checkpoint(newest.size) == newest


async def test_a_hidden_checkpoint_keeps_a_shorter_ledger_from_signing(stage: AuditStage, s3: S3Client) -> None:
    """A ledger is restored to before its last events, and the checkpoints over these are deleted."""
    stage.insert(9)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    stage.tamper(
        "TRUNCATE execution.audit_events, execution.audit_tiles, execution.audit_tree, execution.audit_checkpoints"
    )
    for found in s3.list_objects_v2(Bucket=stage.settings.bucket, Prefix="audit/checkpoint/")["Contents"]:
        s3.delete_object(Bucket=stage.settings.bucket, Key=found["Key"])
    stage.insert(1)
    async with stage.checkpointing() as maker:
        await eventually(lambda: maker.state == "refused", maker)
        assert "rows were deleted" in maker.reason


async def test_checkpoints_do_not_wait_for_tiles_that_have_piled_up(
    stage: AuditStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_tile = BucketLog.put_tile

    def put_slowly(*arguments: Any) -> None:  # a store that is fast has them before anybody looks
        time.sleep(0.1)
        put_tile(*arguments)

    monkeypatch.setattr(BucketLog, "put_tile", put_slowly)
    leaves = 200 * WIDTH
    stage.insert(leaves)
    away = stage.settings.model_copy(update={"edge_seconds": 1})
    async with stage.checkpointing(away) as maker:
        seen: set[tuple[int, int]] = set()

        def is_tiled() -> bool:
            found = stage.run("SELECT stored_size, tiled_size FROM execution.audit_tree") or [(0, 0)]
            seen.add(found[0])
            return bool(found[0][1] >= leaves)

        async with inserting(stage, 3):
            await eventually(is_tiled, maker)
    stored_while_behind = {stored for stored, tiled in seen if stored and tiled < leaves}
    assert len(stored_while_behind) >= 3


async def test_what_is_old_is_provable_from_the_bucket(stage: AuditStage, s3: S3Client) -> None:
    async with stage.checkpointing(stage.settings.model_copy(update={"edge_seconds": 1})) as maker:
        await asyncio.to_thread(stage.insert, 700)
        await stage.settled(maker)
        log = stage.bucket(s3)
        await eventually(lambda: any(size >= 700 for size in log.edges()), maker)
    tree = BucketTree(log)
    checkpoint = tree.covering(699)
    tree.check(checkpoint)
    hashes = b"".join(
        h for (h,) in stage.run("SELECT hashes FROM execution.audit_tiles WHERE level = 0 ORDER BY 1")
    )
    assert (tree.leaf(699) or b"none") in hashes


async def test_a_tile_that_was_changed_in_the_ledger_is_not_stored(stage: AuditStage, s3: S3Client) -> None:
    """The root is right, and so are the last rows: only an older tile is not what the one above it has."""
    stage.insert(20 * WIDTH)
    away = stage.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    async with stage.checkpointing(away) as maker:
        await eventually(lambda: stage.sizes()[0] >= 20 * WIDTH, maker)
    changed = "hashes = set_byte(hashes, 5, 255 - get_byte(hashes, 5))"
    stage.tamper(f"UPDATE execution.audit_tiles SET {changed} WHERE level = 0 AND number = 0")  # noqa: S608
    async with stage.checkpointing() as maker:
        await eventually(lambda: maker.state == "refused", maker)
        assert "tile/0/000 of the ledger" in maker.reason
    assert stage.bucket(s3).tile(Tile(0, 0)) is None


async def test_a_new_key_goes_on_and_the_old_one_still_counts(
    stage: AuditStage, s3: S3Client, tmp_path: Path
) -> None:
    stage.insert(5)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    old = stage.signer.key
    make_key_file(tmp_path / "new.pem")
    changed = stage.settings.model_copy(update={"signer": str(tmp_path / "new.pem")})
    stage.insert(5)
    async with stage.checkpointing(changed) as maker:  # nobody says that the old key was ours
        await eventually(lambda: maker.state == "refused", maker)
        assert "audit.verifiers" in maker.reason
    async with stage.checkpointing(changed.model_copy(update={"verifiers": [str(old)]})) as maker:
        await stage.settled(maker)
    new = FileSigner(ORIGIN, tmp_path / "new.pem").key
    log = stage.bucket(s3)
    assert log.keys.trusted([]) == [old]  # a file cannot be vouched for by the one before: readers name both
    assert None in [log.checkpoint(size) for size in log.sizes()]
    log.trust(log.keys.trusted([old, new]))
    assert None not in [log.checkpoint(size) for size in log.sizes()]


async def test_a_key_that_is_rotated_in_vault_needs_nobody(
    stage: AuditStage, s3: S3Client, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers go by what is in the bucket: they ask neither Vault nor a person."""
    client = hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token)
    mount = f"transit-{uuid.uuid4().hex[:12]}"
    client.sys.enable_secrets_engine("transit", path=mount)
    client.secrets.transit.create_key("log", key_type="ed25519", mount_point=mount)
    monkeypatch.setenv("VAULT_ADDR", endpoints.vault_addr)
    monkeypatch.setenv("VAULT_TOKEN", endpoints.vault_token)
    settings = stage.settings.model_copy(update={"signer": f"transit:{mount}/log"})
    for _ in range(3):
        stage.insert(5)
        async with stage.checkpointing(settings) as maker:
            await stage.settled(maker)
        client.secrets.transit.rotate_key("log", mount_point=mount)
    client.sys.disable_secrets_engine(mount)
    client.adapter.close()
    log = BucketLog(LockedStore(s3, settings.bucket), "audit/", ORIGIN, [])
    keys = log.keys.trusted([])
    assert len(keys) == 3
    log.trust(keys)
    assert None not in [log.checkpoint(size) for size in log.sizes()]
    verdict = await asyncio.to_thread(verify, stage.url, log, keys, 0, lambda *_: None)
    assert (verdict.problems, verdict.faults) == ([], [])
    assert log.keys.trusted([keys[1]]) == keys[1:]  # who pins a later one, trusts that and what came after


async def test_a_log_that_grows_raises_no_alarm(stage: AuditStage, s3: S3Client) -> None:
    async with stage.checkpointing() as maker:
        await asyncio.to_thread(stage.insert, 300)
        await stage.settled(maker)
        keys = [stage.signer.key]
        async with inserting(stage, 40):
            found = [
                await asyncio.to_thread(verify, stage.url, stage.bucket(s3), keys, sample, lambda *_: None)
                for sample in (0, 5) * 4
            ]
    await asyncio.to_thread(stage.insert, 7)  # with nobody left to take them into the tree
    found.append(await asyncio.to_thread(verify, stage.url, stage.bucket(s3), keys, 5, lambda *_: None))
    assert [verdict.problems for verdict in found] == [[]] * len(found)
    assert found[0].leaves < found[-1].leaves
    assert found[-1].waiting + found[-1].unsigned >= 7


def middle(times: list[float]) -> float:
    """Give the median of what lies between moments."""
    apart = sorted(later - earlier for earlier, later in pairwise(times))
    return apart[len(apart) // 2]


async def test_checkpoints_keep_their_distance_under_load(stage: AuditStage) -> None:
    """Measured against a writer of the same run that rests as long between its commits."""
    interval = 0.5
    beats: list[float] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(stage.run, "SELECT pg_current_xact_id()")
            beats.append(time.monotonic())

    stored: list[float] = []
    sizes: set[int] = set()

    def has_stored_enough() -> bool:
        size = stage.sizes()[2]
        if size not in sizes:
            sizes.add(size)
            stored.append(time.monotonic())
        return len(stored) > 10

    async with stage.checkpointing(stage.settings.model_copy(update={"interval_seconds": interval})) as maker:
        yardstick = asyncio.create_task(beat())
        async with inserting(stage, 300):
            await eventually(has_stored_enough, maker)
        yardstick.cancel()
        await asyncio.wait({yardstick})
    assert stage.rows() > 5 * WIDTH
    made = stage.run("SELECT extract(epoch FROM made_at)::float8 FROM execution.audit_checkpoints ORDER BY 1")
    signed = [at for (at,) in made]
    # within the interval where the machine is idle, and late by no more than what makes any commit late
    assert middle(signed) < 1.5 * middle(beats)
    assert middle(stored[1:]) < 1.5 * middle(beats)
