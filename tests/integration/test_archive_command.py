"""``execution-agent archive`` as a compliance officer runs it, on real servers; also with Postgres gone."""

from __future__ import annotations

import base64
import csv
import json
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from execution_assets.archives.access import hand_in, read_receipt
from execution_assets.archives.dropping import drop_day
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.library import open_library
from execution_assets.archives.manifest import MANIFESTS
from execution_assets.archives.records import AUDIT, FILLS
from execution_assets.archives.settings import (
    BUCKET_VARIABLE,
    KEYS_VARIABLE,
    SIGNER_VARIABLE,
    VERIFIERS_VARIABLE,
    settings_from,
)
from execution_assets.archives.writing import archive_day
from ledger.db.migrate import migrate
from ledger.db.rows import FILL_COLUMNS
from ledger.domain.records import Side
from operations.cli import app
from operations.people import AUDITOR, BACKFILL
from streaming.topics import AUDIT_EVENT
from tests.integration.people import Person, person
from tests.integration.test_archives import DAY
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot
from tests.unit.test_event_schemas import validator
from trust import keys, signing
from trust.errors import NoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from operations.embedded.endpoints import Endpoints

RAW = {"E1": b"8=FIX.4.4\x0117=E1\x0110=000\x01", "E2": b"\x00\xff,\"'\r\n\\", "E3": b""}
GONE = "postgresql://nobody@127.0.0.1:9/none"
DAYS = ("--from", DAY.isoformat())
WHY = ("--reason", "inquiry 17")


class Desk:
    """An archived day, and the command line beside it."""

    def __init__(self, url: str, auditor: Person, environment: dict[str, str], folder: Path) -> None:
        self.person, self.auditor = auditor.name, auditor.url
        self.url, self.environment, self.folder = url, environment, folder
        self.library = open_library(settings_from(environment), environment)

    def call(self, *arguments: str | Path, code: int = 0, url: str | None = None) -> Result:
        login = self.url if arguments[0] == "drop-partition" else self.auditor
        named = [] if arguments[0] == "list" else ["--url", url or login]
        if arguments[0] == "drop-partition" and "--as" not in arguments:
            named += ["--as", self.auditor]
        result = CliRunner().invoke(app, ["archive", *map(str, arguments), *named], env=self.environment)
        assert result.exit_code == code, result.output
        return result

    def events(self) -> list[dict[str, object]]:
        with psycopg.connect(self.url) as connection:
            found = connection.execute(
                "SELECT body FROM execution.audit_events WHERE event_type LIKE 'archive_%' ORDER BY position"
            )
            events = [json.loads(body) for (body,) in found]
        for event in events:
            validator(AUDIT_EVENT).validate(event)
        return events


@pytest.fixture
def desk(ledger_url: str, endpoints: Endpoints, worm_bucket: str, tmp_path: Path) -> Iterator[Desk]:
    Streaming(ledger_url).land([
        snapshot("S1", "99.5", "100.5", T0),
        intent("C1", "M1", qty="10"),
        intent("C2", "M2", qty="20", side=Side.SELL),
        msgspec.structs.replace(report("E1", qty="1", px="100.250"), raw=RAW["E1"]),
        msgspec.structs.replace(report("E2", qty="2.5", px="100.75", at=T0 + 2 * SECOND), raw=RAW["E2"]),
        msgspec.structs.replace(report("E3", cl_ord_id="M2", side=Side.SELL, qty="5", px="99"), raw=RAW["E3"]),
    ])  # fmt: skip
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
        "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        BUCKET_VARIABLE: worm_bucket,
        KEYS_VARIABLE: str(tmp_path / "keys.json"),
        SIGNER_VARIABLE: str(tmp_path / "signer.pem"),
    }
    keys.make_key_file(tmp_path / "keys.json")
    signing.make_key_file(tmp_path / "signer.pem")
    with person(ledger_url, "carol", AUDITOR) as carol:
        desk = Desk(ledger_url, carol, environment, tmp_path)
        archive_day(ledger_url, desk.library, settings_from(environment), FILLS, DAY)
        yield desk


def test_what_is_pulled_is_what_the_venue_sent(desk: Desk) -> None:
    pulled = {}
    for kind in ("parquet", "csv", "json"):
        desk.call("pull", *DAYS, *WHY, "--output", desk.folder / kind, "--format", kind)
        pulled[kind] = desk.folder / kind / f"fills.{kind}"
    assert {r["exec_id"]: r["raw"] for r in pq.read_table(pulled["parquet"]).to_pylist()} == RAW
    with pulled["csv"].open(newline="") as file:
        assert {r["exec_id"]: base64.b64decode(r["raw"]) for r in csv.DictReader(file)} == RAW
    lines = [json.loads(line) for line in pulled["json"].read_text().splitlines()]
    assert {r["exec_id"]: base64.b64decode(r["raw"]) for r in lines} == RAW
    assert {r["exec_id"]: r["last_px"] for r in lines} == {"E1": "100.250", "E2": "100.75", "E3": "99"}
    assert pulled["csv"].stat().st_mode & 0o077 == 0
    # the receipt says who, when, why, what
    note = (desk.folder / "csv" / "receipt.note").read_bytes()
    receipt = read_receipt(note, desk.library)
    assert (receipt.person, receipt.known_by) == (desk.person, "login")
    assert (receipt.reason, receipt.ledger, "@" in receipt.account) == ("inquiry 17", "recorded", True)
    assert {o["file"] for o in receipt.outputs} >= {"fills.csv", "executions.csv", "orders.csv"}
    with pytest.raises(NoteError):
        read_receipt(note.replace(b"inquiry 17", b"inquiry 18"), desk.library)
    events = desk.events()
    assert [(e["event"], e["detail"]["reason"]) for e in events] == [("archive_pulled", "inquiry 17")] * 3  # type: ignore[index]
    assert desk.call(
        "pull", *DAYS, *WHY, "--output", desk.folder / "csv", "--format", "csv", code=1
    ).stderr.endswith("is there already: name another folder\n")


def test_a_pull_is_narrowed_to_an_order(desk: Desk) -> None:
    output = desk.folder / "out"
    desk.call("pull", *DAYS, *WHY, "--output", output, "--format", "json", "--correlation-id", "C2")
    for table, key in (("fills", "tied_to"), ("executions", "correlation_id"), ("orders", "correlation_id")):
        rows = [json.loads(line) for line in (output / f"{table}.json").read_text().splitlines()]
        assert [row[key] for row in rows] == ["C2"], table
    refused = desk.call(
        "pull", *DAYS, *WHY, "--output", output, "--account", "A", "--table", "dead_letters", code=1
    )
    assert "dead_letters has no column of account" in refused.stderr


def test_a_pull_without_postgres_waits_to_be_handed_in(desk: Desk) -> None:
    told = json.loads(
        desk.call(
            "pull", *DAYS, *WHY, "--output", desk.folder / "out", "--json", "--person", "dan", url=GONE
        ).stdout
    )
    assert told["ledger"].startswith("pending: ")
    assert desk.events() == []
    assert (hand_in(desk.library, desk.url), hand_in(desk.library, desk.url)) == (1, 0)
    [event] = desk.events()
    assert (event["event_id"], event["detail"]["reason"]) == (told["event_id"], "inquiry 17")  # type: ignore[index]
    assert (told["person"], told["known_by"]) == ("dan", "claim")
    assert (event["detail"]["person"], event["detail"]["known_by"]) == ("dan", "claim")  # type: ignore[index]
    # all else works without it, too
    assert "ALPHA" in desk.call("list", *DAYS).stdout
    assert "Postgres is not compared" in desk.call("verify", *DAYS, url=GONE).stderr


def test_sql_is_answered_and_no_byte_is_written(desk: Desk) -> None:
    """The kernel refuses this process any write to any file."""
    statement = (
        "SELECT o.side, sum(e.last_qty * e.last_px) AS notional, count(*) AS n FROM executions e "
        "JOIN orders o USING (correlation_id) GROUP BY ALL ORDER BY o.side"
    )
    command = [sys.executable, "-B", "-m", "operations.cli", "archive", "query", statement, *DAYS, *WHY, "--json"]
    done = subprocess.run(
        [*command, "--url", desk.auditor],
        env={**os.environ, **desk.environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 0, done.stderr
    buy, sell = json.loads(done.stdout)["rows"]
    assert (buy["side"], buy["n"], sell["side"], sell["n"]) == ("buy", 2, "sell", 1)
    assert float(buy["notional"]) == 100.25 + 2.5 * 100.75
    [event] = desk.events()
    assert event["event"] == "archive_queried"
    assert event["detail"]["sql"] == statement  # type: ignore[index]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("COPY fills TO '/tmp/fills.csv'", "disabled"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SET enable_external_access = true", "locked"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM fills", "nothing"),
    ],
)
def test_a_statement_that_reaches_out_is_refused(desk: Desk, statement: str, said: str) -> None:
    assert said in desk.call("query", statement, *DAYS, *WHY, code=1).stderr


def test_numbers_are_decimals_and_their_text_is_there(desk: Desk) -> None:
    statement = (
        "SELECT s.last_px, typeof(f.last_px) AS t FROM fills f JOIN stored.fills s USING (exec_id) "
        "WHERE exec_id = 'E1'"
    )
    rows = json.loads(desk.call("query", statement, *DAYS, *WHY, "--json").stdout)["rows"]
    assert rows == [{"last_px": "100.250", "t": "DECIMAL(38,12)"}]


@pytest.mark.parametrize("command", ["pull", "query", "hold", "rotate"])
def test_an_access_takes_an_auditor(desk: Desk, ledger_url: str, command: str) -> None:
    words = {"pull": ("--output", desk.folder / "x"), "query": ("SELECT 1",)}.get(command, ())
    with person(ledger_url, "oscar") as oscar:
        for url, said in ((desk.url, "is the database administrator's"), (oscar.url, "needs the role auditor")):
            assert said in desk.call(command, *words, *DAYS, *WHY, url=url, code=1).stderr
    if words:
        assert "say who you are" in desk.call(command, *words, *DAYS, *WHY, url=GONE, code=2).stderr
    else:
        assert "Postgres cannot be asked" in desk.call(command, *DAYS, *WHY, url=GONE, code=1).stderr
        desk.environment["EXECUTION_AGENT_PERSON"] = "dan"
        assert "Postgres cannot be asked" in desk.call(command, *DAYS, *WHY, url=GONE, code=1).stderr
        assert not list(desk.library.store.versions("accesses/"))
        assert not list(desk.library.store.versions("holds/"))
    assert (desk.events(), (desk.folder / "x").exists()) == ([], False)


def test_a_query_without_postgres_waits_to_be_handed_in(desk: Desk) -> None:
    asked = ("query", "SELECT count(*) AS n FROM fills", *DAYS, *WHY, "--json", "--person", "dan")
    told = desk.call(*asked, url=GONE)
    assert json.loads(told.stdout)["rows"] == [{"n": 3}]
    assert "audit event pending: " in told.stderr
    assert desk.events() == []
    assert (hand_in(desk.library, desk.url), hand_in(desk.library, desk.url)) == (1, 0)
    [event] = desk.events()
    assert event["event_id"] == json.loads(told.stdout)["receipt"]
    assert event["detail"].items() >= {  # type: ignore[attr-defined]
        "person": "dan", "known_by": "claim", "sql": "SELECT count(*) AS n FROM fills", "reason": "inquiry 17",
    }.items()  # fmt: skip


def test_a_drop_is_for_an_auditor_who_is_logged_in_to_the_same_database(
    desk: Desk, ledger_url: str, database_url: str
) -> None:
    drop = ("drop-partition", DAY.isoformat(), "--reason", "disk space", "--yes")
    asked = ["archive", *drop, "--url", desk.url]
    nobody = CliRunner().invoke(app, asked, env=desk.environment)
    assert nobody.exit_code == 2
    assert "--as, the URL of an auditor's own login" in nobody.stderr
    with person(ledger_url, "oscar") as oscar:
        assert "needs the role auditor" in desk.call(*drop, "--as", oscar.url, code=1).stderr
    assert "database administrator's" in desk.call(*drop, "--as", desk.url, code=1).stderr
    migrate(database_url)
    name = database_url.rpartition("/")[2]
    elsewhere = f"{desk.auditor.rpartition('/')[0]}/{name}"
    assert "is logged in to another database" in desk.call(*drop, "--as", elsewhere, code=1).stderr
    assert "nothing was dropped" in desk.call(*drop, "--as", GONE, code=1).stderr
    assert desk.events() == []
    desk.call(*drop)
    [event] = desk.events()
    detail = event["detail"]
    assert isinstance(detail, dict)
    assert (detail["auditor"], detail["person"] == desk.person) == (desk.person, False), "the owner has dropped it"


def test_that_it_was_verified_is_noted_by_an_auditor_alone(desk: Desk) -> None:
    def noted() -> bool:
        with psycopg.connect(desk.url) as connection:
            found = connection.execute("SELECT bool_and(verified_at IS NOT NULL) FROM execution.archives")
            return found.fetchone() == (True,)

    said = desk.call("verify", *DAYS, url=desk.url).stderr
    assert "does not note that it was verified" in said
    assert not noted()
    desk.call("verify", *DAYS)
    assert noted()


def test_one_venue_is_verified(desk: Desk) -> None:
    Streaming(desk.url).land([msgspec.structs.replace(intent("C5", "M5"), venue="BRAVO")])
    archive_day(desk.url, desk.library, settings_from(desk.environment), FILLS, DAY)
    with psycopg.connect(desk.url) as connection:
        connection.execute("UPDATE execution.archives SET digest = 'x' WHERE venue = 'BRAVO'")
    assert "2 archives" in desk.call("verify", *DAYS, code=1).stdout
    assert "1 archives, 13 lines, 6 wrong" in desk.call("verify", *DAYS, "--venue", "BRAVO", code=1).stdout
    assert "1 archives, 7 lines, 0 wrong" in desk.call("verify", *DAYS, "--venue", "ALPHA").stdout
    assert desk.call("verify", *DAYS, "--venue", "CHARLIE", code=1).stderr.endswith(f"from {DAY} to {DAY}\n")


def test_an_orders_audit_events_are_found_by_its_correlation_id(desk: Desk) -> None:
    with psycopg.connect(desk.url) as connection:
        found = connection.execute(
            "SELECT recorded_on, convert_from(body, 'UTF8') FROM execution.audit_events WHERE key = 'C2' "
            "ORDER BY audit_events.xid, position"
        ).fetchall()
    [day] = {day for day, _ in found}
    assert {json.loads(body)["correlation_id"] for _, body in found} == {"C2"}
    archive_day(desk.url, desk.library, settings_from(desk.environment), AUDIT, day)
    asked = ("--class", "audit", "--from", str(day), "--correlation-id", "C2", *WHY)
    desk.call("pull", *asked, "--output", desk.folder / "out")
    pulled = pq.read_table(desk.folder / "out" / "audit_events.parquet").to_pylist()
    assert [row["body"].decode() for row in pulled] == [body for _, body in found]
    rows = json.loads(desk.call("query", "SELECT count(*) AS n FROM audit_events", *asked, "--json").stdout)
    assert rows["rows"] == [{"n": len(found)}]
    refused = desk.call("query", "SELECT 1", *asked, "--symbol", "S", code=1).stderr
    assert "audit_events has no column of symbol" in refused
    for command in (["pull", "--output", desk.folder / "x"], ["query", "SELECT 1"], ["hold"]):
        refused = desk.call(*command, *asked[:4], *WHY, "--venue", "ALPHA", code=2).stderr
        assert "--venue 'ALPHA': class audit has one archive a day" in refused


def told_as(desk: Desk, login: str, function: str, person: str, role: str = "") -> None:
    detail = {"person": person, "login": person, "known_by": "login", "reason": "r", "at": "2026-11-23T00:00:00Z"}
    with psycopg.connect(login) as connection:
        if role:
            connection.execute(f"SET ROLE {role}".encode())
        connection.execute(
            f"SELECT execution.{function}(gen_random_uuid(), 'archive_pulled', %s::jsonb)".encode(),
            [json.dumps({**detail, "record_class": FILLS, "objects": "6"})],
        )


def test_nobody_writes_an_access_in_anothers_name(desk: Desk, ledger_url: str) -> None:
    """The functions are called as the commands would, by hand, with somebody else's name."""
    told_as(desk, desk.auditor, "record_archive_access", "dan")
    [event] = desk.events()
    assert {event["detail"][name] for name in ("person", "login")} == {desk.person}  # type: ignore[index]
    with person(ledger_url, "oscar") as oscar, person(ledger_url, "bella", AUDITOR, BACKFILL) as bella:
        for login, function in (
            (oscar.url, "record_archive_access"),
            (oscar.url, "hand_in_archive_access"),
            (desk.auditor, "hand_in_archive_access"),
            (desk.auditor, "write_archive_access"),
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                told_as(desk, login, function, "dan")
        assert len(desk.events()) == 1
        # what waited is handed in by Dagster: a person who acts with its rights is named, and so is the claim
        told_as(desk, bella.url, "hand_in_archive_access", "dan", "execution_dagster")
        handed = desk.events()[-1]["detail"]
        assert isinstance(handed, dict)
        assert (handed["person"], handed["known_by"], handed["login"]) == ("dan", "claim", bella.name)


def test_a_receipt_that_nobody_signed_is_not_handed_in_and_holds_up_no_other(desk: Desk, s3: S3Client) -> None:
    key = f"accesses/{datetime.now(UTC):%Y-%m-%d}/0.pending.note"
    s3.put_object(Bucket=desk.library.store.bucket, Key=key, Body=b"forged")
    desk.call("pull", *DAYS, *WHY, "--output", desk.folder / "out", "--person", "dan", url=GONE)
    said: list[str] = []
    assert hand_in(desk.library, desk.url, log=said.append) == 1
    assert [line.split(" version ")[0] for line in said] == [key]


def test_a_reason_is_required(desk: Desk) -> None:
    desk.call("query", "SELECT 1", *DAYS, code=2)
    assert "say why" in desk.call("query", "SELECT 1", *DAYS, "--reason", " ", code=1).stderr


def test_hold_rotate_and_verify(desk: Desk) -> None:
    assert "placed on 7 objects" in desk.call("hold", *DAYS, "--reason", "case 4711").stdout
    assert "6 data keys" in desk.call("rotate", *DAYS, "--new-key", "--forget", "--reason", "yearly").stdout
    shown = desk.call("verify", *DAYS).stdout
    assert "1 archives, 7 lines, 0 wrong" in shown
    assert "lifted from 7" in desk.call("hold", *DAYS, "--lift", "--reason", "case 4711 is closed").stdout
    assert [e["event"] for e in desk.events()] == [
        "archive_hold_placed", "archive_keys_rotated", "archive_hold_lifted",
    ]  # fmt: skip
    with psycopg.connect(desk.url) as connection:
        states = connection.execute("SELECT DISTINCT legal_hold, verified_at IS NULL FROM execution.archives")
        assert states.fetchall() == [(False, False)]
        connection.execute("UPDATE execution.archives SET row_count = 9 WHERE table_name = 'fills'")
    assert "WRONG" in desk.call("verify", *DAYS, code=1).stdout


def test_what_is_no_manifest_is_left_out_and_told(desk: Desk) -> None:
    key = f"{MANIFESTS}/fills/{DAY}/ALPHA/0002.note"
    desk.library.store.put(key, b"junk", datetime.now(UTC) + timedelta(days=1))
    folder = desk.folder / "pulled"
    for command in (["list"], ["pull", *WHY, "--output", folder], ["query", "SELECT count(*) FROM fills", *WHY]):
        result = desk.call(*command, *DAYS, code=3)
        assert f"left out: {key}: " in result.stderr
        assert VERIFIERS_VARIABLE in result.stderr
    assert [event["detail"]["left_out"] for event in desk.events()] == ["1", "1"]  # type: ignore[index]
    assert {r["exec_id"] for r in pq.read_table(folder / "fills.parquet").to_pylist()} == set(RAW)


def test_what_is_left_out_is_not_held_nor_rotated_nor_said_to_be(desk: Desk) -> None:
    """Something below the manifests is ours, as far as anybody knows: no command ends as if all was done."""
    key = f"{MANIFESTS}/fills/{DAY}/ALPHA/0002.note"
    desk.library.store.put(key, b"junk", datetime.now(UTC) + timedelta(days=1))
    held = desk.call("hold", *DAYS, "--reason", "case 4711", code=3)
    assert "placed on 7 objects" in held.stdout
    assert "and what they list is NOT held" in held.stderr
    # what comes later of these days is held all the same
    assert len([*desk.library.store.versions("holds/")]) == 1
    rotated = desk.call("rotate", *DAYS, "--new-key", "--forget", "--reason", "yearly", code=3)
    assert "6 data keys" in rotated.stdout
    assert "NOT all is rotated" in rotated.stderr
    lifted = desk.call("hold", *DAYS, "--lift", "--reason", "case 4711 is closed", code=3)
    drop = ("drop-partition", DAY.isoformat(), "--reason", "disk space", "--yes")
    dropped = desk.call(*drop, code=3)
    assert "dropped fills_" in dropped.stdout
    assert all(f"left out: {key}: " in told.stderr for told in (held, rotated, lifted, dropped))
    assert [event["detail"]["left_out"] for event in desk.events()] == ["1"] * 4  # type: ignore[index]


def test_what_was_never_archived_is_shown_as_missing(desk: Desk) -> None:
    Streaming(desk.url).land([intent("C5", "M5", at=T0 - 86_400 * SECOND)])
    shown = desk.call("verify", "--from", str(DAY - timedelta(days=1)), "--to", str(DAY), code=1).stdout
    [line] = [line for line in shown.splitlines() if line.endswith("MISSING")]
    assert line.startswith(f"fills {DAY - timedelta(days=1)} ALPHA")
    assert shown.endswith("1 archives, 8 lines, 1 wrong, 1 of them missing\n")


def test_the_public_key_is_shown_and_suffices_to_read(desk: Desk) -> None:
    key = str(desk.library.signer.key)
    desk.environment[SIGNER_VARIABLE] = str(desk.folder / "lost.pem")
    for pinned in ("", key):
        desk.environment[VERIFIERS_VARIABLE] = pinned
        done = desk.call("list", *DAYS)
        assert f"{key}  1" in done.stdout
        assert "the signing key is not asked" in done.stderr
        desk.call("verify", *DAYS)
    assert "lost.pem" in desk.call("pull", *DAYS, *WHY, "--output", desk.folder / "out", code=1).stderr
    assert not list((desk.folder / "out").glob("*.parquet"))


def test_a_hold_is_on_days_that_have_no_archive_yet(desk: Desk) -> None:
    later = DAY + timedelta(days=1)
    said = desk.call("hold", "--from", str(later), "--reason", "case 4711").stdout
    assert "placed on 0 objects, and on what is archived of these days later" in said
    Streaming(desk.url).land([intent("C5", "M5", at=T0 + 86_400 * SECOND)])
    archive_day(desk.url, desk.library, settings_from(desk.environment), FILLS, later)
    shown = desk.call("verify", "--from", str(later)).stdout.splitlines()[1:-1]
    assert len(shown) == 7
    assert all(line.split()[-2:] == ["yes", "ok"] for line in shown)


def test_a_partition_goes_only_when_its_archive_gives_it_back(desk: Desk) -> None:
    drop = ("drop-partition", DAY.isoformat(), "--reason", "disk space", "--yes")

    def count() -> int:
        with psycopg.connect(desk.url) as connection:
            row = connection.execute("SELECT count(*) FROM execution.fills").fetchone()
            assert row is not None
            return int(row[0])

    with psycopg.connect(desk.url) as connection:
        connection.execute("UPDATE execution.slippage_metrics SET bps = bps + 1 WHERE kind = 'arrival_mid'")
    assert "Postgres has other rows since" in desk.call(*drop, code=1).stderr
    archive_day(desk.url, desk.library, settings_from(desk.environment), FILLS, DAY)
    [_, newest] = desk.library.listed(FILLS, DAY, DAY)
    [held] = [o for o in newest.manifest.objects if o.table == "fills"]
    material = desk.library.material(held)
    keys.make_key_file(desk.folder / "other.json")
    spoilt = msgspec.structs.replace(
        material, wrapped_key=keys.FileKeys(desk.folder / "other.json").wrap(b"k" * 32)
    )
    desk.library.store.put_unlocked(held.material_key, spoilt.json())
    assert "has not wrapped this" in desk.call(*drop, code=1).stderr
    assert count() == 3
    desk.library.store.put_unlocked(held.material_key, material.json())
    assert "dropped fills_" in desk.call(*drop).stdout
    assert count() == 0
    assert [e["event"] for e in desk.events()] == ["archive_partition_dropped"]
    # the archive is the record now: what Postgres has left is not archived over it
    with pytest.raises(ArchiveError, match="were dropped"):
        archive_day(desk.url, desk.library, settings_from(desk.environment), FILLS, DAY)
    assert "3" in desk.call("query", "SELECT count(*) FROM fills", *DAYS, *WHY).stdout


def test_a_fill_that_commits_while_the_drop_waits_for_its_lock_is_kept(desk: Desk) -> None:
    changed = {"report_id": "gen_random_uuid()", "content": "gen_random_uuid()", "exec_id": "'LATE'"}
    told = ", ".join(changed.get(column, column) for column in FILL_COLUMNS)
    columns = ", ".join(FILL_COLUMNS)
    late = f"INSERT INTO execution.fills ({columns}) SELECT {told} FROM execution.fills WHERE exec_id = 'E1'"  # noqa: S608
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%' "
        "AND datname = current_database()"
    )
    with psycopg.connect(desk.url) as landing, psycopg.connect(desk.url, autocommit=True) as watching:
        landing.execute(late.encode())
        with ThreadPoolExecutor(1) as pool:
            dropping = pool.submit(drop_day, desk.url, desk.library, FILLS, DAY, "disk space")
            while watching.execute(waits).fetchone() == (0,) and not dropping.done():
                time.sleep(0.01)
            landing.commit()
            with pytest.raises(ArchiveError, match="Postgres has other rows"):
                dropping.result(60)
        left = watching.execute("SELECT count(*) FROM execution.fills WHERE exec_id = 'LATE'").fetchone()
    assert left == (1,)


def test_what_is_not_configured_is_said(desk: Desk) -> None:
    desk.environment[KEYS_VARIABLE] = "keys.json"
    assert "an absolute path or transit:MOUNT/KEY is required" in desk.call("list", *DAYS, code=2).stderr
    desk.environment[KEYS_VARIABLE] = str(desk.folder / "none.json")
    assert "No such file" in desk.call("list", *DAYS, code=1).stderr
    assert "a date such as 2026-11-20" in desk.call("list", "--from", "yesterday", code=2).stderr
    assert "one of fills, audit is required" in desk.call("list", *DAYS, "--class", "f", code=2).stderr
