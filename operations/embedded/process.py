"""One server process: started under a guard, asked whether it is ready, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from operations.embedded.errors import ServerDidNotStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from operations.embedded.account import Account
    from operations.embedded.state import StateFolder

_GUARD = Path(__file__).with_name("guard.py")
_POLL_SECONDS = 0.02
_LAST_LINES = 15
_GUARD_SECONDS = 8.0  # more than the guard waits for what it has killed


def server_environment(home: Path) -> dict[str, str]:
    """What the servers see of our environment: nothing that could change them (PG*, WEED_*, proxies)."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {"HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC", **kept}


class ServerProcess:
    """A server of the stack, in a session of its own so that the terminal's Ctrl-C does not reach it."""

    def __init__(
        self,
        name: str,
        state: StateFolder,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace: float = 10.0,
    ) -> None:
        self.name = name
        self.log = state.log(name)
        self.abandoned = threading.Event()
        self._state = state
        self._stop_signal = stop_signal
        self._grace = grace
        self._guard: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Wait until every process of an earlier run is gone; what is started inside inherits the lock."""
        descriptor = self._state.server_lock(self.name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def new_log(self) -> None:
        """Begin a new log file and keep the last one."""
        if self.log.exists():
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        self.log.touch(mode=0o600)

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        lock: int,
        folder: Path,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the server with `folder` as its working directory, and as another user if one is named.

        `environment` is added to the little that every server sees of ours.
        """
        user = f"{account.uid}:{account.gid}" if account else ""
        guard = [os.getpid(), int(self._stop_signal), lock, self._grace, user]
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_GUARD), *map(str, guard), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**server_environment(folder), **(environment or {})},
                pass_fds=(lock,),
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Ask until the server says it is ready; give up when it ends, time is up or the start is abandoned."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive():
                raise self.failure("it ended")
            if self.abandoned.is_set():
                raise self.failure("the start was abandoned")
            if time.monotonic() > deadline:
                raise self.failure(f"no answer after {seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def failure(self, why: str) -> ServerDidNotStart:
        """The error that tells why the server is not there."""
        lines = self.log.read_text("utf-8", "replace").splitlines() if self.log.exists() else []
        return ServerDidNotStart(self.name, why, self.log, "\n".join(lines[-_LAST_LINES:]))

    def alive(self) -> bool:
        """Whether the server runs."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def pid(self) -> int:
        """The guard's process id; the server is its child."""
        assert self._guard is not None, "it has been started"
        return self._guard.pid

    def ask_to_stop(self) -> None:
        """Begin to stop; `wait_stopped` ends it. The guard sends SIGKILL when the grace time is over.

        What the server left behind is ended after it, in the same way.
        """
        self.abandoned.set()
        if self._guard is not None and self.alive():
            self._guard.terminate()

    def wait_stopped(self) -> None:
        """Wait for the end of the server."""
        if self._guard is not None:
            try:
                # the grace time of the server, and that of what it left behind
                self._guard.wait(2 * self._grace + _GUARD_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._guard = None
        self.abandoned.clear()

    def kill(self) -> None:
        """SIGKILL, now: the server and its guard."""
        if self._guard is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
