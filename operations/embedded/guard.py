"""Runs one server and outlives its owner just long enough to stop it, and all that it started.

Started as a script of its own (`python -I -S guard.py ...`) by `process.py`, standard library only.

The obvious alternative, PR_SET_PDEATHSIG straight from the owner, has two traps: the signal fires when the
*thread* that started the server ends, and we start servers from threads; and a SIGKILL is no way to stop
a database. So the owner is watched from here (by the parent process id, which changes when it dies), and
PR_SET_PDEATHSIG only covers the death of this process, which has one thread.

A server may leave processes behind that no process group holds (Dagster's code servers do). This process is
the "subreaper" of all of them: whoever loses its parent becomes its child, and is ended after the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_WATCH_SECONDS = 0.25
_LEFTOVER_WATCH_SECONDS = 0.05
_KILLED_SECONDS = 4.0  # a process in an uninterruptible wait is not waited for beyond this


def main(arguments: list[str]) -> int:
    """Run a server until it ends, we are told to stop it (SIGTERM), or the owner is gone."""
    owner, stop_signal, lock = (int(argument) for argument in arguments[:3])
    grace = float(arguments[3])
    user = [int(part) for part in arguments[4].split(":")] if arguments[4] else []
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: told.append(received))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    libc = ctypes.CDLL(None, use_errno=True)
    guard = os.getpid()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def die_with_guard() -> None:
        # Runs after the change of user, which would clear it.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)

    server = subprocess.Popen(
        arguments[5:],
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        preexec_fn=die_with_guard,  # noqa: PLW1509 - this process has one thread
        user=user[0] if user else None,
        group=user[1] if user else None,
        extra_groups=[] if user else None,
    )
    kill_at: float | None = None
    while True:
        code = _reap(server.pid)
        if code is not None:
            server.returncode = code
            _end_leftovers(grace)
            return code if code >= 0 else 128 - code
        if kill_at is None and (told or os.getppid() != owner):
            os.kill(server.pid, stop_signal)
            kill_at = time.monotonic() + grace
        elif kill_at is not None and time.monotonic() > kill_at:
            os.kill(server.pid, signal.SIGKILL)
        select.select([wake], [], [], _WATCH_SECONDS)
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 512)


def _reap(server: int = 0) -> int | None:
    """Collect every child that has ended, adopted ones too; give the server's exit code if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == server:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _end_leftovers(grace: float) -> None:
    """SIGTERM whoever the server left behind, and SIGKILL it when the grace time is over.

    Children only: what they started is theirs to end, and is ours when they are gone without having done so.
    """
    began = time.monotonic()
    asked: set[int] = set()
    while True:
        _reap()
        children = _children()
        spent = time.monotonic() - began
        if not children or spent > grace + _KILLED_SECONDS:
            return
        for child in children:
            if spent > grace or child not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL if spent > grace else signal.SIGTERM)
                asked.add(child)
        time.sleep(_LEFTOVER_WATCH_SECONDS)


def _children() -> list[int]:
    """Give the processes whose parent we are, from /proc."""
    guard = str(os.getpid())
    processes = os.listdir("/proc")  # noqa: PTH208 - the import of pathlib would cost the start 10 ms
    return [int(entry) for entry in processes if entry.isdigit() and _parent(entry) == guard]


def _parent(process: str) -> str:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            line = file.read()
    except OSError:
        return ""  # it is gone
    return line.rpartition(")")[2].split()[1]  # the name before it is in parentheses, and may hold some


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
