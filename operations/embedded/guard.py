"""Runs one server and outlives its owner just long enough to stop it.

Started as a script of its own (`python -I -S guard.py ...`) by `process.py`, standard library only.

The obvious alternative, PR_SET_PDEATHSIG straight from the owner, has two traps: the signal fires when the
*thread* that started the server ends, and we start servers from threads; and a SIGKILL is no way to stop
a database. So the owner is watched from here (by the parent process id, which changes when it dies), and
PR_SET_PDEATHSIG only covers the death of this process, which has one thread.
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
_WATCH_SECONDS = 0.25


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
        code = server.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
        if kill_at is None and (told or os.getppid() != owner):
            server.send_signal(stop_signal)
            kill_at = time.monotonic() + grace
        elif kill_at is not None and time.monotonic() > kill_at:
            server.kill()
        select.select([wake], [], [], _WATCH_SECONDS)
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 512)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
