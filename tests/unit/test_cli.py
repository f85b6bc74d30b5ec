"""The command line: help that helps at once, and one line for whatever is wrong."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from operations.cli import app
from operations.embedded.state import MARKER

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "run",
    "stream",
    "decode",
    "replay",
    "explain",
    "config",
    "migrate",
    "reset",
    "dlq",
    "dlq list",
    "dlq show",
    "halts",
    "halts list",
    "halts halt",
    "halts resume",
    "venues",
    "look-back",
    "backfill",
    "report",
    "breaks",
    "breaks list",
    "people",
    "people add",
    "archive",
    "archive pull",
    "archive query",
    "archive verify",
    "audit",
    "audit verify",
    "audit prove",
    "audit show",
]
SLOW = {
    "dagster",
    "sqlalchemy",
    "pandas",
    "pyarrow",
    "duckdb",
    "matplotlib",
    "hvac",
    "boto3",
    "asyncpg",
    "psycopg",
    "confluent_kafka",
    "uvicorn",
    "redis",
}
HELP = """
import sys
from operations.cli import app
try:
    app(sys.argv[1:] + ["--help"])
finally:
    print("IMPORTED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
SETTINGS = """
postgres_url = "postgresql://execution:pg-secret@db.internal:5432/execution"
redis_url = "redis://:redis-secret@cache.internal:6379/0"
[kafka]
bootstrap = "broker-1.internal:9092"
[venues.CHARLIE]
format = "canonical"
[venues.CHARLIE.feed]
kind = "rest"
secrets = ["whsec_c2VjcmV0"]
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EXECUTION_AGENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would go to the runner's standard error, which is closed when later tests of this process log."""
    monkeypatch.setattr("streaming.logs.configure_logs", lambda: None)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, code: int) -> str:
    """The one line on standard error."""
    assert result.exit_code == code, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("execution-agent: ")
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_imports_nothing_slow(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *command.split()], cwd=ROOT, capture_output=True, text=True, check=True
    )
    shown, _, imported = done.stdout.partition("IMPORTED")
    assert f"Example: EXECUTION_AGENT_CONFIG=stream.toml execution-agent {command}" in shown or (
        f"Example: execution-agent {command}" in shown
    )
    assert not SLOW & set(imported.split())


def test_every_command_is_in_the_help_and_in_the_readme() -> None:
    names = {command.split()[0] for command in COMMANDS}
    shown = call("--help").stdout
    readme = (ROOT / "README.md").read_text()
    assert all(name in shown and f"`execution-agent {name}" in readme for name in names)


def test_config_masks_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stream.toml").write_text(SETTINGS)
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(tmp_path / "stream.toml"))
    monkeypatch.setenv("EXECUTION_AGENT_KAFKA__BOOTSTRAP", "broker-2.internal:9092")
    result = call("config")
    assert result.exit_code == 0, result.output
    settings = json.loads(result.stdout)
    assert settings["kafka"]["bootstrap"] == "broker-2.internal:9092"
    assert settings["http"]["port"] == 8080
    assert settings["postgres_url"] == settings["redis_url"] == "**********"
    assert settings["venues"]["CHARLIE"]["feed"]["secrets"] == ["**********"]
    assert json.loads(call("config", "--json").stdout) == settings


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('format = "canonical"', 'format = "csv"'), "setting venues.CHARLIE.format: "),
        (("[kafka]", "[kafkas]"), "setting kafka"),
        (('redis_url = "redis://:redis-secret@cache.internal:6379/0"', ""), "setting redis_url: "),
        (("[venues.CHARLIE]", "[venues.CHARLIE"), "stream.toml: "),
    ],
)
@pytest.mark.parametrize("command", ["config", "stream"])
def test_a_wrong_or_missing_setting_is_named(
    command: str, change: tuple[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert change[0] in SETTINGS
    (tmp_path / "stream.toml").write_text(SETTINGS.replace(*change))
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", str(tmp_path / "stream.toml"))
    line = refused(call(command), 2)
    assert named in line
    assert "secret@" not in line


def test_a_settings_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECUTION_AGENT_CONFIG", "/nowhere/stream.toml")
    assert "EXECUTION_AGENT_CONFIG=/nowhere/stream.toml: no such file" in refused(call("config"), 2)


@pytest.mark.parametrize("duration", ["nonsense", "0", "-5s", "5 days", ""])
def test_run_refuses_what_is_no_duration(duration: str, tmp_path: Path) -> None:
    result = call("run", f"--for={duration}", "--state", tmp_path / "state")
    assert f"--for: {duration!r} is no duration" in refused(result, 2)
    assert not (tmp_path / "state").exists()


def test_run_refuses_a_capture_that_is_not_there(tmp_path: Path) -> None:
    result = call("run", "--capture", tmp_path / "missing.jsonl.gz", "--state", tmp_path / "state")
    assert f"--capture: {tmp_path / 'missing.jsonl.gz'} is not there" in refused(result, 2)


def test_an_option_that_is_not_there_is_wrong_usage() -> None:
    assert call("run", "--nonsense").exit_code == 2


def test_reset_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    assert "is not a state folder of ExecutionAgent" in refused(call("reset", "--yes", "--state", tmp_path), 1)
    assert (tmp_path / "precious").read_text() == "mine"


def test_reset_asks_and_takes_no_for_an_answer(tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    result = CliRunner().invoke(app, ["reset", "--state", str(tmp_path)], input="n\n")
    assert result.exit_code == 1
    assert (tmp_path / MARKER).exists()


def test_reset_of_what_is_not_there_is_done(tmp_path: Path) -> None:
    result = call("reset", "--yes", "--state", tmp_path / "state")
    assert (result.exit_code, "nothing to reset" in result.stdout) == (0, True)


@pytest.mark.parametrize("command", [("run", "--for", "1s"), ("reset", "--yes")])
def test_a_state_in_use_is_one_line_that_names_the_process(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / MARKER).touch()
    with (tmp_path / "owner.lock").open("w") as owner:
        owner.write("4711")
        owner.flush()
        fcntl.flock(owner, fcntl.LOCK_EX)
        line = refused(call(*command, "--state", tmp_path), 1)
    assert f"{tmp_path} is in use by process 4711: stop it first" in line
