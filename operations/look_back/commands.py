"""``execution-agent look-back``: its options, and what it prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from operations.look_back.comparing import Compared
    from streaming.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("look-back", epilog="Example: `execution-agent look-back ALPHA --from 2h --to 15m --dry-run`")(
        look_back
    )


def look_back(
    venue: Annotated[str, typer.Argument(metavar="VENUE", help="Its name in the settings.")],
    since: Annotated[str, typer.Option("--from", help="A time in UTC, or how long ago: 2h, 90s.")],
    until: Annotated[str, typer.Option("--to", help="The same, or now; not included.")] = "15s",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare here, hand nothing in.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for the answer.")] = 120.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Compare a venue's own list of fills with ours, and hand in what is missing here.

    Without --dry-run it takes a person's login (`execution-agent people add NAME`): the audit trail says who.

    Exit codes: 0 nothing is missing any more, or the request is recorded; 1 it failed, or fills are missing still;
    2 wrong usage or settings.
    """
    from operations.look_back.comparing import as_page

    window = _window(since, until)
    compared = _compared(venue, window, wait, url, state, dry_run=dry_run)
    if as_json:
        import msgspec

        sys.stdout.write(json.dumps(msgspec.to_builtins(compared)) + "\n")
    elif compared.outcome is None:
        sys.stdout.write("recorded: it is done as soon as a streaming process holds the lease\n")
    else:
        sys.stdout.write(as_page(compared) + "\n")
    if compared.outcome is not None and compared.outcome.startswith(("failed", "refused")):
        fail(compared.outcome, FAILED)
    if not compared.is_whole:
        raise typer.Exit(FAILED)


def _window(since: str, until: str) -> tuple[int, int]:
    from operations.look_back.comparing import now_ns, time_of

    at_ns = now_ns()
    try:
        window = (time_of(since, at_ns), time_of(until, at_ns))
    except ValueError as error:
        fail(f"--from, --to: {error}", USAGE)
    if window[0] >= window[1]:
        fail(f"--from {since} is not before --to {until}", USAGE)
    return window


def _compared(
    venue: str, window: tuple[int, int], wait: float, url: str | None, state: Path, *, dry_run: bool
) -> Compared:
    import psycopg

    from ledger.db.errors import LedgerError
    from operations.applying import service_settings
    from operations.dead_letters import NoLedgerError, ledger_url
    from operations.look_back.comparing import asked, shown
    from operations.people import OPERATOR, PeopleError, require_person
    from streaming.errors import SettingsError, StreamingError

    try:
        settings, ledger = service_settings(state), ledger_url(url, state)
        if settings is not None:
            _check(venue, settings)
        if not dry_run:
            require_person(ledger, "handing in what a venue lists", OPERATOR)
            return asked(settings, venue, window, ledger, wait)
        if settings is None:
            fail("--dry-run asks the venue from here: set EXECUTION_AGENT_CONFIG to the process's settings", USAGE)
        return shown(settings, venue, window, ledger)
    except (NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    except (LedgerError, StreamingError, PeopleError, OSError) as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)


def _check(venue: str, settings: Settings) -> None:
    able = [name for name, of in settings.venues.items() if of.look_back is not None]
    if venue not in able:
        fail(f"{venue} has no look_back in the settings; venues that have: {', '.join(able) or 'none'}", USAGE)
