"""``execution-agent explain``: its options, and what it prints."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: `execution-agent explain 17537743 --venue ALPHA`")(explain)


def explain(
    name: Annotated[
        str, typer.Argument(metavar="EXEC_ID|CORRELATION_ID", help="Also a ClOrdID or the venue's OrderID.")
    ],
    venue: Annotated[str | None, typer.Option(help="Of this venue, where several use the same id.")] = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Tell the story of an order from the ledger.

    What was routed; every report with its bytes, how it was matched and the order's state after it; executions
    with slippage and fees; breaks with votes and resolutions; events. Exit codes: 0 explained; 1 nothing has that
    name, or the ledger could not be read; 2 wrong usage.
    """
    import psycopg
    from rich.console import Console

    from operations.dead_letters import NoLedgerError, ledger_url
    from operations.explain.page import print_story
    from operations.explain.reading import explain as read
    from operations.explain.story import story_of

    try:
        answer = read(ledger_url(url, state), name, venue)
    except NoLedgerError as error:
        fail(str(error), USAGE)
    except psycopg.Error as error:
        fail(f"the ledger could not be read: {first_line(error)}", FAILED)
    if not answer.orders and not answer.waiting:
        at = f" at {venue}" if venue is not None else ""
        fail(f"no order or report{at} has the ExecID, correlation id, ClOrdID or OrderID {name!r}", FAILED)
    story = story_of(name, answer)
    if as_json:
        sys.stdout.write(json.dumps(story) + "\n")
    else:
        print_story(story, Console(markup=False, highlight=False, emoji=False))
