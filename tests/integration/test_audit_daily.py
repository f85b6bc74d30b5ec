"""The nightly verification as Dagster runs it: from the last verified checkpoint on, and it fails aloud."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import pytest

from execution_assets.audit_log import verify_audit_log
from execution_assets.resources import LedgerResource
from operations.audit.daily import DailyVerification
from operations.audit.resource import AuditLogVerifier
from tests.integration.audit_stage import ORIGIN, AuditStage

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints


_SUNDAY = 6


def a_day(days: int, *, sunday: bool = False) -> datetime:
    """Give the next such day that many days from now, or in the past before."""
    at = datetime.now(UTC) + timedelta(days=days)
    while (at.weekday() == _SUNDAY) is not sunday:
        at += timedelta(days=1 if days > 0 else -1)
    return at


class Nights(AuditStage):
    """A log, and Dagster beside it with the rights that it has; nights are ``at`` some day, not a Sunday."""

    at = a_day(1)

    async def night(self) -> tuple[bool, str]:
        """Run the job, on a thread: Dagster has an event loop of its own."""
        return await asyncio.to_thread(self._night)

    def _night(self) -> tuple[bool, str]:
        """Run the job; give whether it went well, and the error."""
        url = f"{self.url}?options={quote('-crole=execution_dagster')}"
        resources = {"ledger": LedgerResource(url=url), "audit_log": DailyVerification(lambda: self.at)}
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


async def test_on_sundays_all_is_verified_whatever_the_ledger_says_was(stage: Nights) -> None:
    assert (await stage.night())[0]
    await stage.signed(300)
    stage.tamper(
        "INSERT INTO execution.audit_verifications (verified_at, from_size, tree_size, root_hash, problems, "
        "faults) SELECT v.at, 0, tree_size, root_hash, '{}', '{}' FROM execution.audit_verifications, "
        "(VALUES (now()), ('2099-01-01')) v(at)",
        "UPDATE execution.audit_events SET key = 'other' WHERE position = (SELECT min(position) "
        "FROM execution.audit_events)",
    )
    assert (await stage.night())[0]
    stage.at = a_day(1, sunday=True)
    well, said = await stage.night()
    assert not well
    assert "leaf 0," in said


async def test_a_verification_that_is_yet_to_be_does_not_count(stage: Nights) -> None:
    assert (await stage.night())[0]
    stage.tamper(
        "UPDATE execution.audit_verifications SET verified_at = verified_at - interval '8 days'",
        "INSERT INTO execution.audit_verifications (verified_at, from_size, tree_size, root_hash, problems, "
        "faults) SELECT '2099-01-01', 0, tree_size, root_hash, '{}', '{}' FROM execution.audit_verifications",
    )
    await stage.signed(50)
    assert (await stage.night())[0]
    assert stage.nights()[-1][0] == 0


@pytest.mark.parametrize(
    ("size", "root"), [("tree_size", "root_hash"), ("tree_size", "'\\x00'"), ("9223372036854775807", "root_hash")]
)
async def test_what_the_ledger_says_was_verified_counts_as_the_bucket_has_it(
    stage: Nights, size: str, root: str
) -> None:
    """A row planted for the newest checkpoint would leave tonight's events unread, with its true root, too."""
    stage.at = a_day(0)  # the checkpoints are of tonight
    stage.tamper(
        "INSERT INTO execution.audit_verifications (from_size, tree_size, root_hash, problems, faults) "  # noqa: S608
        f"SELECT 0, {size}, {root}, '{{}}', '{{}}' FROM execution.audit_checkpoints "
        "ORDER BY tree_size DESC LIMIT 1",
        "UPDATE execution.audit_events SET key = 'other' WHERE position = (SELECT min(position) "
        "FROM execution.audit_events)",
    )
    well, said = await stage.night()
    assert not well
    assert "leaf 0," in said
    assert stage.nights()[-1][0] == 0


async def test_of_earlier_nights_only_one_with_the_root_that_is_signed_counts(stage: Nights) -> None:
    assert (await stage.night())[0]
    await stage.signed(50)
    [(_, verified)] = stage.nights()
    stage.tamper(
        "INSERT INTO execution.audit_verifications (from_size, tree_size, root_hash, problems, faults) "
        "SELECT 0, tree_size, '\\x00', '{}', '{}' FROM execution.audit_checkpoints ORDER BY tree_size DESC LIMIT 1"
    )
    assert (await stage.night())[0]
    assert stage.nights()[-1][0] == verified


async def test_a_log_whose_tree_is_gone_fails(stage: Nights) -> None:
    assert (await stage.night())[0]
    stage.tamper("DELETE FROM execution.audit_tree")
    well, said = await stage.night()
    assert not well
    assert "audit_tree" in said


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
