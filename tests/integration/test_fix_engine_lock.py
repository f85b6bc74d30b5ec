"""Two FIX engines with one store: the second waits for the first, and does not wait for one that is stopped."""

from __future__ import annotations

import selectors
import subprocess
import sys
from pathlib import Path
from signal import SIGSTOP

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from streaming.feeds.fix_engine import _lock  # fix_engine is in the command line, as it is in an engine's
_lock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(60)
"""


def engine(store: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(store)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_an_engine_that_is_stopped_gives_its_session_up(tmp_path: Path) -> None:
    with engine(tmp_path) as first, engine(tmp_path) as second:
        try:
            assert first.stdout is not None
            assert second.stdout is not None
            lines = {first: first.stdout, second: second.stdout}
            # whichever is first; the other waits
            with selectors.DefaultSelector() as ready:
                for process, output in lines.items():
                    ready.register(output, selectors.EVENT_READ, process)
                holder = ready.select(60)[0][0].data
                assert lines[holder].readline() == "locked\n"
                other = second if holder is first else first
                ready.unregister(lines[holder])
                assert ready.select(1.0) == []
                holder.send_signal(SIGSTOP)
                assert lines[other].readline() == "locked\n"
            assert holder.wait(10) == -9
        finally:
            for process in (first, second):
                process.kill()
