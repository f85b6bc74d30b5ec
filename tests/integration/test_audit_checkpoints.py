"""The audit log as it grows on real servers: order, signatures, bucket, restarts, refusals."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import psycopg
import pytest
from pymerkle import InmemoryTree

from ledger.db.audit_entries import AuditRow
from tests.integration.audit_stage import INSERT, ORIGIN, AuditStage, eventually
from trust.notes import open_note, parse_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

COLUMNS = "position, recorded_on, xid::text::bigint, event_id, event_type, key, recorded_by, body"


@pytest.fixture
def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path) -> AuditStage:
    return AuditStage(endpoints, ledger_url, worm_bucket, tmp_path)


def entries(stage: AuditStage) -> list[bytes]:
    """The rows as an auditor writes them down."""
    found = stage.run(f"SELECT {COLUMNS} FROM execution.audit_events ORDER BY xid, position")  # noqa: S608
    return [
        AuditRow(n, on, xid, i.bytes, kind, key, by, body).entry() for n, on, xid, i, kind, key, by, body in found
    ]


def tree_of(rows: list[bytes]) -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for row in rows:
        tree.append_entry(row)
    return tree


async def test_every_root_that_is_signed_is_that_of_the_rows(stage: AuditStage, s3: S3Client) -> None:
    async with stage.checkpointing() as maker:
        for count in (1, 255, 300):
            await asyncio.to_thread(stage.insert, count)
            await stage.settled(maker)
        state = maker.state
    assert state == "live"
    rows = entries(stage)
    other = tree_of(rows)
    bucket = stage.bucket(s3)
    signed = stage.run("SELECT tree_size, root_hash, note FROM execution.audit_checkpoints ORDER BY tree_size")
    assert len(signed) >= 3
    for size, root, note in signed:
        found = parse_checkpoint(open_note(note, [stage.signer.key]))
        assert (found.origin, found.size, found.root) == (ORIGIN, size, root)
        assert other.get_root(size) == root
        assert bucket.checkpoint(size) in {found, None}  # the newest is always there, one overtaken may not be
    assert bucket.newest() == found
    told = stage.run(
        "SELECT event_id, event_type, key, body FROM execution.audit_events "
        "WHERE event_type = 'checkpoint' ORDER BY xid"
    )
    assert [int(json.loads(body)["detail"]["tree_size"]) for *_, body in told] == [size for size, *_ in signed]
    assert {key for _, _, key, _ in told} == {ORIGIN}
    # who publishes was handed each at once, as it is kept
    assert [(e.event_id, e.event_type, e.key, e.body) for e in stage.told] == [(i.hex, *rest) for i, *rest in told]


async def test_full_tiles_lie_in_the_bucket(stage: AuditStage, s3: S3Client) -> None:
    await asyncio.to_thread(stage.insert, 600)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
        await eventually(lambda: stage.run("SELECT tiled_size FROM execution.audit_tree")[0][0] == 512, maker)
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=stage.settings.bucket)["Contents"]]
    assert [key for key in keys if "/tile/" in key] == ["audit/tile/0/000", "audit/tile/0/001"]


async def test_a_transaction_that_commits_late_does_not_move_a_leaf(stage: AuditStage) -> None:
    """Its rows have lower positions and a lower xid than rows that were committed before it."""
    async with stage.checkpointing() as maker:
        with psycopg.connect(stage.url) as late:
            late.execute(INSERT.format(3))
            writers = [asyncio.to_thread(stage.insert, 50) for _ in range(6)]
            await asyncio.gather(*writers)
            await asyncio.sleep(0.5)
            assert stage.sizes()[0] == 0  # nothing may be counted behind what is still open
            late.commit()
        await stage.settled(maker)
    other = tree_of(entries(stage))
    for size, root in stage.run("SELECT tree_size, root_hash FROM execution.audit_checkpoints"):
        assert other.get_root(size) == root


async def test_an_idle_log_signs_nothing_more(stage: AuditStage) -> None:
    stage.insert(5)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
        before = stage.run("SELECT count(*) FROM execution.audit_checkpoints")
        await asyncio.sleep(1)
        assert stage.run("SELECT count(*) FROM execution.audit_checkpoints") == before


async def test_two_processes_make_one_log(stage: AuditStage) -> None:
    async with stage.checkpointing() as one, stage.checkpointing() as two:
        for _ in range(5):
            await asyncio.to_thread(stage.insert, 40)
        await stage.settled(one)
        assert {"standby"} < {one.state, two.state}
    other = tree_of(entries(stage))
    for size, root in stage.run("SELECT tree_size, root_hash FROM execution.audit_checkpoints"):
        assert other.get_root(size) == root


async def test_a_bucket_that_is_away_stops_nothing_and_the_newest_is_stored_next(
    stage: AuditStage, s3: S3Client
) -> None:
    stage.insert(5)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    away = stage.settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    stage.insert(300)
    async with stage.checkpointing(away) as maker:
        await eventually(lambda: maker.state == "away" and stage.sizes()[0] >= 305, maker)
        assert "cannot be reached" in maker.reason
    signed = stage.sizes()[1]
    assert signed < 305  # nothing is signed before the bucket was asked
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    newest = stage.bucket(s3).newest()
    assert newest is not None
    assert newest.size > signed


TREE = "execution.audit_tiles, execution.audit_tree, execution.audit_checkpoints"
TAMPERED = {
    "a row changed": (
        "UPDATE execution.audit_events SET key = 'other' WHERE body = '3333'",
        "not the one that was",
    ),
    "a row deleted": ("DELETE FROM execution.audit_events WHERE body = '3333'", "not the one that was"),
    "a tile changed": (
        "UPDATE execution.audit_tiles SET hashes = set_byte(hashes, 5, 255 - get_byte(hashes, 5))",
        "not the one that was",
    ),
    "a checkpoint changed": (
        "UPDATE execution.audit_checkpoints SET root_hash = set_byte(root_hash, 0, 255 - get_byte(root_hash, 0))",
        "the ledger's own checkpoint",
    ),
    "all deleted": (
        f"TRUNCATE execution.audit_events, {TREE}",
        "rows were deleted, or it was restored from an older backup",
    ),
}


@pytest.mark.parametrize("kind", TAMPERED)
async def test_it_refuses_a_ledger_that_is_not_what_was_signed(stage: AuditStage, kind: str) -> None:
    statement, reason = TAMPERED[kind]
    stage.insert(9)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    stage.tamper(statement)
    stage.insert(1)
    signed = stage.run("SELECT count(*) FROM execution.audit_checkpoints")
    async with stage.checkpointing() as maker:
        await eventually(lambda: maker.state == "refused", maker)
        assert reason in maker.reason
        await asyncio.sleep(0.3)
    assert stage.run("SELECT count(*) FROM execution.audit_checkpoints") == signed


async def test_it_refuses_a_ledger_whose_history_was_made_anew(stage: AuditStage) -> None:
    """A superuser rewrites a row, and the tiles and checkpoints with it: the bucket still has the first ones."""
    stage.insert(9)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    stage.tamper(
        "UPDATE execution.audit_events SET key = 'other' WHERE body = '3333'",
        f"TRUNCATE {TREE}",
    )
    async with stage.checkpointing() as maker:
        await eventually(lambda: maker.state == "refused", maker)
        assert "has the root" in maker.reason
    assert stage.run("SELECT count(*) FROM execution.audit_checkpoints") == [(0,)]
