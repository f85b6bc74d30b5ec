"""Options that several commands share, and how a command ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

StateOption = Annotated[
    Path, typer.Option("--state", help="Folder of the embedded servers' data.", envvar="EXECUTION_AGENT_STATE")
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The ledger's database; else of EXECUTION_AGENT_CONFIG's file, else of the embedded servers.",
        envvar="EXECUTION_AGENT_POSTGRES_URL",
        show_envvar=True,
    ),
]
STATE = Path(".state")
# exit codes: 0 done; 1 the work failed, was refused or does not balance; 2 wrong usage or settings; 130 interrupt
FAILED, USAGE, INTERRUPTED = 1, 2, 130


def fail(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    sys.stderr.write(f"execution-agent: {message}\n")
    raise typer.Exit(code)


def first_line(error: Exception) -> str:
    """Give what a driver's error begins with: the rest is context that no person needs."""
    return (str(error).splitlines() or [type(error).__name__])[0]
