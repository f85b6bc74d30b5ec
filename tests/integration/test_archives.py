"""A day's archive on real servers: encrypted, locked, idempotent, and equal when it is read back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg
import hvac
import msgspec
import psycopg
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from execution_assets.archives.access import HOLD_LIFTED, HOLD_PLACED, hand_in, receipt_of
from execution_assets.archives.assets import ArchiveResource, audit_archive, fill_archive
from execution_assets.archives.holds import give, order_of, orders
from execution_assets.archives.keeping import hold, rotate
from execution_assets.archives.library import Library
from execution_assets.archives.manifest import (
    ACCESSES,
    HOLDS,
    MANIFESTS,
    Manifest,
    PassedOver,
    write_manifest,
)
from execution_assets.archives.records import AUDIT, FILLS
from execution_assets.archives.settings import (
    BUCKET_VARIABLE,
    KEYS_VARIABLE,
    NAME_VARIABLE,
    SIGNER_VARIABLE,
    ArchiveSettings,
)
from execution_assets.archives.verifying import verify
from execution_assets.archives.writing import archive_day
from execution_assets.executions import executions
from execution_assets.resources import LedgerResource
from execution_assets.slippage import slippage_metrics
from execution_assets.sources import SOURCES
from ledger.domain.records import ReportKind, Side
from ledger.domain.times import utc_date
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot
from trust import keys, signing
from trust.errors import StoreError, UnreadableError, WrongKeyError
from trust.keys import FileKeys, TransitKeys
from trust.locked_store import LockedStore
from trust.notes import parse_key
from trust.signing import FileSigner, TransitSigner

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded.endpoints import Endpoints

DAY = utc_date(T0)
SETTINGS = ArchiveSettings("bucket", "/keys", "/signer", {FILLS: 7, AUDIT: 7})


@pytest.fixture
def library(tmp_path: Path, s3: S3Client, worm_bucket: str) -> Library:
    keys.make_key_file(tmp_path / "keys.json")
    signing.make_key_file(tmp_path / "signer.pem")
    return Library(
        LockedStore(s3, worm_bucket),
        FileKeys(tmp_path / "keys.json"),
        FileSigner("test/archive", tmp_path / "signer.pem"),
    )


@pytest.fixture
def url(ledger_url: str) -> str:
    Streaming(ledger_url).land([
        snapshot("S1", "99.5", "100.5", T0),
        intent("C1", "M1", qty="10"),
        intent("C2", "M2", qty="20", side=Side.SELL),
        msgspec.structs.replace(report("E1", qty="1", px="100.250"), raw=b'8=FIX.4.4\x0117=E1\x01\x00\xff,"\n'),
        msgspec.structs.replace(report("E2", qty="2", px="100.75", at=T0 + 3 * SECOND), raw=b""),
        report("E3", cl_ord_id="M2", side=Side.SELL, qty="5", px="99"),
        report("E4", kind=ReportKind.CORRECT, ref="E2", qty="2", px="100.7", at=T0 + 4 * SECOND),
        report("E5", cl_ord_id="nobody", qty="1", px="100"),
    ])  # fmt: skip
    return ledger_url


def rows(library: Library, table: str, record_class: str = FILLS) -> list[dict[str, object]]:
    [listed] = library.listed(record_class, DAY, DAY)[-1:]
    [held] = [o for o in listed.manifest.objects if o.table == table]
    found: list[dict[str, object]] = pa.concat_tables(library.tables(held)).to_pylist()
    return found


def test_a_day_is_given_back_as_it_was(url: str, library: Library) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert done.is_new
    with psycopg.connect(url) as connection:
        stored = connection.execute(
            "SELECT exec_id, raw, last_px::text FROM execution.fills ORDER BY received_ns, report_id, content"
        ).fetchall()
    fills = rows(library, "fills")
    assert [(row["exec_id"], row["raw"], row["last_px"]) for row in fills] == stored
    assert {row["exec_id"]: row["tied_to"] for row in fills} == {
        "E1": "C1", "E2": "C1", "E3": "C2", "E4": "C1", "E5": None,
    }  # fmt: skip
    assert {row["execution_id"] for row in rows(library, "executions")} <= {row["report_id"] for row in fills}
    assert {row["msg_id"] for row in rows(library, "orders")} == {"M1", "M2"}
    assert rows(library, "slippage_metrics")


def test_the_same_day_again_changes_nothing_and_a_late_fill_makes_a_revision(url: str, library: Library) -> None:
    [first] = archive_day(url, library, SETTINGS, FILLS, DAY)
    [again] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (again.is_new, again.listed) == (False, first.listed)
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    [late] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (late.is_new, late.listed.manifest.revision) == (True, 2)
    assert library.listed(FILLS, DAY, DAY) == [first.listed, late.listed]
    assert late.listed.manifest.previous == first.listed.stored.sha256
    found = verify(library, FILLS, DAY, DAY, url=url)
    assert (found.wrong, found.notes, len(found.manifests)) == (0, [], 2)


def test_what_is_archived_is_locked_for_the_years(url: str, library: Library, s3: S3Client) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    manifest = done.listed.manifest
    assert manifest.retain_until == datetime(DAY.year + 7, DAY.month, DAY.day, tzinfo=UTC) + timedelta(days=1)
    for place in (done.listed.stored, *(o.stored for o in manifest.objects)):
        assert library.store.lock(place.key, place.version).retain_until == manifest.retain_until
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=library.store.bucket, Key=place.key, VersionId=place.version)


def test_audit_events_are_archived_in_their_order(url: str, library: Library) -> None:
    with psycopg.connect(url) as connection:
        day = connection.execute("SELECT recorded_on FROM execution.audit_events LIMIT 1").fetchone()
        assert day is not None
        stored = connection.execute(
            "SELECT position, body FROM execution.audit_events ORDER BY audit_events.xid, position"
        ).fetchall()
    [done] = archive_day(url, library, SETTINGS, AUDIT, day[0])
    [held] = done.listed.manifest.objects
    table = pa.concat_tables(library.tables(held))
    assert list(zip(table["position"].to_pylist(), table["body"].to_pylist(), strict=True)) == stored


def test_a_rotation_leaves_bytes_and_versions_alone(url: str, library: Library, tmp_path: Path) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    before = rows(library, "fills")
    assert keys.rotate_key_file(tmp_path / "keys.json") == 2
    rotated = Library(library.store, FileKeys(tmp_path / "keys.json"), library.signer)
    assert rotate(rotated, [done.listed], forget=True) == len(done.listed.manifest.objects)
    for held in done.listed.manifest.objects:
        assert [(v, s) for _, v, s in library.store.versions(held.key)] == [(held.version, held.size)]
        assert library.store.digest(held.key, held.version) == (held.sha256, held.size)
        assert rotated.material(held).wrapped_key.startswith("file:v2:")
        assert len(list(library.store.versions(held.material_key))) == 1
    assert rows(rotated, "fills") == before
    assert verify(rotated, FILLS, DAY, DAY, url=url).wrong == 0


def test_a_legal_hold_is_on_every_object(url: str, library: Library) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert hold(library, [done.listed], on=True) == 7
    assert all(line.legal_hold for line in verify(library, FILLS, DAY, DAY).lines)
    hold(library, [done.listed], on=False)
    assert not any(line.legal_hold for line in verify(library, FILLS, DAY, DAY).lines)


def order(library: Library, first: date, *, on: bool) -> None:
    said = receipt_of(HOLD_PLACED if on else HOLD_LIFTED, "case 4711", {}, [])
    give(library, order_of(said, FILLS, first, first, (), on=on))


def test_a_legal_hold_is_on_what_is_archived_of_the_day_later_until_it_is_lifted(
    url: str, library: Library
) -> None:
    def held() -> list[bool]:
        return [
            library.store.lock(place.key, place.version).legal_hold
            for o in library.listed(FILLS, DAY, DAY)
            for place in (o.stored, *(file.stored for file in o.manifest.objects))
        ]

    archive_day(url, library, SETTINGS, FILLS, DAY)
    order(library, DAY, on=True)
    order(library, DAY + timedelta(days=1), on=False)  # another day's
    assert held() == [False] * 7, "nobody has gone through the objects yet"
    assert [line.wrong for line in verify(library, FILLS, DAY, DAY).lines if line.wrong] == [
        ("the day is under a legal hold, and this is not",)
    ]
    [same] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (same.is_new, same.is_held, held()) == (False, True, [True] * 7), "it makes up for who was killed"
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    [late] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (late.is_new, late.is_held, held()) == (True, True, [True] * 14)
    with psycopg.connect(url) as connection:
        known = connection.execute("SELECT DISTINCT legal_hold FROM execution.archives WHERE revision = 2")
        assert known.fetchall() == [(True,)]
    order(library, DAY, on=False)
    hold(library, library.listed(FILLS, DAY, DAY), on=False)
    Streaming(url).land([intent("C8", "M8"), report("E8", cl_ord_id="M8", qty="1", px="101")])
    archive_day(url, library, SETTINGS, FILLS, DAY)
    assert held() == [False] * 21
    assert verify(library, FILLS, DAY, DAY, url=url).wrong == 0


def test_days_and_venues_that_were_never_archived_are_missing(url: str, library: Library) -> None:
    at = T0 + 2 * 86_400 * SECOND
    Streaming(url).land([intent("D1", "N1", at=at), report("F1", cl_ord_id="N1", qty="1", px="101", at=at)])
    archive_day(url, library, SETTINGS, FILLS, utc_date(at))
    first, last = DAY - timedelta(days=1), DAY + timedelta(days=3)

    def missing(url: str | None = None) -> list[str]:
        found = verify(library, FILLS, first, last, url=url)
        assert found.wrong == found.missing
        return [line.what for line in found.lines if line.is_missing]

    assert missing(url) == [f"fills {DAY} ALPHA"]
    assert missing() == [f"fills {DAY} -"], "the manifest of two days later knows of it"
    archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (missing(url), missing()) == ([], [])
    # a venue that came to the day later
    Streaming(url).land([msgspec.structs.replace(intent("C7", "M7"), venue="BRAVO")])
    assert missing(url) == [f"fills {DAY} BRAVO"]
    [done] = [a for a in archive_day(url, library, SETTINGS, FILLS, DAY) if a.is_new]
    assert (done.listed.manifest.venue, done.listed.manifest.venues) == ("BRAVO", ("ALPHA", "BRAVO"))
    assert missing(url) == []


def test_a_venue_whose_archive_was_not_written_is_named_by_the_others(url: str, library: Library) -> None:
    """The writer was killed between the two."""
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    later = msgspec.structs.replace(
        done.listed.manifest, trade_date=DAY + timedelta(days=1), venues=("ALPHA", "BRAVO"), before=DAY
    )
    library.store.put(later.key, write_manifest(later, library.signer), later.retain_until)
    found = verify(library, FILLS, DAY, later.trade_date)
    assert [line.what for line in found.lines if line.wrong] == [f"fills {later.trade_date} BRAVO"]


def test_what_was_archived_before_its_day_was_over_is_not_enough(url: str, library: Library) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    over = datetime.combine(DAY, time(), UTC)
    early = msgspec.structs.replace(
        done.listed.manifest, trade_date=DAY - timedelta(days=1), created_at=over - timedelta(hours=1)
    )
    library.store.put(early.key, write_manifest(early, library.signer), early.retain_until)
    lines = verify(library, FILLS, early.trade_date, early.trade_date, deep=False).lines
    assert "before the day was over" in lines[0].wrong[0]


def test_reading_takes_no_private_key_and_a_rotated_one_breaks_nothing(
    url: str, library: Library, endpoints: Endpoints, tmp_path: Path
) -> None:
    client, mount = (
        hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token),
        f"transit-{uuid4().hex[:12]}",
    )
    client.sys.enable_secrets_engine("transit", path=mount)
    client.secrets.transit.create_key("signer", key_type="ed25519", mount_point=mount)

    def opened() -> Library:
        return Library(library.store, library.keys, TransitSigner("test/archive", lambda: client, "signer", mount))

    archive_day(url, opened(), SETTINGS, FILLS, DAY)
    client.secrets.transit.rotate_key("signer", mount_point=mount)
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    [late] = archive_day(url, opened(), SETTINGS, FILLS, DAY)
    first, second = opened().listed(FILLS, DAY, DAY)
    assert late.listed == second
    assert first.signed_by != second.signed_by
    assert verify(opened(), FILLS, DAY, DAY, url=url).wrong == 0
    client.sys.disable_secrets_engine(mount)
    client.adapter.close()
    # the keys in the bucket vouch for each other; a copy of the first one elsewhere is all that is needed
    lost = FileSigner("test/archive", tmp_path / "lost.pem")
    for pinned in ([], [parse_key(first.signed_by)]):
        reader = Library(library.store, library.keys, lost, pinned)
        assert verify(reader, FILLS, DAY, DAY, url=url).wrong == 0
        assert [str(key) for key in reader.verifiers] == [first.signed_by, second.signed_by]
        assert any("is not asked for its public half" in note for note in reader.notes)
    # a key that somebody put there counts for nothing
    signing.make_key_file(tmp_path / "forger.pem")
    forger = Library(library.store, library.keys, FileSigner("test/archive", tmp_path / "forger.pem"))
    forger.publish_key(datetime.now(UTC) + timedelta(days=1))
    known = Library(library.store, library.keys, lost).verifiers
    assert [str(key) for key in known] == [first.signed_by, second.signed_by]


def test_a_file_under_another_name_is_refused(url: str, library: Library, s3: S3Client) -> None:
    """Its bytes and its key material are copied to another path, whole: the path is part of what is encrypted."""
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    [held] = [o for o in done.listed.manifest.objects if o.table == "fills"]
    elsewhere = msgspec.structs.replace(held, key=held.key.replace("ALPHA", "BRAVO"))
    answer = s3.put_object(
        Bucket=library.store.bucket, Key=elsewhere.key, Body=library.store.get(held.key, held.version)
    )
    elsewhere = msgspec.structs.replace(elsewhere, version=answer["VersionId"])
    claimed = msgspec.structs.replace(library.material(held), object=elsewhere.key)
    library.store.put_unlocked(elsewhere.material_key, library.material(held).json())
    with pytest.raises(WrongKeyError, match="the key material is that of"):
        list(library.tables(elsewhere))
    library.store.put_unlocked(elsewhere.material_key, claimed.json())
    with pytest.raises(WrongKeyError, match="does not open as this object"):
        list(library.tables(elsewhere))


def test_verify_finds_every_planted_fault(url: str, library: Library, s3: S3Client, tmp_path: Path) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert verify(library, FILLS, DAY, DAY, url=url).wrong == 0
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE execution.archives SET digest = 'x' WHERE table_name = 'orders'")
    assert verify(library, FILLS, DAY, DAY).wrong == 0  # the store alone is as it was
    assert [line.table for line in verify(library, FILLS, DAY, DAY, url=url).lines if line.wrong] == ["orders"]
    # key material of another file
    by_table = {o.table: o for o in done.listed.manifest.objects}
    library.store.put_unlocked(by_table["fills"].material_key, library.material(by_table["orders"]).json())
    [wrong] = [line for line in verify(library, FILLS, DAY, DAY).lines if line.wrong]
    assert (wrong.table, "the key material is that of" in wrong.wrong[0]) == ("fills", True)
    # a manifest that another key signed
    signing.make_key_file(tmp_path / "other.pem")
    forger = FileSigner("test/archive", tmp_path / "other.pem")
    forged = msgspec.structs.replace(done.listed.manifest, trade_date=DAY + timedelta(days=1))
    library.store.put(forged.key, write_manifest(forged, forger), datetime.now(UTC) + timedelta(days=1))
    assert library.listed(FILLS, DAY, forged.trade_date) == [done.listed]
    assert ["none of the keys" in doubt for doubt in library.doubts] == [True]
    found = verify(library, FILLS, DAY, forged.trade_date)
    assert ["none of the keys" in line.wrong[0] for line in found.lines if line.what == forged.key] == [True]
    # an object put over a file: the version counts, so nothing changes; what no manifest knows is noted
    s3.put_object(Bucket=library.store.bucket, Key=by_table["orders"].key, Body=b"other")
    found = verify(library, FILLS, DAY, DAY)
    assert (sum(line.table == "orders" for line in found.lines if line.wrong), len(found.notes)) == (0, 1)


def test_what_others_put_below_the_manifests_stops_nothing_and_is_told(url: str, library: Library) -> None:
    later = datetime.now(UTC) + timedelta(days=1)

    def put(name: str) -> str:
        return library.store.put(f"{MANIFESTS}/fills/{DAY}/ALPHA/{name}", b"junk", later).key

    def told() -> set[str]:
        return {line.what for line in verify(library, FILLS, DAY, DAY, url=url).lines if line.wrong}

    junk = {put("0001.note"), put("0002.note"), put("notes.txt")}
    faults: list[str] = []
    [first] = archive_day(url, library, SETTINGS, FILLS, DAY, fault=faults.append)
    assert (first.is_new, first.listed.manifest.revision, first.listed.manifest.previous) == (True, 3, None)
    assert {fault.split(": ")[0] for fault in faults} == junk
    assert told() == junk
    [again] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert (again.is_new, len(again.doubts)) == (False, 3)
    junk.add(put("0004.note"))
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    [late] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert late.listed.manifest.revision == 5
    assert late.listed.manifest.previous == first.listed.stored.sha256
    assert told() == junk
    assert library.listed(FILLS, DAY, DAY) == [first.listed, late.listed]


def test_what_the_store_gives_nobody_stops_nothing_and_is_told(url: str, library: Library, s3: S3Client) -> None:
    """Somebody puts objects that are encrypted under a key of their own (SSE-C) wherever we read."""
    archive_day(url, library, SETTINGS, FILLS, DAY)
    put = {
        f"{MANIFESTS}/fills/{DAY}/ALPHA/0002.note", f"{MANIFESTS}/fills/{DAY}/notes.txt",
        f"{MANIFESTS}/fills/{DAY}/NOBODY/0001.note", f"{HOLDS}/fills/000001.note",
    }  # fmt: skip
    mine = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    for key in (*put, "verifiers/key/0002", f"{ACCESSES}/{datetime.now(UTC):%Y-%m-%d}/0.pending.note"):
        s3.put_object(Bucket=library.store.bucket, Key=key, Body=b"junk", **mine)  # type: ignore[arg-type]
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    opened = Library(library.store, library.keys, library.signer)
    faults: list[str] = []
    [late] = archive_day(url, opened, SETTINGS, FILLS, DAY, fault=faults.append)
    assert (late.is_new, late.is_held, late.listed.manifest.revision) == (True, True, 3)
    assert {fault.split(": ")[0] for fault in faults} == put
    assert len(faults) == len(put), "once a day, not for every venue"
    assert {line.what for line in verify(opened, FILLS, DAY, DAY, url=url).lines if line.wrong} == put
    assert any("verifiers/key/0002" in note and "does not give" in note for note in opened.notes)
    said: list[str] = []
    assert (hand_in(opened, url, log=said.append), len(said)) == (0, 1)


def test_a_login_that_may_read_nothing_is_no_fault_of_the_objects(
    url: str, library: Library, s3: S3Client
) -> None:
    """Else each run would take all manifests for none, and write the whole day once more, locked for years."""
    mine = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    for key in ("verifiers/key/0001", f"{MANIFESTS}/fills/{DAY}/ALPHA/0001.note", "holds/fills/000001.note"):
        s3.put_object(Bucket=library.store.bucket, Key=key, Body=b"junk", **mine)  # type: ignore[arg-type]
    for read in (lambda: library.manifests(FILLS, DAY, DAY), lambda: orders(library, FILLS)):
        with pytest.raises(StoreError, match="no key can be read") as error:
            read()
        assert not isinstance(error.value, UnreadableError)


def test_a_manifest_that_was_passed_over_is_in_the_chain_once_its_key_is_named(
    url: str, library: Library, tmp_path: Path
) -> None:
    """The signing key was lost; until the old one is named its manifests count for nothing."""
    [first] = archive_day(url, library, SETTINGS, FILLS, DAY)
    signing.make_key_file(tmp_path / "new.pem")
    signer = FileSigner("test/archive", tmp_path / "new.pem")
    unnamed = Library(library.store, library.keys, signer, [signer.key])
    [second] = archive_day(url, unnamed, SETTINGS, FILLS, DAY)
    manifest, stored = second.listed.manifest, first.listed.stored
    assert (manifest.revision, manifest.previous) == (2, None)
    assert manifest.passed_over == (PassedOver(stored.key, stored.version, stored.sha256),)
    assert [line.what for line in verify(unnamed, FILLS, DAY, DAY, url=url).lines if line.wrong] == [
        stored.key, *[held.key for held in first.listed.manifest.objects],
    ]  # fmt: skip
    named = Library(library.store, library.keys, signer, [signer.key, library.signer.key])
    assert verify(named, FILLS, DAY, DAY, url=url).wrong == 0
    Streaming(url).land([intent("C9", "M9"), report("E9", cl_ord_id="M9", qty="1", px="101")])
    [third] = archive_day(url, named, SETTINGS, FILLS, DAY)
    assert (third.listed.manifest.previous, third.listed.manifest.passed_over) == (second.listed.stored.sha256, ())
    assert verify(named, FILLS, DAY, DAY, url=url).wrong == 0
    # a revision that does not say so, or says it of other bytes, passes over nothing
    other = PassedOver(stored.key, stored.version, "0" * 64)
    for day, passed in ((1, ()), (2, (other,)), (3, None)):
        at = DAY + timedelta(days=day)
        before = msgspec.structs.replace(first.listed.manifest, trade_date=at)
        old = library.store.put(before.key, write_manifest(before, library.signer), before.retain_until)
        said = passed and (msgspec.structs.replace(other, key=old.key, version=old.version),)
        after = msgspec.structs.replace(manifest, trade_date=at, passed_over=passed if said is None else said)
        library.store.put(after.key, write_manifest(after, signer), after.retain_until)
        lines = verify(named, FILLS, at, at, deep=False).lines
        wrong = [said for line in lines if line.what == after.name for said in line.wrong]
        assert wrong == ["revision 1 is not the one that this follows"], passed


def test_what_was_passed_over_may_go(url: str, library: Library, s3: S3Client) -> None:
    """Junk is deleted, as the message says, once no lock keeps it: that is no gap."""
    key = f"{MANIFESTS}/fills/{DAY}/ALPHA/0001.note"
    s3.put_object(Bucket=library.store.bucket, Key=key, Body=b"junk")
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    assert done.listed.manifest.revision == 2
    for _, version, _ in [*library.store.versions(key)]:
        library.store.delete_unlocked(key, version)
    assert verify(library, FILLS, DAY, DAY, url=url).wrong == 0


def test_a_manifest_of_before_the_list_is_read(url: str, library: Library) -> None:
    [done] = archive_day(url, library, SETTINGS, FILLS, DAY)
    told = msgspec.json.decode(msgspec.json.encode(done.listed.manifest))
    del told["passed_over"]
    assert msgspec.json.decode(msgspec.json.encode(told), type=Manifest).passed_over is None


def test_days_and_venues_without_records_have_no_archive(url: str, library: Library) -> None:
    assert archive_day(url, library, SETTINGS, FILLS, date(2026, 1, 1)) == []
    assert library.listed(FILLS, date(2026, 1, 1), DAY) == []


def test_both_assets_archive_a_day(
    url: str, library: Library, endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(BUCKET_VARIABLE, raising=False)
    today = datetime.now(UTC).date()  # when the audit events were recorded

    def materialize(asset: dg.AssetsDefinition, day: date, **environment: str) -> dg.ExecuteInProcessResult:
        resources = {"ledger": LedgerResource(url=url), "archive": ArchiveResource(environment=environment)}
        return dg.materialize(
            [*SOURCES, executions.to_source_asset(), slippage_metrics.to_source_asset(), asset],
            selection=[asset],
            partition_key=day.isoformat(),
            resources=resources,
            raise_on_error=False,
        )

    assert not materialize(fill_archive, DAY).success
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
        "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        BUCKET_VARIABLE: library.store.bucket,
        KEYS_VARIABLE: str(tmp_path / "keys.json"),
        SIGNER_VARIABLE: str(tmp_path / "signer.pem"),
        NAME_VARIABLE: "test/archive",
    }
    for asset, record_class, day, objects in ((fill_archive, FILLS, DAY, 6), (audit_archive, AUDIT, today, 1)):
        result = materialize(asset, day, **environment)
        assert result.success
        [event] = result.asset_materializations_for_node(record_class.removesuffix("s") + "_archive")
        told = {name: value.value for name, value in event.metadata.items()}
        [listed] = library.listed(record_class, day, day)
        assert (told["objects"], told["new_revisions"], told["dagster/row_count"]) == (
            objects, 1, listed.manifest.rows,
        )  # fmt: skip
        assert told["retain_until"] == f"{listed.manifest.retain_until:%Y-%m-%d}"
        assert told["bytes"] == listed.manifest.size > 0


def test_a_day_under_keys_that_never_leave_vault(url: str, library: Library, endpoints: Endpoints) -> None:
    client, mount = (
        hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token),
        f"transit-{uuid4().hex[:12]}",
    )
    client.sys.enable_secrets_engine("transit", path=mount)
    client.secrets.transit.create_key("archive", mount_point=mount)
    client.secrets.transit.create_key("signer", key_type="ed25519", mount_point=mount)
    signer = TransitSigner("test/archive", lambda: client, "signer", mount)
    vaulted = Library(library.store, TransitKeys(lambda: client, "archive", mount), signer)
    [done] = archive_day(url, vaulted, SETTINGS, FILLS, DAY)
    client.secrets.transit.rotate_key("archive", mount_point=mount)
    rotate(vaulted, [done.listed], forget=True)
    assert {vaulted.material(o).wrapped_key[:9] for o in done.listed.manifest.objects} == {"vault:v2:"}
    assert verify(vaulted, FILLS, DAY, DAY, url=url).wrong == 0
    client.sys.disable_secrets_engine(mount)
    assert verify(vaulted, FILLS, DAY, DAY).wrong == len(done.listed.manifest.objects)  # nothing opens without it
    client.adapter.close()
