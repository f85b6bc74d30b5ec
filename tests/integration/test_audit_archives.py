# ruff: noqa: S608  the statements are the test's own
"""Days of audit events that leave Postgres: verified on, and proven from the archive and the bucket alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from typer.testing import CliRunner, Result

from execution_assets.archives.dropping import drop_day
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.leaves import events_of
from execution_assets.archives.library import open_library
from execution_assets.archives.records import AUDIT
from execution_assets.archives.settings import BUCKET_VARIABLE, KEYS_VARIABLE, SIGNER_VARIABLE, settings_from
from execution_assets.archives.writing import archive_day
from operations.audit.verifying import Verdict, verify
from operations.cli import app
from operations.people import AUDITOR
from tests.integration.audit_stage import ORIGIN, AuditStage, eventually
from tests.integration.people import person
from trust import keys, signing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

GONE = "postgresql://nobody@127.0.0.1:9/none"
TODAY = datetime.now(UTC).date()
OLDER, OLD = TODAY - timedelta(days=2), TODAY - timedelta(days=1)
PROVEN_FROM = ("--reason", "inquiry 17", "--person", "carol")


class Stage(AuditStage):
    """Three days in the log: 300, 300 and 40 events; around midnight the days lie between each other."""

    def __init__(self, endpoints: Endpoints, url: str, bucket: str, folder: Path, s3: S3Client) -> None:
        super().__init__(endpoints, url, bucket, folder)
        self.settings = self.settings.model_copy(update={"edge_seconds": 1})
        self.s3, self.folder = s3, folder
        self.environment = {
            "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
            "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            BUCKET_VARIABLE: bucket,
            KEYS_VARIABLE: str(folder / "keys.json"),
            SIGNER_VARIABLE: str(folder / "archive.pem"),
            "EXECUTION_AGENT_CONFIG": str(folder / "stream.toml"),
            "EXECUTION_AGENT_ARCHIVE_YEARS": "audit=10",
        }
        keys.make_key_file(folder / "keys.json")
        signing.make_key_file(folder / "archive.pem")
        (folder / "stream.toml").write_text(
            f'postgres_url = "{url}"\n[audit]\nbucket = "{bucket}"\nsigner = "{self.settings.signer}"\n'
            f'origin = "{ORIGIN}"\ns3_endpoint = "{endpoints.s3_endpoint}"\n'
            f's3_access_key = "{endpoints.s3_access_key}"\ns3_secret_key = "{endpoints.s3_secret_key}"\n'
        )
        self.library = open_library(settings_from(self.environment), self.environment)
        for day in (OLDER, OLD, TODAY):
            self.run("SELECT execution.ensure_partitions(%s)", day)
        self.on(OLDER, 290)
        for day in (OLD, OLDER) * 10:
            self.on(day, 1)
        self.on(OLD, 290)
        self.on(TODAY, 40)

    def on(self, day: date, count: int) -> None:
        self.run(
            "INSERT INTO execution.audit_events (recorded_on, event_id, event_type, key, body) "
            "SELECT %s, gen_random_uuid(), 'fill', 'C' || n %% 7, convert_to(n::text, 'UTF8') "
            "FROM generate_series(1, %s) n", day, count,
        )  # fmt: skip

    async def signed(self) -> None:
        """Sign, and store all tiles with those that are not full."""
        async with self.checkpointing() as maker:
            await self.settled(maker)
            decisions = self.decisions() + self.dropped()
            await eventually(lambda: any(size >= decisions for size in self.bucket(self.s3).edges()), maker)

    def dropped(self) -> int:
        query = "SELECT coalesce(sum(last_leaf - first_leaf + 1), 0) FROM execution.audit_dropped_leaves"
        return int(self.run(query)[0][0])

    def archive(self, *days: date) -> None:
        for day in days:
            archive_day(self.url, self.library, settings_from(self.environment), AUDIT, day)

    def drop(self, day: date) -> int:
        return drop_day(self.url, self.library, AUDIT, day, "disk space", logged=self.bucket(self.s3)).rows

    def verified(self, *, archives: bool = False, since: int = 0) -> Verdict:
        return verify(
            self.url, self.bucket(self.s3), [self.signer.key], 0, lambda *_: None, since=since,
            archived=(lambda day: events_of(self.library, day)) if archives else None,
        )  # fmt: skip

    def call(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["audit", *arguments], env=self.environment)
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
async def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path, s3: S3Client) -> Stage:
    made = Stage(endpoints, ledger_url, worm_bucket, tmp_path, s3)
    await made.signed()
    return made


@pytest.fixture
def auditor(ledger_url: str) -> Iterator[str]:
    with person(ledger_url, "carol", AUDITOR) as carol:
        yield carol.url


async def test_the_log_is_verified_on_when_days_are_dropped(stage: Stage, auditor: str) -> None:
    stage.archive(OLDER, OLD)
    before = stage.verified()
    assert (before.problems, before.dropped) == ([], {})
    assert stage.drop(OLDER) == 300
    after = stage.verified()
    assert (after.problems, after.dropped, after.archived) == ([], {str(OLDER): 300}, 0)
    dropped = CliRunner().invoke(
        app, ["archive", "drop-partition", str(OLD), "--class", "audit", "--reason", "disk space", "--yes",
              "--url", stage.url, "--as", auditor], env=stage.environment,
    )  # fmt: skip
    assert dropped.exit_code == 0, dropped.output
    assert "300 rows are in the archive" in dropped.stdout
    shown = stage.call("verify", "--archives", "--url", stage.url).stdout
    assert "600 leaves without rows, 600 from their archives" in shown
    assert "600 from the tiles" in stage.call("verify", "--url", stage.url).stdout
    await stage.signed()  # whoever makes the log goes on, though the rows of its last tiles are gone
    verdict = stage.verified(archives=True)
    assert (verdict.problems, verdict.faults, verdict.archived) == ([], [], 600)

    [(position,)] = stage.run(
        "SELECT position FROM execution.audit_events ORDER BY xid, position OFFSET 7 LIMIT 1"
    )
    stage.tamper(f"UPDATE execution.audit_events SET key = 'other' WHERE position = {position}")
    named = stage.verified().first or ""
    assert named.startswith(f"leaf 607, where the row at position {position} is")


async def test_only_what_came_since_is_verified(stage: Stage) -> None:
    stage.archive(OLDER)
    stage.drop(OLDER)
    size = stage.verified().stored_newest
    stage.on(TODAY, 500)
    await stage.signed()
    verdict = stage.verified(since=size)
    assert (verdict.problems, verdict.since) == ([], size)
    assert 500 <= verdict.rows < 520
    [(position,)] = stage.run(
        "SELECT position FROM execution.audit_events ORDER BY xid DESC, position DESC OFFSET 20 LIMIT 1"
    )
    stage.tamper(f"UPDATE execution.audit_events SET key = 'other' WHERE position = {position}")
    assert f"position {position}" in (stage.verified(since=size).first or "")


async def test_a_tile_below_the_last_verified_checkpoint_that_was_changed_is_found(stage: Stage) -> None:
    size = stage.verified().stored_newest
    stage.on(TODAY, 500)
    await stage.signed()
    stage.tamper("UPDATE execution.audit_tiles SET hashes = set_byte(hashes, 3, 255 - get_byte(hashes, 3)) "
                 "WHERE level = 1")  # fmt: skip
    assert "another root" in stage.verified(since=size).problems[0]


async def test_rows_that_were_deleted_are_not_taken_for_dropped(stage: Stage) -> None:
    """A superuser deletes rows and writes down that they were dropped: their archive says otherwise."""
    stage.tamper(
        f"DELETE FROM execution.audit_events WHERE recorded_on = '{OLDER}' AND position <= 280",
        "INSERT INTO execution.audit_dropped_leaves (first_leaf, last_leaf, recorded_on) "
        f"VALUES (0, 279, '{OLDER}')",
    )
    assert "no event that is left says that they were dropped" in " ".join(stage.verified().problems)
    with pytest.raises(ArchiveError, match="there is no archive"):
        stage.verified(archives=True)
    stage.archive(OLDER)  # of the rows that are left
    assert not stage.verified(archives=True).good


@pytest.mark.parametrize("archives", [False, True])
@pytest.mark.parametrize("leaf", [400, 620])
async def test_a_row_that_is_said_to_have_gone_with_a_dropped_day_is_missed(
    stage: Stage, leaf: int, archives: bool
) -> None:
    """The day was dropped properly once; what else is said to have gone with it was deleted."""
    stage.archive(OLDER, OLD)
    stage.drop(OLDER)
    await stage.signed()
    assert stage.verified(archives=archives).problems == []
    [(position,)] = stage.run(
        f"SELECT position FROM execution.audit_events ORDER BY xid, position OFFSET {leaf - 300} LIMIT 1"
    )
    stage.tamper(
        f"DELETE FROM execution.audit_events WHERE position = {position}",
        "INSERT INTO execution.audit_dropped_leaves (first_leaf, last_leaf, recorded_on) "
        f"VALUES ({leaf}, {leaf}, '{OLDER}')",
    )
    verdict = stage.verified(archives=archives)
    assert "no event" in " ".join(verdict.problems)
    assert f"leaf {leaf}, of the partition of {OLDER}" in (verdict.first or "")
    assert stage.call("verify", "--url", stage.url, *(["--archives"] if archives else []), code=1)


async def test_an_event_that_will_never_be_a_leaf_says_nothing(stage: Stage) -> None:
    """A row of a transaction that is yet to come is no event of the log, and stays outside of it."""
    stage.archive(OLDER)
    stage.drop(OLDER)
    await stage.signed()
    [(position,)] = stage.run("SELECT max(position) FROM execution.audit_events WHERE event_type = 'fill'")
    [(leaf,)] = stage.run(
        "SELECT 300 + count(*) FROM execution.audit_events WHERE (xid, position) < "
        "(SELECT xid, position FROM execution.audit_events WHERE position = %s)", position,
    )  # fmt: skip
    stage.tamper(
        f"DELETE FROM execution.audit_events WHERE position = {position}",
        "INSERT INTO execution.audit_dropped_leaves (first_leaf, last_leaf, recorded_on) "
        f"VALUES ({leaf}, {leaf}, '{OLDER}')",
        "INSERT INTO execution.audit_events (xid, event_id, event_type, key, body) "
        "SELECT '4000000000000000000'::xid8, gen_random_uuid(), event_type, key, convert_to(replace("
        f"convert_from(body, 'UTF8'), '\"leaves\": \"', '\"leaves\": \"{leaf}-{leaf} '), 'UTF8') "
        "FROM execution.audit_events WHERE event_type = 'archive_partition_dropped'",
    )
    assert stage.run("SELECT count(*) FROM execution.audit_events "
                     "WHERE event_type = 'archive_partition_dropped'") == [(2,)]  # fmt: skip
    assert f"leaf {leaf}, of the partition" in (stage.verified().first or "")


async def test_a_drop_whose_event_has_left_postgres_itself_is_read_from_its_archive(stage: Stage) -> None:
    stage.archive(OLDER)
    stage.drop(OLDER)
    stage.tamper(
        f"UPDATE execution.audit_events SET recorded_on = '{OLD}' WHERE event_type = 'archive_partition_dropped'"
    )
    await stage.signed()
    stage.archive(OLD)
    assert stage.drop(OLD) == 301
    await stage.signed()
    assert stage.verified(archives=True).problems == []
    [problem] = stage.verified().problems
    assert "no event that is left says" in problem
    assert str(OLDER) in problem


@pytest.mark.parametrize("since", [300, 520])
async def test_verified_from_the_middle_of_a_dropped_day_with_its_archive(stage: Stage, since: int) -> None:
    """The walk begins at leaf 256 of the older day, 512 of the other: their archives at the day's first event."""
    stage.archive(OLDER, OLD)
    stage.drop(OLDER)
    stage.drop(OLD)
    await stage.signed()
    verdict = verify(
        stage.url, None, [stage.signer.key], 0, lambda *_: None, since=since,
        archived=lambda day: events_of(stage.library, day),
    )  # fmt: skip
    assert verdict.problems == []
    assert verdict.archived == sum(verdict.dropped.values()) == 600 - since // 256 * 256


@pytest.mark.parametrize("change", ["the row", "the tile"])
async def test_what_is_not_what_was_logged_is_not_dropped(stage: Stage, change: str) -> None:
    if change == "the row":
        stage.tamper(
            f"UPDATE execution.audit_events SET key = 'other' WHERE recorded_on = '{OLDER}' AND key = 'C3'"
        )
    stage.archive(OLDER)
    with pytest.raises(ArchiveError, match="its bucket is not known"):
        drop_day(stage.url, stage.library, AUDIT, OLDER, "disk space")
    if change == "the tile":
        stage.settings = stage.settings.model_copy(update={"prefix": "elsewhere/"})
        log = stage.bucket(stage.s3)
        log._prefix = "elsewhere/"
        with pytest.raises(ArchiveError, match="its tile is not stored yet"):
            drop_day(stage.url, stage.library, AUDIT, OLDER, "disk space", logged=log)
    else:
        with pytest.raises(ArchiveError, match="not what was logged"):
            stage.drop(OLDER)
    assert stage.run("SELECT count(*) FROM execution.audit_events WHERE recorded_on = %s", OLDER) == [(300,)]
    assert stage.run("SELECT count(*) FROM execution.audit_dropped_leaves") == [(0,)]


async def test_what_proves_a_dropped_day_is_locked_as_long_as_its_archive(stage: Stage) -> None:
    stage.archive(OLDER)
    [listed] = stage.library.listed(AUDIT, OLDER, OLDER)
    until = listed.manifest.retain_until
    assert until.year == OLDER.year + 10
    store = stage.library.store

    def shortest(prefix: str) -> datetime:
        locks = [store.lock(key, version).retain_until for key, version, _ in store.versions(f"audit/{prefix}")]
        return min(lock for lock in locks if lock is not None)

    assert shortest("tile/0/000") < until  # the log keeps its objects for seven years
    stage.drop(OLDER)
    assert min(shortest("tile/0/000"), shortest("tile/0/001"), shortest("key/")) >= until
    assert max(
        shortest(f"checkpoint/{size:020d}") for size in stage.bucket(stage.s3).sizes(300)
    ) >= until  # fmt: skip


async def test_an_archived_event_is_proven_with_postgres_gone(stage: Stage) -> None:
    ids = stage.run("SELECT event_id, recorded_on FROM execution.audit_events ORDER BY xid, position")
    stage.archive(OLDER, OLD)
    stage.drop(OLDER)
    key = str(stage.signer.key)
    file = stage.folder / "proof.json"
    for leaf in (0, 289, 291, 310, 599):
        event_id, day = ids[leaf]
        archived = ("--archived", day.isoformat(), *PROVEN_FROM)
        file.write_text(stage.call("prove", event_id.hex, *archived, "--url", GONE).stdout)
        assert json.loads(file.read_text())["leaf"] == leaf
        said = stage.call("verify", "--proof", str(file), "--vkey", key).stdout
        assert f"event {event_id.hex} (fill, recorded on {day}" in said
    asked = ("--archived", OLD.isoformat(), *PROVEN_FROM, "--url", GONE)
    assert "there is no event" in stage.call("prove", "0" * 32, *asked, code=1).stderr
    # each was an access: its receipt is locked, and waits for Postgres
    receipts = [key for key, _, _ in stage.library.store.versions("accesses/") if key.endswith(".pending.note")]
    assert len(receipts) == 6


async def test_what_is_no_manifest_is_told_where_archives_are_read(stage: Stage) -> None:
    ids = stage.run("SELECT event_id, recorded_on FROM execution.audit_events ORDER BY xid, position")
    stage.archive(OLDER)
    stage.drop(OLDER)
    await stage.signed()
    key = f"manifests/audit/{OLDER}/all/0002.note"
    stage.library.store.put(key, b"junk", datetime.now(UTC) + timedelta(days=1))
    shown = stage.call("verify", "--archives", "--url", stage.url, code=3).stdout
    assert f"meddled      {key}: " in shown
    report = msgspec.json.decode(stage.call("verify", "--archives", "--json", "--url", stage.url, code=3).stdout)
    assert (report["problems"], [fault.split(": ")[0] for fault in report["faults"]]) == ([], [key])
    assert "all agree" in stage.call("verify", "--url", stage.url).stdout
    event_id, day = ids[0]
    proven = stage.call("prove", event_id.hex, "--archived", str(day), *PROVEN_FROM, "--url", GONE, code=3)
    assert json.loads(proven.stdout)["leaf"] == 0
    assert f"left out: {key}: " in proven.stderr


async def test_an_archived_event_that_was_forged_is_not_proven(stage: Stage) -> None:
    """Whoever has the archive's keys can write another archive, and not another log."""
    stage.tamper(f"UPDATE execution.audit_events SET body = 'forged' WHERE recorded_on = '{OLD}' AND key = 'C3'")
    stage.archive(OLDER, OLD)
    [(event_id,), *_] = stage.run("SELECT event_id FROM execution.audit_events WHERE body = 'forged'")
    asked = ("--archived", OLD.isoformat(), *PROVEN_FROM, "--url", GONE)
    assert "it is not what was logged" in stage.call("prove", event_id.hex, *asked, code=1).stderr


async def test_a_reader_needs_neither_the_private_key_nor_the_ledger_for_the_public_one(stage: Stage) -> None:
    (stage.folder / "signer.pem").unlink()
    assert "all agree" in stage.call("verify", "--url", stage.url).stdout
    assert json.loads(stage.call("show", "--json", "--url", stage.url).stdout)["key"] == str(stage.signer.key)
    signing.make_key_file(stage.folder / "other.pem")
    other = str(signing.FileSigner(ORIGIN, stage.folder / "other.pem").key)
    assert "differs" in stage.call("verify", "--vkey", other, "--url", stage.url, code=1).stdout


async def test_meddling_is_told_beside_the_verdict(stage: Stage) -> None:
    newest = stage.bucket(stage.s3).newest()
    assert newest is not None
    stage.s3.delete_object(Bucket=stage.settings.bucket, Key=f"audit/checkpoint/{newest.size:020d}")
    shown = stage.call("verify", "--url", stage.url, code=3).stdout
    assert "somebody has deleted" in shown
    report = msgspec.json.decode(stage.call("verify", "--json", "--url", stage.url, code=3).stdout)
    assert (report["problems"], len(report["faults"])) == ([], 1)
