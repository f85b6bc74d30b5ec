"""Notes below the legal holds that nobody of ours has signed: they stop no archive, and are held to be holds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import msgspec
import psycopg
import pytest
from typer.testing import CliRunner, Result

from execution_assets.archives.access import HOLD_LIFTED, HOLD_PLACED, receipt_of, write_receipt
from execution_assets.archives.assets import ArchiveResource, fill_archive
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.holds import give, order_of, write_order
from execution_assets.archives.library import Library
from execution_assets.archives.records import FILLS
from execution_assets.archives.settings import BUCKET_VARIABLE, KEYS_VARIABLE, NAME_VARIABLE, SIGNER_VARIABLE
from execution_assets.archives.verifying import verify
from execution_assets.archives.writing import Archived, archive_day
from execution_assets.executions import executions
from execution_assets.resources import LedgerResource
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import SOURCES
from operations.cli import app
from operations.people import AUDITOR
from tests.integration.people import person
from tests.integration.test_archives import DAY, SETTINGS
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import T0, intent, report, snapshot
from trust import keys, signing
from trust.keys import FileKeys
from trust.locked_store import LockedStore
from trust.signing import FileSigner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded.endpoints import Endpoints

NEXT = DAY + timedelta(days=1)


class Bucket:
    """The archives of a day at two venues, and somebody who may put objects into their bucket."""

    def __init__(self, url: str, library: Library, s3: S3Client, folder: Path) -> None:
        self.url, self.library, self.s3, self.folder = url, library, s3, folder

    def put(self, name: str, body: bytes, **how: str) -> str:
        """Put an object below the holds; give its key."""
        key = f"holds/{FILLS}/{name}"
        self.s3.put_object(Bucket=self.library.store.bucket, Key=key, Body=body, **how)  # type: ignore[arg-type]
        return key

    def order(self, day: date, *, on: bool) -> str:
        """Order a hold, or lift it; give the note's key."""
        said = receipt_of(HOLD_PLACED if on else HOLD_LIFTED, "case 4711", {}, [])
        return give(self.library, order_of(said, FILLS, day, day, (), on=on))

    def note(self, key: str) -> bytes:
        [version] = [version for _, version, _ in self.library.store.versions(key)]
        return self.library.store.get(key, version)

    def archive(self, faults: list[str]) -> list[Archived]:
        return archive_day(self.url, self.library, SETTINGS, FILLS, DAY, fault=faults.append)

    def held(self) -> set[bool]:
        return {
            self.library.store.lock(place.key, place.version).legal_hold
            for o in self.library.listed(FILLS, DAY, DAY)
            for place in (o.stored, *(file.stored for file in o.manifest.objects))
        }

    def drop(self, key: str) -> None:
        """Delete all versions of what has no lock."""
        for _, version, _ in [*self.library.store.versions(key)]:
            self.library.store.delete_unlocked(key, version)


@pytest.fixture
def bucket(ledger_url: str, tmp_path: Path, s3: S3Client, worm_bucket: str) -> Bucket:
    keys.make_key_file(tmp_path / "keys.json")
    signing.make_key_file(tmp_path / "signer.pem")
    signing.make_key_file(tmp_path / "forger.pem")
    Streaming(ledger_url).land([
        snapshot("S1", "99.5", "100.5", T0),
        intent("C1", "M1", qty="10"),
        msgspec.structs.replace(intent("C2", "M2", qty="10"), venue="BRAVO"),
        report("E1", qty="1", px="100"),
    ])  # fmt: skip
    signer = FileSigner("test/archive", tmp_path / "signer.pem")
    library = Library(LockedStore(s3, worm_bucket), FileKeys(tmp_path / "keys.json"), signer)
    return Bucket(ledger_url, library, s3, tmp_path)


def forged(bucket: Bucket, kind: str) -> str:
    """Put what is no order of ours below the holds; give its key."""
    if kind == "another name":
        return bucket.put("x.note", b"junk")
    if kind == "below another name":
        return bucket.put("more/000001.note", b"junk")
    if kind == "no note":
        return bucket.put("000001.note", b"\xff\x00junk")
    if kind == "nothing in it":
        return bucket.put("000001.note", b"")
    if kind == "encrypted under a key of theirs":
        return bucket.put("000001.note", b"junk", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    if kind == "larger than memory should take":
        return bucket.put("000001.note", b"x" * 2_000_000)
    if kind == "a key that nobody knows":
        signer = FileSigner("test/archive", bucket.folder / "forger.pem")
        said = receipt_of(HOLD_LIFTED, "case 4711", {}, [])
        return bucket.put("000001.note", write_order(order_of(said, FILLS, DAY, DAY, (), on=False), signer))
    if kind == "a receipt of ours":
        receipt = receipt_of(HOLD_LIFTED, "case 4711", {}, [])
        return bucket.put("000001.note", write_receipt(receipt, bucket.library))
    if kind == "an old order of ours again":
        old = bucket.order(NEXT, on=False)
        return bucket.put("000777.note", bucket.note(old))
    assert kind == "an order of another class"
    said = receipt_of(HOLD_LIFTED, "case 4711", {}, [])
    order = order_of(said, "audit", DAY, DAY, (), on=False)
    return bucket.put("000001.note", write_order(order, bucket.library.signer))


KINDS = (
    "another name", "below another name", "encrypted under a key of theirs", "no note", "nothing in it",
    "larger than memory should take",
    "a key that nobody knows", "a receipt of ours", "an old order of ours again", "an order of another class",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_order_of_ours_stops_no_archive_and_is_a_hold(bucket: Bucket, kind: str) -> None:
    key, faults = forged(bucket, kind), list[str]()
    done = bucket.archive(faults)
    assert [(a.listed.manifest.venue, a.is_new, a.is_held) for a in done] == [
        ("ALPHA", True, True), ("BRAVO", True, True),
    ]  # fmt: skip
    assert bucket.held() == {True}
    [fault] = faults  # once, not for every venue
    assert fault.startswith(f"{key}: ")
    assert "held" in fault
    with psycopg.connect(bucket.url) as connection:
        known = connection.execute("SELECT DISTINCT legal_hold FROM execution.archives").fetchall()
    assert known == [(True,)]
    # whoever verifies hears of the note, and of no archive
    found = verify(bucket.library, FILLS, DAY, DAY, url=bucket.url)
    assert [(line.what, line.table) for line in found.lines if line.wrong] == [(key, "hold")]
    # nothing is lifted as long as it may be a hold, and holds are ordered as ever
    with pytest.raises(ArchiveError, match=f"{key}: .*nothing is lifted"):
        bucket.order(DAY, on=False)
    assert bucket.order(NEXT, on=True) < f"holds/{FILLS}/000004.note"
    bucket.drop(key)
    faults.clear()
    assert [a.is_held for a in bucket.archive(faults)] == [False, False], "it was that note alone"
    bucket.order(DAY, on=False)
    assert faults == []


def test_orders_come_after_each_other_whatever_is_put_between(bucket: Bucket) -> None:
    """The last one counts, so a later order must never get a number below an earlier one's."""
    first = bucket.order(DAY, on=True)
    junk = [bucket.put(name, b"junk") for name in ("000002.note", "000900.note", "a.note", "b.note")]
    second = bucket.order(DAY, on=True)
    for key in junk:
        bucket.drop(key)
    third = bucket.order(DAY, on=False)
    assert first < second < third
    assert [a.is_held for a in bucket.archive([])] == [False, False]


@pytest.fixture
def environment(bucket: Bucket, endpoints: Endpoints) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
        "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        BUCKET_VARIABLE: bucket.library.store.bucket,
        KEYS_VARIABLE: str(bucket.folder / "keys.json"),
        SIGNER_VARIABLE: str(bucket.folder / "signer.pem"),
        NAME_VARIABLE: "test/archive",
    }


@pytest.fixture
def auditor(bucket: Bucket) -> Iterator[str]:
    with person(bucket.url, "carol", AUDITOR) as carol:
        yield carol.url


def test_the_asset_archives_and_says_what_it_cannot_trust(
    bucket: Bucket, environment: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    key = bucket.put("x.note", b"junk")
    result = dg.materialize(
        [*SOURCES, executions.to_source_asset(), slippage_metrics.to_source_asset(), fill_archive],
        selection=[fill_archive],
        partition_key=DAY.isoformat(),
        resources={
            "ledger": LedgerResource(url=bucket.url),
            "archive": ArchiveResource(environment=environment),
        },
    )
    [event] = result.asset_materializations_for_node("fill_archive")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["new_revisions"], told["held"]) == (2, 2)
    assert isinstance(told["doubtful"], list)
    assert [str(line).split(": ")[0] for line in told["doubtful"]] == [key]
    [line] = [line for line in capfd.readouterr().err.splitlines() if key in line and "ERROR" in line]
    assert "nothing is lifted" in line


def test_a_lift_is_refused_and_recorded_nowhere(bucket: Bucket, environment: dict[str, str], auditor: str) -> None:
    def call(*arguments: str, code: int = 0) -> Result:
        asked = ["archive", "hold", "--from", str(DAY), "--reason", "case 4711", *arguments, "--url", auditor]
        result = CliRunner().invoke(app, asked, env=environment)
        assert result.exit_code == code, result.output
        return result

    def events() -> list[str]:
        with psycopg.connect(bucket.url) as connection:
            found = connection.execute(
                "SELECT event_type FROM execution.audit_events WHERE event_type LIKE 'archive_hold%' "
                "ORDER BY position"
            )
            return [event for (event,) in found]

    bucket.archive([])
    key = bucket.put("x.note", b"junk")
    assert "placed on 14 objects" in call().stdout
    said = call("--lift", code=1).stderr
    assert f"{key}: " in said
    assert "EXECUTION_AGENT_ARCHIVE_VERIFIERS" in said
    assert bucket.held() == {True}
    assert events() == ["archive_hold_placed"]
    bucket.drop(key)
    assert "lifted from 14" in call("--lift").stdout
    assert bucket.held() == {False}
    assert events() == ["archive_hold_placed", "archive_hold_lifted"]
