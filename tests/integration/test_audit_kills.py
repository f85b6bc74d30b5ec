"""Killed at every point of a checkpoint, the audit log goes on, and never has two roots over one size."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ledger.faultpoints import POINTS
from operations.audit.verifying import verify
from tests.integration.audit_stage import AuditStage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

ROOT = Path(__file__).parents[2]
VICTIM = """
import asyncio, sys, asyncpg, msgspec
from streaming.checkpoints import Checkpointer
from streaming.metrics import Metrics
from streaming.settings import AuditSettings

async def main():
    ready = asyncio.Event()
    ready.set()
    audit = AuditSettings.model_validate_json(sys.argv[2])
    await Checkpointer(lambda: asyncpg.connect(sys.argv[1]), audit, Metrics().audit, ready).run()

asyncio.run(main())
"""


@pytest.fixture
def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path) -> AuditStage:
    return AuditStage(endpoints, ledger_url, worm_bucket, tmp_path)


def killed_at(stage: AuditStage, point: str) -> None:
    secret = stage.settings.s3_secret_key.get_secret_value()
    settings = stage.settings.model_dump_json().replace("**********", secret)
    victim = subprocess.run(
        [sys.executable, "-c", VICTIM, stage.url, settings],
        cwd=ROOT,
        env={**os.environ, "EXECUTION_AGENT_FAULTS": "1", "EXECUTION_AGENT_FAULT": f"{point}:1"},
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr[-2000:]


async def test_after_a_kill_at_any_point_there_is_one_log(stage: AuditStage, s3: S3Client) -> None:
    points = [point for point in POINTS if point.startswith("audit.")]
    assert len(points) >= 5
    for point in points:
        stage.insert(130)
        killed_at(stage, point)
    stage.insert(10)
    async with stage.checkpointing() as maker:
        await stage.settled(maker)
    bucket = stage.bucket(s3)
    verdict = verify(stage.url, bucket, [stage.signer.key], 0, lambda *_: None)
    assert (verdict.problems, verdict.waiting) == ([], 0)
    assert verdict.stored >= 2
    for size in bucket.sizes():  # one version each: nothing was put over another
        found = s3.list_object_versions(Bucket=stage.settings.bucket, Prefix=f"audit/checkpoint/{size:020d}")
        assert len(found["Versions"]) == 1
