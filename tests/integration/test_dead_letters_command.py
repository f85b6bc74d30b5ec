"""`execution-agent dlq`: what is in the ledger comes out as it is, and no terminal acts on it."""

import base64
import json
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from operations.cli import app

OLD, NEW = "11111111-1111-5111-8111-111111111111", "22222222-2222-5222-8222-222222222222"
RAW = b"8=FIX.4.4\x0135=8\x0132=\x1b[31mnan\x0110=000\x01\xff"
HOUR_NS = 3_600_000_000_000


@pytest.fixture
def ledger(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    now = time.time_ns()
    rows = [
        (OLD, "ALPHA", "ALPHA.fix", "not_a_number", "LastQty(32)", "\x1b[31mnan", RAW, now - 2 * HOUR_NS),
        (NEW, "BRAVO", "BRAVO.ws", "missing_field", "exec_id", "", b'{"type":"fill"}', now),
    ]  # fmt: skip
    with psycopg.connect(ledger_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO execution.dead_letters "
            "(dead_letter_id, source, feed, reason, field, value, raw, received_ns, rule, remedy) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'a number is required', 'Ask the venue.')",
            rows,
        )
    monkeypatch.delenv("EXECUTION_AGENT_CONFIG", raising=False)
    monkeypatch.setenv("EXECUTION_AGENT_POSTGRES_URL", ledger_url)
    return ledger_url


def listed(*options: str) -> list[str]:
    result = CliRunner().invoke(app, ["dlq", "list", "--json", *options])
    assert result.exit_code == 0, result.output
    return [letter["id"] for letter in json.loads(result.stdout)]


def test_the_newest_come_first_and_filters_narrow(ledger: str) -> None:
    assert listed() == [NEW, OLD]
    assert listed("--limit", "1") == [NEW]
    assert listed("--venue", "ALPHA") == [OLD]
    assert listed("--reason", "missing_field") == [NEW]
    assert listed("--since", "1h") == [NEW]
    assert listed("--venue", "ALPHA", "--since", "1h") == []


def test_the_list_is_one_line_each_and_safe_to_look_at(ledger: str) -> None:
    output = CliRunner().invoke(app, ["dlq", "list"]).stdout
    assert [line.split()[0] for line in output.splitlines()] == ["id", NEW, OLD]
    assert "\x1b" not in output


def test_one_is_shown_whole(ledger: str) -> None:
    output = CliRunner().invoke(app, ["dlq", "show", OLD]).stdout
    for said in ("ALPHA.fix", "not_a_number", "LastQty(32)", "a number is required", "Ask the venue.", "again"):
        assert said in output
    assert r"8=FIX.4.4\x0135=8\x0132=\x1b[31mnan\x0110=000\x01\xff" in output
    assert "\x1b" not in output


def test_the_bytes_come_out_as_they_came_in(ledger: str) -> None:
    assert CliRunner().invoke(app, ["dlq", "show", OLD, "--raw"]).stdout_bytes == RAW
    letter = json.loads(CliRunner().invoke(app, ["dlq", "show", OLD, "--json"]).stdout)
    assert base64.b64decode(letter["raw_base64"]) == RAW
    assert letter["field"] == "LastQty(32)"


def test_an_id_that_is_not_there_is_named(ledger: str) -> None:
    unknown = str(uuid4())
    result = CliRunner().invoke(app, ["dlq", "show", unknown])
    assert (result.exit_code, result.stderr) == (1, f"execution-agent: there is no dead letter {unknown}\n")


def test_the_ledger_is_found_in_the_settings_file_and_in_the_state_folder(
    ledger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXECUTION_AGENT_POSTGRES_URL")
    (tmp_path / "stream").mkdir()
    settings = tmp_path / "stream" / "stream.toml"
    settings.write_text(f'postgres_url = "{ledger}"\n')
    assert listed("--state", str(tmp_path)) == [NEW, OLD]
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(settings))
    assert listed() == [NEW, OLD]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--state", "nowhere"], 2, "which ledger?"),
        (["--url", "nonsense"], 2, "--url: postgresql://"),
        (["--url", "postgresql://nobody:x@127.0.0.1:1/none"], 1, "the ledger could not be read: "),
        (["--since", "yesterday"], 2, "--since: 'yesterday' is no duration"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EXECUTION_AGENT_CONFIG", "EXECUTION_AGENT_POSTGRES_URL"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, ["dlq", "list", *arguments])
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
