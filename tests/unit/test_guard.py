"""The guard of a server: whatever the server started ends with it, adopted or not, asked before it is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GUARD = Path(__file__).parents[2] / "operations" / "embedded" / "guard.py"
# A server that leaves a daemon behind: in a session of its own, its parent gone. `deaf` ignores SIGTERM.
SERVER = """
import os, signal, subprocess, sys, time
daemon = '''
import os, signal, sys, time
def told(*_):
    open("told", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else told)
open("daemon.new", "w").write(str(os.getpid()))
os.rename("daemon.new", "daemon")
time.sleep(60)
'''
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", daemon, *sys.argv[1:]])
    os._exit(0)
os.wait()
if "ends" in sys.argv:
    while not os.path.exists("daemon"):
        time.sleep(0.01)
    sys.exit(3)
time.sleep(60)
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    guards: list[subprocess.Popen[bytes]] = []
    yield guards
    for guard in guards:
        if guard.poll() is None:
            guard.kill()
            guard.wait()


def guarded(folder: Path, *how: str, grace: float = 5.0, owner: int | None = None) -> list[str]:
    (folder / "server.py").write_text(SERVER)
    guard = [sys.executable, "-I", "-S", str(GUARD)]
    settings = [str(owner or os.getpid()), str(int(signal.SIGTERM)), "1", str(grace), ""]
    return [*guard, *settings, sys.executable, "server.py", *how]


def daemon_of(folder: Path) -> int:
    deadline = time.monotonic() + 20
    while not (folder / "daemon").exists():
        assert time.monotonic() < deadline, "the daemon did not start"
        time.sleep(0.02)
    return int((folder / "daemon").read_text())


def runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_a_daemon_that_the_server_left_is_asked_to_end(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    started.append(guard := subprocess.Popen(guarded(tmp_path), cwd=tmp_path))
    daemon = daemon_of(tmp_path)
    guard.terminate()
    assert guard.wait(10) == 128 + signal.SIGTERM
    assert not runs(daemon)
    assert (tmp_path / "told").exists()


def test_a_daemon_that_does_not_listen_is_killed_after_the_grace_time(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    started.append(guard := subprocess.Popen(guarded(tmp_path, "deaf", grace=1.0), cwd=tmp_path))
    daemon = daemon_of(tmp_path)
    began = time.monotonic()
    guard.terminate()
    guard.wait(10)
    assert time.monotonic() - began >= 1.0
    assert not runs(daemon)


def test_a_server_that_ends_by_itself_takes_its_daemon_along(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    started.append(guard := subprocess.Popen(guarded(tmp_path, "ends"), cwd=tmp_path))
    assert guard.wait(20) == 3
    assert not runs(daemon_of(tmp_path))


def test_a_killed_owner_leaves_no_daemon(tmp_path: Path) -> None:
    command = guarded(tmp_path)
    command[4] = "OWNER"
    script = (
        "import os, subprocess, time\n"
        f"command = [str(os.getpid()) if part == 'OWNER' else part for part in {command!r}]\n"
        "guard = subprocess.Popen(command, start_new_session=True)\n"
        "open('guard', 'w').write(str(guard.pid))\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as owner:
        daemon = daemon_of(tmp_path)
        guard = int((tmp_path / "guard").read_text())
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while runs(daemon) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(daemon)
    while state_of(guard) not in {"", "Z"} and time.monotonic() < deadline:  # whoever adopted it may not reap
        time.sleep(0.05)
    assert state_of(guard) in {"", "Z"}


def state_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
