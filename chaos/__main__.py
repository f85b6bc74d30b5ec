"""``make chaos``: SIGKILL at fault points, at every await and at random times, under load, then the books.

Example: ``python -m chaos --kills 100 --seed 3 --json``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from chaos.awaits import MOMENTS, sites
from chaos.campaign import Campaign
from chaos.plan import ALL_AWAITS, draw
from chaos.resting import ChaosError
from ledger.faultpoints import POINTS

if TYPE_CHECKING:
    from chaos.report import Report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1, help="of the plan and of the venues' day")
    parser.add_argument("--orders", type=float, default=30.0, help="orders a second, of some four fills each")
    parser.add_argument("--minutes", type=float, help="no more kills after so long; the books are balanced then")
    places = sorted({*POINTS, ALL_AWAITS, *(site.path for site in sites())})
    parser.add_argument(
        "--only",
        action="append",
        choices=places,
        metavar="PLACE",
        help="kill at this point alone, at awaits of this module (streaming/lander.py), or at awaits; repeatable",
    )
    parser.add_argument("--state", type=Path, help="keep everything here, logs too (default: thrown away)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error(f"--kills is {arguments.kills}: at least 1")
    if arguments.minutes is not None and arguments.minutes <= 0:
        parser.error(f"--minutes is {arguments.minutes:g}: more than 0")
    return arguments


def _print(report: Report, console: Console) -> None:
    table = Table(title="Kills", title_justify="left")
    for name in ("point", "kills", "not passed in time", "in a backlog"):
        table.add_column(name, justify="left" if name == "point" else "right")
    for name in sorted(report.kills.keys() | report.missed.keys()):
        counts = (report.kills.get(name, 0), report.missed.get(name, ""), report.in_backlog.get(name, ""))
        table.add_row(name, *map(str, counts))
    console.print(table)
    _print_awaits(report, console)
    books = Table(title="The books", title_justify="left")
    for name in ("", "this", " ", "equals this", "  ", "balances"):
        books.add_column(name, justify="right" if name in {" ", "  "} else "left")
    for line in report.lines:
        verdict = "[green]yes[/]" if line.balances else "[bold red]NO[/]"
        books.add_row(line.subject, line.left_name, f"{line.left:,}", line.right_name, f"{line.right:,}", verdict)
    console.print(books)
    title = f"Seed {report.seed}, {report.seconds:,.0f} s, {report.kill_seconds:.1f} s a kill"
    totals = Table(title=title, title_justify="left")
    figures = {
        "kills": sum(report.kills.values()) + sum(report.missed.values()),
        "in a backlog": sum(report.in_backlog.values()),
        "restarts": report.restarts,
        "reports sent": report.sent,
        "landed": report.landed,
        "duplicates recognised": report.duplicates,
        "events": report.events,
        "switches of feeds": report.switches,
        "returns": report.returns,
        "differences": len(report.differences),
    }
    for name in figures:
        totals.add_column(name, justify="right")
    totals.add_row(*(f"{value:,}" for value in figures.values()))
    console.print(totals)
    if not report.drained:
        console.print("[bold red]something is not delivered, or something does not come to rest[/]")
    for name in report.missing:
        console.print(name, style="red", highlight=False, markup=False)


def _print_awaits(report: Report, console: Console) -> None:
    if not (report.awaits_hit or report.awaits_missed):
        return
    moments = [moment for found in report.awaits_hit.values() for moment in found]
    counts = ", ".join(f"{moments.count(moment)} {moment}" for moment in MOMENTS)
    console.print(f"{len(report.awaits_hit)} of {report.awaits} awaits were died at ({counts})", highlight=False)
    for name in report.awaits_missed:
        console.print(f"not waited at in time: {name}", highlight=False, markup=False)


def main() -> int:
    """Run a campaign; 1 when anything differs."""
    arguments = _arguments()
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else 140)
    began = time.monotonic()

    def tell(message: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {message}", highlight=False)

    with tempfile.TemporaryDirectory(prefix="execution-agent-chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        state = arguments.state or Path(folder) / "state"
        try:
            kills = draw(arguments.kills, arguments.seed, arguments.only)
            options = {"seed": arguments.seed, "orders": arguments.orders, "minutes": arguments.minutes}
            report = Campaign(state, kills, **options, tell=tell).run()
        except ChaosError as error:
            console.print(f"[bold red]{error}[/]")
            return 1
        except KeyboardInterrupt:
            console.print("interrupted: the books were not compared, nothing is proven; --minutes ends it in time")
            return 130
    if arguments.json:
        sys.stdout.write(report.as_json() + "\n")
    _print(report, console)
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
