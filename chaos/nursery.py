"""A process that has imported the streaming program and is forked for each of its lives.

A start takes 0.01 s instead of over a second of processor time, most of which is imports. What is left out of a
life is the interpreter's start alone: settings, logs, event loop, threads and connections are each life's own, and
so is the FIX engine, which is started as ever. There is one thread here and no event loop to be broken by a fork.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
import traceback
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, Self

import msgspec

from operations.main_job.programs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PROGRAM = ("uvloop", "operations.cli", "streaming.process", "streaming.steady_clock")
_libc = ctypes.CDLL(None)


class Birth(msgspec.Struct, frozen=True):
    """What a life is given."""

    environment: dict[str, str]
    folder: str
    log: str


class Nursery:
    """The parent of the lives. Leaving the context ends it, and every life with it."""

    def __init__(self, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=PROJECT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  no thread of the campaign is at work then
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of: object) -> None:
        self._process.kill()
        self._process.communicate()

    def bear(self, environment: Mapping[str, str], folder: Path, log: Path) -> Life:
        """Start a life of the streaming process, in a session of its own."""
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        birth = Birth(dict(environment), str(folder), str(log))
        self._process.stdin.write(msgspec.json.encode(birth) + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the nursery has ended with {self._process.wait()}: its errors are in the log")
        return Life(int(answer))


class Life:
    """A forked process: the part of ``subprocess.Popen`` that is needed of what is not our own child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def poll(self) -> int | None:
        """Give 0 once it has ended, else None."""
        if self._handle is None:
            return 0
        try:
            signal.pidfd_send_signal(self._handle, 0)
        except ProcessLookupError:
            os.close(self._handle)
            self._handle = None
            return 0
        return None

    def wait(self, seconds: float | None = None) -> None:
        """Wait for its end. Raises ``subprocess.TimeoutExpired``."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("stream", seconds or 0.0)
            time.sleep(0.01)

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _live(birth: Birth) -> NoReturn:
    """Be the streaming process: what ``execution-agent stream`` does after its imports."""
    import uvloop  # noqa: PLC0415

    from chaos import awaits  # noqa: PLC0415
    from chaos.stacks import tell_when_asked  # noqa: PLC0415
    from ledger import faultpoints  # noqa: PLC0415
    from operations.cli import stream  # noqa: PLC0415

    try:
        os.setsid()
        die_with_parent()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(birth.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.closerange(3, 64)
        os.chdir(birth.folder)
        os.environ.clear()
        os.environ.update(birth.environment)
        time.tzset()
        faultpoints.arm(os.environ)
        tell_when_asked()
        fault = awaits.armed(os.environ)
        if fault is not None:
            uvloop.new_event_loop = partial(awaits.watched, uvloop.new_event_loop, fault)
        stream()
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    except BaseException:  # noqa: BLE001  it is the end of the process, and its log is to say why
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Import everything, then fork a life for each line."""
    for name in _PROGRAM:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # lives that have ended are gone at once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        birth = msgspec.json.decode(line, type=Birth)
        pid = os.fork()
        if pid == 0:
            _live(birth)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
