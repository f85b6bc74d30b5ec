"""The main job as a newcomer runs it: from the command line, on real servers, until the books balance."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from operations.embedded import reset
from tests.shared import needs_shared, shared
from tests.unit.specs import specs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHECKS = {name for name in specs()["checks"] if name.startswith(("executions.", "slippage_metrics."))}
CAPTURE = "data/binance_spot_btcusdt_20240809.jsonl.gz"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; what a failed test left behind in it ends, and the data goes."""
    path = tmp_path / "state"
    yield path
    for process in processes_of(path):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    reset(path)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "operations.cli", *map(str, arguments)]


def finished(*arguments: str | Path, seconds: float = 170) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def processes_of(state: Path) -> list[int]:
    """Whoever names the state folder in its command line or environment, this process apart."""
    named = os.fsencode(state)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if named in (entry / "cmdline").read_bytes() or named in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def streaming_process(state: Path) -> int | None:
    """The streaming process itself: not its guard, not its FIX engine."""
    for process in processes_of(state):
        with suppress(OSError):
            arguments = Path(f"/proc/{process}/cmdline").read_bytes()
            if arguments.endswith(b"\0-m\0operations.cli\0stream\0") and b"guard.py" not in arguments:
                return process
    return None


def lines_of(report: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """Each comparison by its subject and what it compares."""
    return {(line["subject"], line["left_name"]): (line["left"], line["right"]) for line in report["lines"]}


def assert_balances(report: dict[str, Any]) -> None:
    for (subject, name), (left, right) in lines_of(report).items():
        assert left == right, f"{subject}, {name}: {left} and {right}"
    assert report["drained"]
    assert report["balanced"]


def test_a_day_with_dagster_then_a_second_run_then_reset(state: Path) -> None:
    first = report_of(finished("run", "--for", "20s", "--seed", "7", "--json", "--state", state))
    assert_balances(first)
    lines = lines_of(first)
    venues = ("ALPHA", "BRAVO", "CHARLIE")
    assert all(lines[venue, "sent"][0] > 50 for venue in venues)
    assert sum(lines[venue, "duplicates sent"][0] for venue in venues) > 0
    assert lines["events", "executions"][0] > 200
    assert lines["slippage", "live figures"][0] > 600
    assert sum(first["faults"].values()) > 10
    assert not first["restarts"]
    assert sum(day["executions"] for day in first["days"]) == lines["events", "executions"][0]
    for day in first["days"]:
        assert day["differences"] == 0
        assert set(day["checks"]) == CHECKS
        assert all(day["checks"].values())
    assert processes_of(state) == []

    again = report_of(finished("run", "--for", "8s", "--seed", "8", "--no-dagster", "--json", "--state", state))
    assert_balances(again)
    more = lines_of(again)
    assert all(more[venue, "sent"][0] > lines[venue, "sent"][0] for venue in venues)
    assert more["events", "executions"][0] > lines["events", "executions"][0]
    assert again["days"] == []
    assert processes_of(state) == []

    gone = finished("reset", "--yes", "--state", state)
    assert gone.returncode == 0, gone.stderr
    assert not state.exists()


@needs_shared
@pytest.mark.shared
def test_a_captured_market_played_fast(state: Path) -> None:
    options = ("--speed", "20", "--no-dagster", "--for", "15s", "--json", "--state", state)
    report = report_of(finished("run", "--capture", shared(CAPTURE), *options))
    assert_balances(report)
    assert lines_of(report)["events", "executions"][0] > 50
    assert processes_of(state) == []


def test_a_day_as_who_we_are_with_the_venues_secrets_in_the_vault() -> None:
    """The venues ask for a password, a bearer and a signature; the process has them from OpenBao, by JWT-SVID."""
    state = Path(tempfile.mkdtemp(prefix="identity-")) / "s"  # a socket's path is at most 107 bytes
    try:
        options = ("--seed", "13", "--identity", "--no-dagster", "--json", "--state", state)
        report = report_of(finished("run", "--for", "8s", *options))
        assert_balances(report)
        assert all(lines_of(report)[venue, "sent"][0] > 10 for venue in ("ALPHA", "BRAVO", "CHARLIE"))
        assert processes_of(state) == []
        log = (state / "logs" / "stream.log").read_text()
        assert "an X.509-SVID was taken over" in log
        assert log.count("a secret was read") == 3
        names = ("alpha-password", "bravo-token", "charlie-webhook")
        held = [(state / "secrets" / name).read_text() for name in names]
        encoded = [base64.b64encode(secret.encode()).decode() for secret in held]
        settings = state / "stream" / "stream.toml"
        for path in [settings, *(state / "logs").iterdir()]:
            text = path.read_text("utf-8", "replace")
            assert not [
                name for name, *said in zip(names, held, encoded, strict=True) if any(s in text for s in said)
            ]
        text = settings.read_text()
        every = {p.name: p.read_text() for p in (state / "secrets").iterdir() if p.is_file()}
        assert len(every) > 6
        assert not [name for name, secret in every.items() if secret.strip() in text]
        named = tomllib.loads(text)
        assert named["redis_url"] == "vault:secret/execution-agent#redis_url"
        assert "://" not in named["postgres_url"] + named["publisher_postgres_url"] + named["redis_url"]
        assert_commands_find_the_ledger(state)
    finally:
        for process in processes_of(state):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        reset(state)
        shutil.rmtree(state.parent)


def assert_commands_find_the_ledger(state: Path) -> None:
    """By the references of the settings in the state folder, while a run stands."""
    options = ("--seed", "14", "--identity", "--no-dagster", "--json", "--state", state)
    with subprocess.Popen(
        command("run", *options), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as job:
        wait_for(lambda: finished("dlq", "list", "--state", state, "--json").returncode == 0, job)
        verified = finished("audit", "verify", "--state", state)
        venues = finished("venues", "--state", state)
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=60)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert venues.returncode == 0, venues.stdout + venues.stderr


def test_a_streaming_process_killed_twice_loses_and_doubles_nothing(state: Path) -> None:
    arguments = command("run", "--for", "16s", "--seed", "11", "--no-dagster", "--json", "--state", state)
    killed: list[int] = []
    with subprocess.Popen(arguments, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        wait_for((state / "logs" / "simulator.log").exists, job)
        for _ in range(2):
            time.sleep(3)
            victim = streaming_process(state)
            assert victim is not None, "the streaming process was not started again"
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
        output, errors = job.communicate(timeout=170)
    assert len(set(killed)) == 2
    assert output, errors[-6000:]
    report = json.loads(output)
    assert report["restarts"] == {"stream": 2}
    assert report["drained"]
    for (subject, name), (left, right) in lines_of(report).items():
        # a venue sends again what was not acknowledged, landed or not: no duplicate in its own count
        if name != "duplicates sent":
            assert left == right, f"{subject}, {name}: {left} and {right}"
    assert processes_of(state) == []


def test_ctrl_c_ends_an_endless_run_and_leaves_nobody(state: Path) -> None:
    # with Dagster, whose code servers are daemons
    with subprocess.Popen(
        command("run", "--state", state), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as job:
        wait_for(lambda: code_server_runs(state), job)
        began = time.monotonic()
        job.send_signal(signal.SIGINT)
        output, _ = job.communicate(timeout=60)
        took = time.monotonic() - began
    assert job.returncode == 0, output[-3000:]
    assert took < 20
    assert processes_of(state) == []


def wait_for(condition: Callable[[], bool], job: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert job.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def code_server_runs(state: Path) -> bool:
    for process in processes_of(state):
        with suppress(OSError):
            if b"\0api\0grpc" in Path(f"/proc/{process}/cmdline").read_bytes():
                return True
    return False
