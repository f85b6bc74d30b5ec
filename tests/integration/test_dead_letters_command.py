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
from tests.integration.arrivals import fill_message
from tests.integration.people import Person, person

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


@pytest.mark.parametrize("beginning", ["1111", "11111111-1111", "111111111111", OLD.replace("-", "")])
def test_an_id_may_be_cut_to_its_beginning(ledger: str, beginning: str) -> None:
    assert CliRunner().invoke(app, ["dlq", "show", beginning, "--raw"]).stdout_bytes == RAW
    assert json.loads(CliRunner().invoke(app, ["dlq", "show", beginning, "--json"]).stdout)["id"] == OLD


def test_the_beginning_of_two_ids_is_not_one_and_too_little_is_none(ledger: str) -> None:
    with psycopg.connect(ledger) as connection:
        connection.execute(
            "INSERT INTO execution.dead_letters "
            "(dead_letter_id, source, feed, reason, field, value, raw, received_ns, rule, remedy) "
            "VALUES ('11112222-1111-5111-8111-111111111111', 'ALPHA', 'f', 'r', 'f', 'v', '', 0, 'r', 'm')"
        )
    several = CliRunner().invoke(app, ["dlq", "show", "1111"])
    assert (several.exit_code, "is the beginning of several dead letters: 11111111-" in several.stderr) == (
        1,
        True,
    )
    for written in ("111", "----", "xyzw", "1111%"):
        wrong = CliRunner().invoke(app, ["dlq", "show", "--", written])
        assert (wrong.exit_code, "at least 4 of its 32 hex digits" in wrong.stderr) == (2, True)


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


# --- handed in again ---------------------------------------------------------------------------------------


def write_settings(folder: Path, ledger_url: str) -> Path:
    """The settings of a streaming process that does not run, whose venue ALPHA speaks the canonical format."""
    (folder / "stream").mkdir()
    (folder / "stream" / "stream.toml").write_text(
        f'postgres_url = "{ledger_url}"\nredis_url = "redis://127.0.0.1:1/0"\n'
        '[kafka]\nbootstrap = "127.0.0.1:1"\n'
        '[venues.ALPHA]\nformat = "canonical"\n'
        '[venues.ALPHA.feed]\nkind = "rest"\nsecrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="]\n'
    )
    return folder


def keep(ledger_url: str, raw: bytes, source: str = "ALPHA", reason: str = "malformed") -> str:
    with psycopg.connect(ledger_url) as connection:
        row = connection.execute(
            "INSERT INTO execution.dead_letters (dead_letter_id, source, feed, reason, field, value, rule, "
            "remedy, raw, received_ns) VALUES (gen_random_uuid(), %s, %s, %s, 'f', 'v', 'r', 'm', %s, %s) "
            "RETURNING dead_letter_id::text",
            [source, f"{source}.rest", reason, raw, time.time_ns()],
        ).fetchone()
    assert row is not None
    return str(row[0])


def replayed(*arguments: str, code: int = 0) -> list[tuple[str, str]]:
    result = CliRunner().invoke(app, ["dlq", "replay", "--json", *arguments])
    assert result.exit_code == code, result.output
    return [(letter["id"], letter["outcome"]) for letter in json.loads(result.stdout)]


@pytest.fixture
def empty(ledger_url: str, alice: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger without dead letters, asked by a person; the process's settings are in the state folder."""
    monkeypatch.delenv("EXECUTION_AGENT_CONFIG", raising=False)
    monkeypatch.setenv("EXECUTION_AGENT_POSTGRES_URL", alice.url)
    monkeypatch.setenv("EXECUTION_AGENT_STATE", str(write_settings(tmp_path, ledger_url)))
    return ledger_url


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_what_can_be_read_now_lands_once_and_says_so(empty: str) -> None:
    letters = [keep(empty, json.dumps(fill_message(exec_id)).encode()) for exec_id in ("E1", "E2")]
    broken = keep(empty, b'{"type": "fill"}')
    found = dict(replayed("--venue", "ALPHA", code=1))
    assert [found[letter] for letter in letters] == ["pending", "pending"]
    assert found[broken].startswith("dead letter again: missing_field: ")
    assert rows(empty, "SELECT exec_id FROM execution.fills ORDER BY 1") == [("E1",), ("E2",)]
    assert rows(
        empty, "SELECT count(*) FROM execution.audit_events WHERE event_type = 'dead_letter_replayed'"
    ) == [(3,)]


def test_a_replay_is_once_unless_it_is_asked_for_again(empty: str) -> None:
    report = {**fill_message("E1"), "type": "new", "order_qty": "1"}
    del report["last_qty"], report["last_px"]
    letter = keep(empty, json.dumps(report).encode())
    assert replayed(letter[:8]) == [(letter, "landed")]
    assert replayed(letter[:8]) == [(letter, "skipped: it was replayed before: landed")]
    assert replayed(letter[:8], "--again") == [(letter, "duplicate")]
    page = CliRunner().invoke(app, ["dlq", "show", letter]).stdout
    assert "duplicate" in page.split("replayed")[1]
    with psycopg.connect(empty) as connection:  # no venue has sent it twice
        assert connection.execute("SELECT coalesce(sum(duplicates), 0) FROM execution.feed_counts").fetchone() == (
            0,
        )


def test_a_dry_run_says_what_would_happen_and_writes_nothing(empty: str) -> None:
    letter, broken = keep(empty, json.dumps(fill_message("E1")).encode()), keep(empty, b"{")
    foreign = keep(empty, b"x", "NOWHERE")
    found = dict(replayed("--since", "1h", "--dry-run", code=1))
    assert found[letter] == "would land: fill E1: buy 1 BTCUSDT @ 100"
    assert found[broken].startswith("dead letter again: malformed: ")
    assert found[foreign].startswith("refused: NOWHERE is no venue of the settings")
    assert rows(empty, "SELECT count(*) FROM execution.replay_requests") == [(0,)]
    assert rows(empty, "SELECT count(*) FROM execution.fills") == [(0,)]
    assert replayed(letter) == [(letter, "pending")]
    assert replayed(letter, "--dry-run") == [(letter, "pending: fill E1: buy 1 BTCUSDT @ 100")]
    assert replayed(letter) == [(letter, "pending")]
    order = {
        "correlation_id": "C1", "msg_id": "M1", "action": "new", "venue": "ALPHA", "account": "ACC",
        "symbol": "BTCUSDT", "side": "buy", "order_qty": "10", "routed_at": "2026-11-02T09:29:59Z",
    }  # fmt: skip
    routed = keep(empty, json.dumps(order).encode(), "order-intents")
    assert replayed(routed) == [(routed, "landed")]
    assert replayed(letter, "--dry-run") == [(letter, "duplicate: fill E1: buy 1 BTCUSDT @ 100")]
    assert replayed(letter) == [(letter, "duplicate")]


@pytest.mark.parametrize(("login", "kind"), [(None, "the database administrator's"), ("writer", "no person's")])
def test_a_replay_takes_a_person(empty: str, urls: dict[str, str], login: str | None, kind: str) -> None:
    letter = keep(empty, json.dumps(fill_message("E1")).encode())
    url = empty if login is None else urls[login]
    refused = CliRunner().invoke(app, ["dlq", "replay", letter, "--url", url])
    assert refused.exit_code == 1
    assert f"is {kind}: log in as yourself with --url" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert rows(empty, "SELECT count(*) FROM execution.replay_requests") == [(0,)]


def test_a_person_may_ask_and_the_running_settings_do_it(empty: str) -> None:
    letter = keep(empty, json.dumps(fill_message("E1")).encode())
    with person(empty, "erin") as erin:
        assert replayed(letter, "--url", erin.url) == [(letter, "pending")]
    assert rows(empty, "SELECT person FROM execution.replay_requests") == [(erin.name,)]


def test_without_a_process_and_settings_the_request_is_recorded(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = keep(empty, json.dumps(fill_message("E1")).encode())
    monkeypatch.setenv("EXECUTION_AGENT_STATE", str(tmp_path / "nowhere"))
    ((_, outcome),) = replayed(letter, "--wait", "0.1")
    assert outcome.startswith("recorded: it is handed in as soon as")
    assert rows(empty, "SELECT done_at FROM execution.replay_requests") == [(None,)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "which dead letters?"),
        (["xyz!"], 2, "ID 'xyz!': at least 4"),
        (["--since", "yesterday"], 2, "--since: 'yesterday' is no duration"),
        (["0000aaaa"], 1, "there is no dead letter 0000aaaa"),
    ],
)
def test_a_wrong_replay_is_one_line(empty: str, arguments: list[str], code: int, said: str) -> None:
    result = CliRunner().invoke(app, ["dlq", "replay", *arguments])
    assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert len(result.stderr.splitlines()) == 1
