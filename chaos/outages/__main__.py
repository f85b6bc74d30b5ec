"""``make outages``: every server fails in every way under load, and the clock, and the writer; then the books.

Exits 0 when all promises were kept, 1 when one was not, 3 when all that were tried were kept and a case could not
be played here: that one is not proven.

Example: ``python -m chaos.outages --only postgres-killed --only writer-paused --json``
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from chaos.outages.cases import CASES
from chaos.outages.recovery import RECOVERY_SECONDS, Promise
from chaos.outages.small_disk import MOUNTED, run_apart
from chaos.outages.trial import Outcome, play
from chaos.resting import ChaosError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.outages.cases import Case

NOT_PROVEN = 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos.outages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", metavar="CASE", help="play this case, or those of this server; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    parser.add_argument("--seed", type=int, default=1, help="of the venues' day")
    parser.add_argument("--orders", type=float, default=30.0, help="orders a second, of some four fills each")
    parser.add_argument("--state", type=Path, help="keep everything here, logs too (default: thrown away)")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    arguments = parser.parse_args()
    wanted = arguments.only or list(CASES)
    arguments.cases = [case for case in CASES.values() if case.name in wanted or case.server in wanted]
    unknown = set(wanted) - CASES.keys() - {case.server for case in CASES.values()}
    if unknown:
        parser.error(f"--only {min(unknown)}: there is no such case (--list names them)")
    return arguments


def _print(outcome: Outcome, console: Console) -> None:
    table = Table(title=f"{outcome.case}: {outcome.what}", title_justify="left")
    for name in ("promise", "figure", "kept"):
        table.add_column(name)
    for promise in outcome.promises:
        table.add_row(promise.name, promise.figure, "[green]yes[/]" if promise.kept else "[bold red]NO[/]")
    console.print(f"[bold yellow]{outcome.case}: not proven, {outcome.skipped}[/]" if outcome.skipped else table)
    for line in outcome.differences:
        console.print(
            f"[red]{line.subject}: {line.left_name} {line.left:,}, {line.right_name} {line.right:,}[/]",
            highlight=False,
        )


def _summarise(outcomes: list[Outcome], console: Console) -> None:
    table = Table(title=f"Outages (recovery at most {RECOVERY_SECONDS:g} s)", title_justify="left")
    for name in ("case", "recovery", "reports", "seconds", "proxy", "broken promises"):
        table.add_column(name, justify="right" if name in {"recovery", "reports", "seconds"} else "left")
    for outcome in outcomes:
        broken = ", ".join(promise.name for promise in outcome.promises if not promise.kept)
        figure = "" if outcome.recovery is None else f"{outcome.recovery:.2f} s"
        verdict = outcome.skipped and f"[bold yellow]not proven: {outcome.skipped}[/]"
        table.add_row(
            outcome.case, figure, f"{outcome.reports:,}", f"{outcome.seconds:.0f}", outcome.proxy,
            verdict or (f"[bold red]{broken}[/]" if broken else "[green]none[/]"),
        )  # fmt: skip
    console.print(table)


def verdict(outcomes: Sequence[Outcome]) -> int:
    """Give the exit code."""
    if all(outcome.good for outcome in outcomes):
        return 0
    return NOT_PROVEN if all(outcome.good or outcome.skipped for outcome in outcomes) else 1


def _play(case: Case, state: Path, arguments: argparse.Namespace, tell: Callable[[str], None]) -> Outcome:
    if not case.small_disk or os.geteuid() == 0 or os.environ.get(MOUNTED):
        return play(case, state, seed=arguments.seed, orders=arguments.orders, tell=tell)
    command = [sys.executable, "-m", "chaos.outages", "--only", case.name, "--json", "--state", str(state.parent)]
    command += ["--seed", str(arguments.seed), "--orders", str(arguments.orders)]
    try:
        told = run_apart(command, state.parent / "small-disk")
    except ChaosError as error:
        return Outcome(case.name, case.what, skipped=str(error))
    (outcome,) = msgspec.json.decode(told, type=list[Outcome])
    return outcome


def main() -> int:
    """Play the cases."""
    arguments = _arguments()
    if arguments.list:
        for case in arguments.cases:
            sys.stdout.write(f"{case.name:22} {case.what}\n")
        return 0
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else 140)
    began = time.monotonic()

    def tell(message: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {message}", highlight=False)

    outcomes: list[Outcome] = []
    for number, case in enumerate(arguments.cases, start=1):
        tell(f"{number} of {len(arguments.cases)}: {case.name}")
        with tempfile.TemporaryDirectory(prefix="execution-agent-outage-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o711)
            state = (arguments.state or Path(folder)) / case.name
            try:
                outcome = _play(case, state, arguments, tell)
            except ChaosError as error:
                outcome = Outcome(case.name, case.what, promises=[Promise("set up", False, str(error))])
        _print(outcome, console)
        outcomes.append(outcome)
    _summarise(outcomes, console)
    if arguments.json:
        found = [msgspec.structs.asdict(outcome) | {"good": outcome.good} for outcome in outcomes]
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    return verdict(outcomes)


if __name__ == "__main__":
    sys.exit(main())
