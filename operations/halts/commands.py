"""``execution-agent halts``: its options, and what it prints."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

halts = typer.Typer(help="See, halt and resume venues.", no_args_is_help=True)

VenueArgument = Annotated[str, typer.Argument(metavar="VENUE", help="Its name in the settings.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why: it goes into the audit trail.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait until it has landed.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(halts, name="halts", epilog="Example: `execution-agent halts list`")


@halts.command("list", epilog="Example: `execution-agent halts list --all --json`")
def list_halts(
    *,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List halted venues, the oldest first, and the venues whose clocks are off."""
    from operations.halts.desk import as_data, as_table, opened

    with _asked(url, state) as ledger, opened(ledger) as desk:
        rows, clocks = desk.listed(ended=ended), desk.clocks()
    _print(json.dumps([as_data(row) for row in rows]) if as_json else as_table(rows, clocks))


@halts.command("halt", epilog="Example: `execution-agent halts halt ALPHA --reason 'prices look wrong'`")
def halt(
    venue: VenueArgument,
    reason: ReasonOption,
    wait: WaitOption = 10.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Halt a venue: it stays halted until a person resumes it.

    Exit codes: 0 done, recorded, or it was so before; 1 refused; 2 wrong usage.
    """
    _ask("halt", venue, reason, wait, url, state)


@halts.command("resume", epilog="Example: `execution-agent halts resume ALPHA --reason 'the venue has mended it'`")
def resume(
    venue: VenueArgument,
    reason: ReasonOption,
    wait: WaitOption = 10.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Resume a venue, whoever halted it. What is measured of it begins anew.

    Exit codes: 0 done, recorded, or it was so before; 1 refused; 2 wrong usage.
    """
    _ask("resume", venue, reason, wait, url, state)


def _ask(action: str, venue: str, reason: str, wait: float, url: str | None, state: Path) -> None:
    from operations.applying import service_settings, wait_until
    from operations.halts.desk import opened

    with _asked(url, state) as ledger, opened(ledger) as desk:
        request_id, person = desk.ask(action, venue, reason)
        wait_until(lambda: desk.outcome(request_id) is not None, service_settings(state), wait)
        outcome = desk.outcome(request_id)
    if outcome is None:
        _print(f"recorded for {person}: it lands as soon as a streaming process holds the lease")
    elif outcome.startswith("refused"):
        fail(outcome, FAILED)
    else:
        _print(f"{venue} {outcome}, by {person}" if ":" not in outcome else f"{venue} {outcome}")


@contextmanager
def _asked(url: str | None, state: Path) -> Iterator[str]:
    """Give the ledger's URL; end the command with one line where something is not as it must be."""
    import psycopg

    from ledger.db.errors import LedgerError
    from operations.dead_letters import NoLedgerError, ledger_url
    from operations.halts.desk import HaltError
    from streaming.errors import SettingsError, StreamingError

    try:
        yield ledger_url(url, state)
    except (NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    except (HaltError, LedgerError, StreamingError) as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
