"""``make simulate``: thousands of simulated hours from seeds, every invariant checked after every step.

Examples: ``python -m simulation --hours 100``, ``python -m simulation --seed 38 --trace`` replays one run and
prints its steps. Ends with 1 at a violation, with the seed and how to replay it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import count
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from simulation.planted import PLANTED
from simulation.process import Parts
from simulation.world import SCALES, Outcome, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

_SHARE = 8  # seeds that a process runs before it reports
_AHEAD = 3  # shares that wait for each process


class Totals(msgspec.Struct):
    """What all runs came to."""

    runs: int = 0
    hours: float = 0.0
    steps: int = 0
    commits: int = 0
    checks: int = 0
    reports: int = 0
    duplicates: int = 0
    events: int = 0
    kills: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Add one run."""
        self.runs += 1
        for name in ("hours", "steps", "commits", "checks", "reports", "duplicates", "events", "kills"):
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        self.faults.update(outcome.faults)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, help="simulated hours in all; runs go on from --seed until then")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; with --trace of the one run")
    parser.add_argument("--trace", action="store_true", help="run --seed alone and print its steps")
    parser.add_argument("--scale", choices=sorted(SCALES), default="long", help="how much a run holds")
    parser.add_argument("--plant", choices=sorted(PLANTED), help="put a known bug in: it must be found")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes")
    parser.add_argument("--json", action="store_true", help="print the totals as JSON")
    arguments = parser.parse_args()
    if arguments.hours is not None and arguments.hours <= 0:
        parser.error(f"--hours is {arguments.hours}: more than 0")
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}: at least 1")
    if not arguments.trace and arguments.hours is None:
        arguments.hours = 10_000.0
    return arguments


def _parts(plant: str | None) -> Parts:
    return PLANTED[plant]() if plant is not None else Parts()


def _run_share(seeds: range, scale: str, plant: str | None) -> list[Outcome]:
    return [simulate(seed, SCALES[scale], _parts(plant)) for seed in seeds]


def campaign(
    hours: float, seed: int, jobs: int, scale: str, plant: str | None, console: Console
) -> tuple[Totals, Outcome | None]:
    """Run seeds until so many hours are simulated; stop at the first violation, of the lowest seed at hand."""
    totals, began, told = Totals(), time.monotonic(), 0.0
    shares = (range(first, first + _SHARE) for first in count(seed, _SHARE))
    with ProcessPoolExecutor(jobs) as pool:
        for outcomes in _as_they_end(pool, shares, jobs, scale, plant):
            for outcome in outcomes:
                totals.add(outcome)
                if outcome.violation is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    return totals, outcome
            if time.monotonic() - told >= 5.0:  # noqa: PLR2004  a line every five seconds
                told = time.monotonic()
                console.print(
                    f"[dim]{told - began:6.0f} s[/]  {totals.hours:,.0f} of {hours:,.0f} h, {totals.runs:,} runs, "
                    f"{totals.kills:,} kills, {totals.checks:,} checks",
                    highlight=False,
                )
            if totals.hours >= hours:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return totals, None


def _as_they_end(
    pool: ProcessPoolExecutor, shares: Iterator[range], jobs: int, scale: str, plant: str | None
) -> Iterator[list[Outcome]]:
    running: set[Future[list[Outcome]]] = set()
    while True:
        while len(running) < jobs * _AHEAD:
            running.add(pool.submit(_run_share, next(shares), scale, plant))
        ended = next(as_completed(running))
        running.discard(ended)
        yield ended.result()


def _print(totals: Totals, seconds: float, console: Console) -> None:
    table = Table(title=f"Simulated in {seconds:,.0f} s", title_justify="left")
    figures = msgspec.structs.asdict(totals)
    faults = figures.pop("faults")
    for name in figures:
        table.add_column(name, justify="right")
    table.add_row(*(f"{value:,.0f}" for value in figures.values()))
    console.print(table)
    struck = Table(title="Faults", title_justify="left")
    struck.add_column("fault")
    struck.add_column("times", justify="right")
    for name, times in sorted(faults.items()):
        struck.add_row(name, f"{times:,}")
    console.print(struck)


def _replay(seed: int, scale: str, plant: str | None, console: Console) -> int:
    outcome = simulate(seed, SCALES[scale], _parts(plant), keep_trace=True)
    for line in outcome.trace:
        sys.stdout.write(line + "\n")
    console.print(
        f"seed {seed}: trace {outcome.trace_digest[:16]}, {outcome.steps:,} steps, {outcome.hours:,.1f} h"
    )
    return 0 if outcome.violation is None else 1


def main() -> int:
    """Simulate; 1 when an invariant does not hold."""
    arguments = _arguments()
    console = Console(stderr=arguments.json or arguments.trace, width=None if sys.stdout.isatty() else 140)
    if arguments.trace:
        return _replay(arguments.seed, arguments.scale, arguments.plant, console)
    began = time.monotonic()
    totals, found = campaign(
        arguments.hours, arguments.seed, arguments.jobs, arguments.scale, arguments.plant, console
    )
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(totals).decode() + "\n")
    _print(totals, time.monotonic() - began, console)
    if found is None:
        console.print("every invariant held after every step")
        return 0
    plant = f" --plant {arguments.plant}" if arguments.plant else ""
    console.print(f"[bold red]seed {found.seed}: {found.violation}[/]", highlight=False)
    replay = f"python -m simulation --seed {found.seed} --scale {arguments.scale} --trace{plant}"
    console.print(f"replay it: {replay}", highlight=False)
    return 1


if __name__ == "__main__":
    sys.exit(main())
