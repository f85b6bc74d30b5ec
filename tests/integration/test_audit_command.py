# ruff: noqa: S608  the statements are the test's own
"""``execution-agent audit``: what was changed is found and named, and what is proven is proven to others."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from pymerkle import InmemoryTree, verify_inclusion
from typer.testing import CliRunner

from operations.audit.reading import opened
from operations.audit.verifying import Verdict, verify
from operations.cli import app
from tests import rfc6962
from tests.integration.audit_stage import ORIGIN, AuditStage
from tests.integration.bao import corner_of

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

RUNNER = CliRunner()


@pytest.fixture
async def stage(endpoints: Endpoints, ledger_url: str, worm_bucket: str, tmp_path: Path) -> AuditStage:
    """A log of 600 events, signed and stored."""
    made = AuditStage(endpoints, ledger_url, worm_bucket, tmp_path)
    made.insert(600)
    async with made.checkpointing() as maker:
        await made.settled(maker)
    given = made.settings
    config = tmp_path / "stream.toml"
    config.write_text(
        f'postgres_url = "{ledger_url}"\n[audit]\nbucket = "{given.bucket}"\nsigner = "{given.signer}"\n'
        f'origin = "{ORIGIN}"\ns3_endpoint = "{given.s3_endpoint}"\ns3_access_key = "{given.s3_access_key}"\n'
        f's3_secret_key = "{given.s3_secret_key.get_secret_value()}"\n'
    )
    return made


@pytest.fixture
def configured(stage: AuditStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditStage:
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(tmp_path / "stream.toml"))
    return stage


def run(*arguments: str, code: int = 0) -> str:
    done = RUNNER.invoke(app, ["audit", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def verified(stage: AuditStage, s3: S3Client) -> Verdict:
    return verify(stage.url, stage.bucket(s3), [stage.signer.key], 0, lambda *_: None)


def everything(stage: AuditStage) -> list[Any]:
    return stage.run(
        "SELECT position, xid::text::bigint, event_id FROM execution.audit_events ORDER BY xid, position"
    )


def test_the_command_proves_to_others_what_it_shows(configured: AuditStage, tmp_path: Path) -> None:
    report = json.loads(run("verify", "--json"))
    assert (report["problems"], report["rows"], report["first"]) == ([], report["leaves"], None)
    assert report["stored"] >= 1
    assert "all agree" in run("verify", "--no-bucket")
    event_id = everything(configured)[123][2].hex
    shown = json.loads(run("show", event_id, "--json"))
    assert (shown["event"], shown["leaf"]) == (event_id, 123)
    assert shown["proof"].startswith("proven: event")
    key = json.loads(run("show", "--json"))["key"]
    assert key == str(configured.signer.key)

    file = tmp_path / "proof.json"
    file.write_text(run("prove", event_id))
    assert f"event {event_id}" in run("verify", "--proof", str(file), "--key", key)
    proof = json.loads(file.read_text())
    entry = base64.b64decode(proof["entry"])
    assert event_id == entry[14 + 8 + 4 + 8 :][:16].hex()  # by docs/audit.md, not by our reader

    # nothing of ours from here on
    tree = tree_of(configured)
    size, root = size_and_root(proof["checkpoint"])
    assert root == tree.get_root(size)
    path = [bytes.fromhex(node) for node in proof["path"]]
    ours = rfc6962.their_inclusion(tree, tree.get_leaf(124), 123, size, path)
    verify_inclusion(tree.get_leaf(124), root, ours, index=124, size=size, algorithm="sha256")

    other = {**proof, "entry": base64.b64encode(entry[:-1] + b"!").decode()}
    file.write_text(json.dumps(other))
    run("verify", "--proof", str(file), "--key", key, code=1)


def tree_of(stage: AuditStage) -> InmemoryTree:
    """The log as an implementation that is not ours has it."""
    with opened(stage.url) as log:
        return InmemoryTree.init_from_entries(
            [row.entry() for row in log.rows(log.grown().last)], algorithm="sha256"
        )


def size_and_root(note: str) -> tuple[int, bytes]:
    _, size, root, *_ = note.split("\n")
    return int(size), base64.b64decode(root)


async def test_growth_is_proven(configured: AuditStage, tmp_path: Path) -> None:
    """From every checkpoint; the roots come out of the proof by pymerkle, too."""
    async with configured.checkpointing() as maker:
        for count in (37, 90, 1):
            configured.insert(count)
            await configured.settled(maker)
    sizes = [row[0] for row in configured.run("SELECT tree_size FROM execution.audit_checkpoints ORDER BY 1")]
    assert len(sizes) > 3
    tree, file = tree_of(configured), tmp_path / "proof.json"
    for since in sizes[:-1]:
        file.write_text(run("prove", "--since", str(since)))
        assert f"the {since} events of {ORIGIN} are the first" in run("verify", "--proof", str(file))
        proof = json.loads(file.read_text())
        (old, old_root), (new, new_root) = size_and_root(proof["older"]), size_and_root(proof["checkpoint"])
        path = [bytes.fromhex(node) for node in proof["path"]]
        assert (old, new) == (since, sizes[-1])
        ours = rfc6962.their_consistency(tree, old, new, old_root, path)
        assert (ours.retrieve_prior_state(), ours.compute_root()) == (old_root, new_root)
        assert (old_root, new_root) == (tree.get_root(old), tree.get_root(new))


def test_wrong_usage_and_what_is_not_there_are_said(configured: AuditStage) -> None:
    run("prove", code=2)
    run("prove", "0" * 32, code=1)
    run("prove", "xyz", code=1)
    run("verify", "--proof", "/none", code=2)


def test_the_buckets_secret_may_be_a_reference(
    configured: AuditStage, endpoints: Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = configured.settings.s3_secret_key.get_secret_value()
    with corner_of(endpoints.vault_addr, endpoints.vault_token) as corner:
        corner.put("log", secret=secret)
        file = tmp_path / "stream.toml"
        file.write_text(file.read_text().replace(secret, corner.reference("log", "secret")))
        monkeypatch.setenv("VAULT_ADDR", endpoints.vault_addr)
        monkeypatch.setenv("VAULT_TOKEN", endpoints.vault_token)
        assert "all agree" in run("verify")


# --- every row, and any bit --------------------------------------------------------------------------------


def change_of(rng: random.Random, where: str, bits: int) -> str:
    """One change of a row: a bit of its body, another column, or the whole row gone."""
    bit = rng.randrange(bits)
    return rng.choice([
        f"UPDATE execution.audit_events SET body = set_bit(body, {bit}, 1 - get_bit(body, {bit})) {where}",
        f"UPDATE execution.audit_events SET key = key || 'x' {where}",
        f"UPDATE execution.audit_events SET event_type = 'bust' {where}",
        f"UPDATE execution.audit_events SET recorded_by = 'nobody' {where}",
        f"UPDATE execution.audit_events SET event_id = gen_random_uuid() {where}",
        f"UPDATE execution.audit_events SET recorded_on = recorded_on - 1 {where}",
        f"DELETE FROM execution.audit_events {where}",
    ])  # fmt: skip


def test_a_change_of_rows_anywhere_is_found_and_named(configured: AuditStage) -> None:
    """Some rows in turn, by the command; ``test_audit_changes`` has every row, each of these ways."""
    rows = everything(configured)
    rng = random.Random()
    for leaf in [*rng.sample(range(len(rows)), 6), 0, 255, 256, len(rows) - 1]:
        position, xid, _ = rows[leaf]
        where = f"WHERE position = {position} AND xid = '{xid}'"
        kept, bits = configured.run(
            f"SELECT to_jsonb(e), 8 * length(e.body) FROM execution.audit_events e {where}"
        )[0]
        change = change_of(rng, where, bits)
        configured.tamper(change)
        report = json.loads(run("verify", "--json", code=1))
        assert report["problems"], change
        assert re.match(rf"leaf {leaf}[,:]", report["first"]), (change, report["first"])
        configured.tamper(
            f"DELETE FROM execution.audit_events {where}",
            "INSERT INTO execution.audit_events OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record("
            f"NULL::execution.audit_events, '{json.dumps(kept)}')).*",
        )
    run("verify")


def test_two_rows_that_change_places_are_found(configured: AuditStage) -> None:
    rows = everything(configured)
    for leaf in random.sample(range(len(rows) - 1), 4):
        (one, _, _), (other, _, _) = rows[leaf], rows[leaf + 1]
        change = (
            "UPDATE execution.audit_events a SET event_id = b.event_id, body = b.body, key = b.key "
            "FROM execution.audit_events b "
            f"WHERE (a.position, b.position) IN (({one}, {other}), ({other}, {one}))"
        )
        configured.tamper(change)
        report = json.loads(run("verify", "--json", code=1))
        assert re.match(rf"leaf {leaf}[,:]", report["first"]), (leaf, report["first"])
        configured.tamper(change)
    run("verify")


def test_a_row_that_is_put_in_afterwards_is_found(stage: AuditStage, s3: S3Client) -> None:
    _, xid, _ = everything(stage)[300]
    stage.tamper(
        "INSERT INTO execution.audit_events (position, xid, event_id, event_type, key, body) "
        f"OVERRIDING SYSTEM VALUE VALUES (-5, '{xid}', gen_random_uuid(), 'fill', 'C', 'b')"
    )
    assert not verified(stage, s3).good


async def test_a_superuser_who_makes_all_of_it_anew_is_found_by_the_bucket(
    stage: AuditStage, s3: S3Client
) -> None:
    """The row, the tiles and the checkpoints agree with each other, and are signed by the same key."""
    position = everything(stage)[130][0]
    stage.tamper(
        f"UPDATE execution.audit_events SET key = 'other' WHERE position = {position}",
        "TRUNCATE execution.audit_tiles, execution.audit_tree, execution.audit_checkpoints",
    )
    elsewhere = f"w-{stage.settings.bucket}"[:60]
    s3.create_bucket(Bucket=elsewhere, ObjectLockEnabledForBucket=True)
    async with stage.checkpointing(stage.settings.model_copy(update={"bucket": elsewhere})) as maker:
        await stage.settled(maker)
    assert verify(stage.url, None, [stage.signer.key], 0, lambda *_: None).good  # by itself the ledger looks well
    verdict = verified(stage, s3)
    assert not verdict.good
    assert verdict.first is not None
    assert verdict.first.startswith(f"leaf 130, where the row at position {position} is")
