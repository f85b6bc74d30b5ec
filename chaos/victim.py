"""The streaming process as the campaign starts it: with a fault point set, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.machine import family
from chaos import awaits
from chaos.nursery import die_with_parent
from chaos.stacks import BEGIN, END
from ledger.faultpoints import SWITCH, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.nursery import Life, Nursery
    from chaos.plan import Kill

_LOOK_SECONDS = 0.01
_STACK_SECONDS = 3.0
_ENGINES = "fault point engine."


class Victim:
    """One life after another of the streaming process, all in one log: of a nursery, or each started anew."""

    def __init__(
        self, folder: Path, log: Path, environment: Mapping[str, str], nursery: Nursery | None = None
    ) -> None:
        self.log = log
        self._folder = folder
        self._environment = dict(environment)
        self._nursery = nursery
        self._process: subprocess.Popen[bytes] | Life | None = None
        self._logged = 0

    def start(self, kill: Kill | None = None, more: Mapping[str, str] | None = None) -> None:
        """Start it, armed with the kill's fault point or await; ``more`` goes into its environment.

        Awaits are watched in lives of a nursery alone.
        """
        environment = self._environment | dict(more or {})
        if kill is not None and kill.point:
            environment |= {SWITCH: "1", VARIABLE: f"{kill.point}:{kill.passes}:{kill.seconds}"}
        if kill is not None and kill.fault is not None:
            environment[awaits.VARIABLE] = msgspec.json.encode(kill.fault).decode()
        self.log.touch()
        self._logged = self.log.stat().st_size
        if self._nursery is not None:
            self._process = self._nursery.bear(environment, self._folder, self.log)
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "operations.cli", "stream"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  no thread of the campaign is at work then
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

    def ended_within(self, seconds: float, words: str) -> bool:
        """Wait for its end, or for that of its FIX engine where ``words`` are those of an engine's point."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.alive or (_ENGINES in words and self.said(words)):
                return True
            time.sleep(_LOOK_SECONDS)
        return not self.alive

    def said(self, words: str) -> bool:
        """Whether this life's log has the words of a kill: its last ones, or its engine's, passed on."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return words.encode() in log.read()

    def stacks(self) -> list[str]:
        """Give where its tasks stand; nothing of one that was not born in a nursery, or does not answer."""
        if self._nursery is None or not self.alive:
            return []
        before, deadline = self.log.stat().st_size, time.monotonic() + _STACK_SECONDS
        self.send(signal.SIGUSR1, group=False)
        lines: list[str] = []
        while time.monotonic() < deadline and END not in lines:
            time.sleep(_LOOK_SECONDS)
            with self.log.open("rb") as log:
                log.seek(before)
                lines = log.read().decode("utf-8", "replace").splitlines()
        return lines[lines.index(BEGIN) + 1 : lines.index(END)] if BEGIN in lines and END in lines else []

    def words(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-8:])

    def kill(self, *, group: bool) -> None:
        """SIGKILL it, with its FIX engine or alone, and wait for its end."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill_child(self, program: str) -> bool:
        """SIGKILL a process of its own by the program's name alone; False where it has none."""
        for child in family(self.pid)[1:]:  # whichever of its threads has started it
            with contextlib.suppress(OSError):
                if program.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                    os.kill(child, signal.SIGKILL)
                    return True
        return False

    def stop(self) -> None:
        """Let it drain and end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill(group=True)
