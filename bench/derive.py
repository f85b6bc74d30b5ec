"""``make bench-day``: a day of a million fills derived again, with all that follows from it, on a real Postgres.

The promise: 60 s and 1.5 GB on two idle cores, for executions, final figures, breaks and quality written for the
first time. A quiet machine is held to the seconds. A busy one gives us less of its processors, so there the
seconds are stretched by what it gave: the yardstick is reading the same rows by plain ``COPY`` in the same run,
which takes ``QUIET_READ`` on a quiet machine. Where reading takes no longer than that, the promise is the limit.

Example: ``python -m bench.derive --fills 200000 --json``
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from rich.console import Console

from bench.day import land_day
from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.derivation import derive_day
from execution_assets.final_day import derive_finals
from execution_assets.resources import LedgerResource
from ledger.db.migrate import migrate
from ledger.domain.decide import Policy
from operations.embedded import EmbeddedStack, ServerName

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = date(2026, 11, 20)
SECONDS, MEGABYTES, SLO_US = 60.0, 1_500.0, 150_000
QUIET_READ = 5.0  # seconds for the rows of a million fills with two cores to itself: what Postgres needs of one
_TABLES = ("fills", "executions", "slippage_metrics")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.derive", description=__doc__)
    parser.add_argument("--fills", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--url", help=argparse.SUPPRESS)  # the measured process
    return parser.parse_args()


def plain_read(url: str) -> float:
    """Give the seconds that reading the day's rows by ``COPY`` takes: the yardstick."""
    began = time.perf_counter()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in _TABLES:
            query = f"COPY (SELECT * FROM execution.{table} WHERE trade_date = '{DAY}') TO STDOUT"  # noqa: S608
            with cursor.copy(query.encode()) as copy:
                for _ in copy:
                    pass
    return time.perf_counter() - began


def measure(url: str) -> dict[str, float]:
    """Derive the day and its final figures; give seconds, CPU seconds and the memory of all our processes."""
    engine = LedgerResource(url=url).engine()
    figures: dict[str, float] = {}
    for name, work in (
        ("executions", lambda: derive_day(engine, DAY, Policy(), log=_tell).differences.count),
        ("final_figures", lambda: sum(c.count for c in derive_finals(engine, DAY, Policy(), log=_tell))),
        (
            "breaks_and_quality",
            lambda: derive_breaks(engine, DAY).count + derive_quality(engine, DAY, SLO_US).count,
        ),
        ("final_figures_again", lambda: sum(c.count for c in derive_finals(engine, DAY, Policy(), log=_tell))),
    ):
        figures |= _timed(name, work)
    ours, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["memory_mb"] = round((ours.ru_maxrss + others.ru_maxrss) / 1024)
    figures["cpu_seconds"] = round(ours.ru_utime + ours.ru_stime + others.ru_utime + others.ru_stime, 1)
    return figures


def _timed(name: str, work: Callable[[], int]) -> dict[str, float]:
    began = time.perf_counter()
    changed = work()
    return {f"{name}_seconds": round(time.perf_counter() - began, 1), f"{name}_rows_changed": changed}


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Make the day, measure, compare; exit 1 where a target is missed."""
    arguments = _arguments()
    if arguments.url:
        sys.stdout.write(json.dumps(measure(arguments.url)))
        return 0
    console = Console(stderr=arguments.json)
    with tempfile.TemporaryDirectory(prefix="execution-agent-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        stack = EmbeddedStack(Path(folder) / "state", [ServerName.POSTGRES])
        url = stack.start().postgres_url("postgres")
        try:
            migrate(url)
            console.print(f"a day of {arguments.fills:,} fills is made …")
            land_day(url, DAY, arguments.fills)
            yardstick = plain_read(url)
            command = [sys.executable, "-m", "bench.derive", "--url", url]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            yardstick = (yardstick + plain_read(url)) / 2
        finally:
            stack.stop()
    parts = ("executions", "final_figures", "breaks_and_quality")
    seconds = sum(figures[f"{part}_seconds"] for part in parts)
    busy = max(1.0, yardstick / (QUIET_READ * arguments.fills / 1_000_000))
    target = SECONDS * arguments.fills / 1_000_000 * busy
    figures |= {"seconds": round(seconds, 1), "plain_read_seconds": round(yardstick, 1), "busy": round(busy, 2)}
    missed = [] if figures["memory_mb"] <= MEGABYTES else ["memory_mb"]
    if seconds > target:
        missed.append("seconds")
    if figures["executions_rows_changed"] or figures["final_figures_again_rows_changed"]:
        missed.append("a second derivation changed rows")
    if arguments.json:
        sys.stdout.write(json.dumps({"figures": figures, "missed": missed}) + "\n")
    for name, value in figures.items():
        console.print(f"{name:32} {value:>12,}")
    console.print(f"targets: {target:.0f} s (the promise, times busy); {MEGABYTES:,.0f} MB; nothing changed again")
    console.print(f"missed: {', '.join(missed)}" if missed else "all reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
