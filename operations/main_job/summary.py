"""The end of a bounded run, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from operations.main_job.job import Report

_YES, _NO = Text("yes", style="green"), Text("NO", style="bold red")


def print_summary(report: Report, console: Console) -> None:
    """Print the books and whether they balance."""
    table = Table(title="The books", title_justify="left", title_style="bold")
    for name in ("", "this", "", "equals this", "", "balances"):
        table.add_column(name, justify="right" if not name else "left")
    for line in report.lines:
        table.add_row(
            line.subject,
            line.left_name,
            f"{line.left:,}",
            line.right_name,
            f"{line.right:,}",
            _YES if line.balances else _NO,
        )
    for day in report.days:
        table.add_row(
            f"Dagster {day.trade_date}",
            "executions derived again",
            f"{day.executions:,}",
            "equal to the live rows",
            f"{day.executions - day.differences:,}",
            _YES if day.good else _NO,
        )
    console.print(table)
    _print_checks(report, console)
    if report.faults:
        faults = ", ".join(f"{name} {number:,}" for name, number in report.faults.items())
        console.print(f"faults made: {faults}", highlight=False)
    for name, found in report.latency_ms.items():
        if found:
            shown = "  ".join(f"{p} {value:.1f} ms" for p, value in found.items())
            console.print(f"socket to commit, {name}: {shown}", highlight=False)
    for name, number in report.restarts.items():
        console.print(f"[yellow]{name} was started again {number} times[/]")
    if not report.drained:
        console.print("[bold red]venues were still delivering when the time to drain was over[/]")
    verdict = "[bold green]the books balance[/]" if report.balanced else "[bold red]the books do NOT balance[/]"
    console.print(f"{verdict} after {report.seconds:,.0f} s")


def _print_checks(report: Report, console: Console) -> None:
    for day in report.days:
        for check, passed in sorted(day.checks.items()):
            outcome = Text("passed", style="green") if passed else Text("FAILED", style="bold red")
            console.print(f"  check {check}: ", outcome)
