"""What other programs had of the machine while something was measured; and the verdict on what it then says."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

KEPT, BROKEN, NOT_PROVEN = 0, 1, 3  # exit codes
DISTURBED = 0.1  # of all processors: where others had more, a promise that is missed may be theirs


class Others:
    """Measures from now on; ours are this process and all that came of it."""

    def __init__(self) -> None:
        self._began, self._busy = time.monotonic(), _others_seconds()

    def share(self) -> float:
        """Give the share of all processors that went to processes which are not ours, up to now."""
        had = _others_seconds() - self._busy
        return round(min(1.0, max(0.0, had) / ((time.monotonic() - self._began) * (os.cpu_count() or 1))), 3)


def verdict(*, is_kept: bool, share_of_others: float) -> str:
    """Say ``kept``, ``broken``, or ``not proven``: missed while others had the processors."""
    if is_kept:
        return "kept"
    return "not proven" if share_of_others > DISTURBED else "broken"


def outcome(verdicts: dict[str, str]) -> int:
    """Give the exit code of a benchmark: 1 where a promise is broken, else 3 where one is not proven."""
    if "broken" in verdicts.values():
        return BROKEN
    return NOT_PROVEN if "not proven" in verdicts.values() else KEPT


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has used, with that of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    except OSError:  # it has ended: its parent has its time
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime: proc(5)


def peak_mb(pid: int) -> float:
    """Give the most memory that a process has had resident, in MB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def family(pid: int) -> list[int]:
    """List a process and all that came of it; one that ends meanwhile has no children any more."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                found += map(int, (task / "children").read_text("utf-8").split())
    return found


def _others_seconds() -> float:
    """Give the processor seconds that processes which are not ours have used since the machine was started."""
    busy = [int(field) for field in Path("/proc/stat").read_text("utf-8").split("\n", 1)[0].split()[1:9]]
    idle = busy[3] + busy[4]  # idle and iowait, proc(5); steal is another machine's
    return (sum(busy) - idle) / os.sysconf("SC_CLK_TCK") - sum(map(cpu_seconds, family(os.getpid())))
