"""``execution-agent venues``: its options, and what it prints."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("venues", epilog="Example: `execution-agent venues --json`")(venues)


def venues(
    *,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the venues: their feeds, which is counted on and since when, what is out, today's outages.

    States: primary, backup (it is counted on), out (no feed is left). What a feed does now is known only while the
    streaming process answers. Exit codes: 0 listed; 1 the ledger cannot be asked; 2 wrong usage.
    """
    import psycopg

    from operations.applying import service_settings
    from operations.dead_letters import NoLedgerError, ledger_url
    from operations.venues.reading import as_table, read
    from streaming.errors import SettingsError

    try:
        rows = read(ledger_url(url, state), service_settings(state))
    except (NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)
    sys.stdout.write((json.dumps(rows) if as_json else as_table(rows)) + "\n")
