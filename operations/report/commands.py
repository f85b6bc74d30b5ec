"""``execution-agent report``: its options, and what it prints."""

from __future__ import annotations

import os
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

DayArgument = Annotated[str, typer.Argument(metavar="DAY", help="Trading date (UTC), such as 2026-11-20.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report", epilog="Example: `execution-agent report 2026-11-20 --open`")(report)


def report(
    day: DayArgument,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the page here; `-` prints it.", show_default=False)
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Write the report of a day as one HTML page, and print its summary.

    Whether the day's figures may be used, what was traded and what it cost, how fast and how complete it was, its
    breaks and checks. The page needs nothing else: mail it, print it, open it from disk. It shows the tables as
    they stand and changes nothing: `execution-agent backfill DAY DAY` derives them first. Without `--output` it is
    execution-report-DAY.html in this folder. The same data makes the same bytes.

    Exit codes: 0 written; 1 the ledger could not be read or the page not be written; 2 wrong usage.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from execution_assets.report.words import sentences, verdict
    from execution_assets.report.writing import make_page, write_page
    from execution_assets.resources import PRICE_VARIABLE, STALE_VARIABLE, LedgerResource
    from execution_assets.settings import slo_us
    from operations.dead_letters import NoLedgerError, ledger_url
    from streaming.errors import SettingsError

    if output == Path("-") and (show or as_json):
        fail("--output -: the page itself is printed: not together with --open or --json", USAGE)
    try:
        trading_day = _day(day)
        ledger = LedgerResource(
            url=ledger_url(url, state),
            stale_snapshot_seconds=os.environ.get(STALE_VARIABLE, "5"),
            benchmark_price=os.environ.get(PRICE_VARIABLE, "mid"),
        )
        slo = slo_us()
    except (ValueError, NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    try:
        if output == Path("-"):
            sys.stdout.write(make_page(ledger, trading_day, slo)[1])
            return
        path = output or Path(path_name(trading_day))
        written = write_page(ledger, trading_day, slo, path / path_name(trading_day) if path.is_dir() else path)
    except SQLAlchemyError as error:
        fail(f"{trading_day}: {first_line(error)}", FAILED)
    except OSError as error:
        fail(f"--output: {error.filename}: {error.strerror}", FAILED)
    found = verdict(written.facts)
    told = sentences(written.facts)
    place = written.path.resolve()
    if as_json:
        shown = {
            "day": trading_day, "verdict": found.level, "title": found.title, "why": found.why, "summary": told,
            "path": str(place), "digest": written.digest, "changed": written.changed,
        }  # fmt: skip
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    else:
        lines = [f"{trading_day}: {found.title}", *(f"  - {why}" for why in found.why), *told, f"page: {place}"]
        sys.stdout.write("\n".join(lines) + "\n")
    if show:
        _open(place)


def path_name(day: date) -> str:
    """Name a day's page in a folder that was given."""
    return f"execution-report-{day}.html"


def _day(value: str) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=None).date()  # noqa: DTZ007  a date, no time
    except ValueError:
        raise ValueError(f"DAY={value!r}: a trading date such as 2026-11-20 is required") from None


def _open(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.as_uri()):
        sys.stderr.write(f"no browser could be started: open {path}\n")
