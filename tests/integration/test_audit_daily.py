"""The nightly verification as Dagster runs it: from the last verified checkpoint on, and it fails aloud."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from execution_assets.audit_log import verify_audit_log
from execution_assets.resources import LedgerResource
from operations.audit.resource import AuditLogVerifier
from tests.integration.audit_stage import ORIGIN, AuditStage

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints


class Nights(AuditStage):
    """A log, and Dagster beside it with the rights that it has."""

    async def night(self) -> tuple[bool, str]:
        """Run the job, on a thread: Dagster has an event loop of its own."""
        return await asyncio.to_thread(self._night)

    def _night(self) -> tuple[bool, str]:
        """Run the job; give whether it went well, and the error."""
        url = f"{self.url}?options={quote('-crole=execution_dagster')}"
        resources = {"ledger": LedgerResource(url=url), "audit_log": AuditLogVerifier()}
        done = verify_audit_log.execute_in_process(resources=resources, raise_on_error=False)
        failures = [e.step_failure_data for e in done.all_events if e.event_type_value == "STEP_FAILURE"]
        data = failures[0].user_failure_data if failures else None
        assert bool(failures) is not done.success
        return done.success, "" if data is None else data.description or ""

    def nights(self) -> list[tuple[int, int]]:
        return [
            (since, size)
            for since, size in self.run(
                "SELECT from_size, tree_size FROM execution.audit_verifications ORDER BY verification_id"
            )
        ]

    async def signed(self, rows: int) -> None:
        self.insert(rows)
        async with self.checkpointing() as maker:
            await self.settled(maker)


@pytest.fixture
async def stage(
    endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Nights:
    made = Nights(endpoints, ledger_url, worm_bucket, tmp_path)
    secret = made.settings.s3_secret_key.get_secret_value()
    (tmp_path / "stream.toml").write_text(
        f'[audit]\nbucket = "{worm_bucket}"\nsigner = "{made.settings.signer}"\norigin = "{ORIGIN}"\n'
        f's3_endpoint = "{made.settings.s3_endpoint}"\ns3_access_key = "{made.settings.s3_access_key}"\n'
        f's3_secret_key = "{secret}"\n'
    )
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(tmp_path / "stream.toml"))
    await made.signed(300)
    return made


async def test_a_night_goes_on_from_the_one_before(stage: Nights) -> None:
    assert await stage.night() == (True, "")
    await stage.signed(200)
    assert await stage.night() == (True, "")
    (first, second), (third, fourth) = stage.nights()
    assert first == 0
    assert 300 <= second == third < fourth
    with pytest.raises(psycopg.Error):
        stage.run("DELETE FROM execution.audit_verifications")


async def test_a_change_fails_the_night_until_it_is_mended(stage: Nights) -> None:
    assert (await stage.night())[0]
    await stage.signed(50)
    [(position, key)] = stage.run(
        "SELECT position, key FROM execution.audit_events ORDER BY xid DESC, position DESC OFFSET 9 LIMIT 1"
    )
    stage.tamper(f"UPDATE execution.audit_events SET key = 'other' WHERE position = {position}")  # noqa: S608
    for _ in range(2):
        well, said = await stage.night()
        assert not well
        assert "NOT what was logged" in said
        assert f"where the row at position {position} is" in said
    stage.tamper(f"UPDATE execution.audit_events SET key = '{key}' WHERE position = {position}")  # noqa: S608
    assert await stage.night() == (True, "")


async def test_what_was_well_once_is_looked_at_again_within_a_week(stage: Nights) -> None:
    assert (await stage.night())[0]
    await stage.signed(300)
    stage.tamper("UPDATE execution.audit_events SET key = 'other' WHERE position = (SELECT min(position) "
                 "FROM execution.audit_events)")  # fmt: skip
    assert (await stage.night())[0]  # only what is new
    stage.tamper("UPDATE execution.audit_verifications SET verified_at = verified_at - interval '8 days'")
    well, said = await stage.night()
    assert not well
    assert "leaf 0," in said


async def test_meddling_is_told_once(stage: Nights, s3: S3Client) -> None:
    assert (await stage.night())[0]
    newest = stage.bucket(s3).newest()
    assert newest is not None
    s3.delete_object(Bucket=stage.settings.bucket, Key=f"audit/checkpoint/{newest.size:020d}")
    well, said = await stage.night()
    assert not well
    assert "somebody meddles with its bucket" in said
    assert await stage.night() == (True, "")


async def test_a_log_whose_bucket_is_not_known_fails(stage: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXECUTION_AGENT_CONFIG")
    well, said = await stage.night()
    assert not well
    assert "EXECUTION_AGENT_CONFIG" in said


def test_without_a_log_there_is_nothing_to_verify(ledger_url: str) -> None:
    resources = {"ledger": LedgerResource(url=ledger_url), "audit_log": AuditLogVerifier()}
    assert verify_audit_log.execute_in_process(resources=resources).success
