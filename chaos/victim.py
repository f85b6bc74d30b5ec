"""The streaming process as the campaign starts it: with a fault point set, in a process group of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from ledger.faultpoints import SWITCH, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from chaos.plan import Kill

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_SECONDS = 0.01
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Victim:
    """One life after another of the streaming process, all in one log."""

    def __init__(self, folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._folder = folder
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._logged = 0

    def start(self, kill: Kill | None = None) -> None:
        """Start it, armed with the kill's fault point."""
        environment = dict(self._environment)
        if kill is not None and kill.point:
            environment |= {SWITCH: "1", VARIABLE: f"{kill.point}:{kill.passes}"}
        self._logged = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "operations.cli", "stream"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  no thread of the campaign is at work then
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of this life."""
        assert self._process is not None, "it has been started"
        return self._process.pid

    def send(self, number: signal.Signals, *, group: bool) -> None:
        """Send a signal to it, with its FIX engine or alone."""
        (os.killpg if group else os.kill)(self.pid, number)

    def ended_within(self, seconds: float, point: str) -> bool:
        """Wait for its end, or for that of its FIX engine at an engine's point."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive or (point.startswith("engine.") and self.was_hit(point)):
                return True
            time.sleep(_LOOK_SECONDS)
        return not self.alive

    def was_hit(self, point: str) -> bool:
        """Whether this life's log tells of the fault point: its last words, or its engine's, passed on."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return f"fault point {point}, pass".encode() in log.read()

    def words(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-8:])

    def kill(self, *, group: bool) -> None:
        """SIGKILL it, with its FIX engine or alone, and wait for its end."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Let it drain and end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill(group=True)
