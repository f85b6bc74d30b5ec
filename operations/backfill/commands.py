"""``execution-agent backfill``: its options, and what it prints."""

from __future__ import annotations

import os
import sys
import time
from datetime import date, datetime
from typing import Annotated

import msgspec
import typer

from operations.options import FAILED, INTERRUPTED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

FirstArgument = Annotated[
    str, typer.Argument(metavar="FROM", help="First trading date (UTC), such as 2026-11-20.")
]
LastArgument = Annotated[str, typer.Argument(metavar="TO", help="Last trading date, inclusive.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("backfill", epilog="Example: `execution-agent backfill 2026-11-16 2026-11-20 --dry-run`")(backfill)


def backfill(
    first: FirstArgument,
    last: LastArgument,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: one object a day, as each ends.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Derive days again from their landed reports and correct what differs.

    Executions, live and final slippage, shortfalls, breaks and the quality of venues. Each day is committed by
    itself: interrupt it at any time and start it again; days that are as derived change nothing. A dry run shows,
    by day and table, the rows that would be added, changed and removed, with examples; each table as it would be
    after those before it were corrected. It writes nothing, and reading is all the rights it takes.

    Tables only: checks, reports, Parquet files, data docs and archives stay as they were; the summary says how
    Dagster makes them again.

    Without --dry-run it takes a person's login with the role backfill; the audit trail says who corrected what.

    Exit codes: 0 done; 1 refused, or a day failed (those before it are done); 2 wrong usage; 130 interrupted.
    """
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    from execution_assets.processes import ShareError
    from execution_assets.resources import PRICE_VARIABLE, STALE_VARIABLE, LedgerResource
    from execution_assets.settings import slo_us
    from operations.backfill.days import backfill as derive
    from operations.backfill.days import days_of, left_behind, shown
    from operations.dead_letters import NoLedgerError, ledger_url
    from streaming.errors import SettingsError

    try:
        days = days_of(_day("FROM", first), _day("TO", last))
        ledger = LedgerResource(
            url=_acting(ledger_url(url, state), dry_run=dry_run),
            stale_snapshot_seconds=os.environ.get(STALE_VARIABLE, "5"),
            benchmark_price=os.environ.get(PRICE_VARIABLE, "mid"),
        )
        policy, slo = ledger.policy(), slo_us()
    except (ValueError, NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    began, done, changed = time.monotonic(), 0, 0
    try:
        for found in derive(ledger.engine(), days, policy, slo, dry_run=dry_run, log=_tell):
            done, changed = done + 1, changed + found.count
            if as_json:
                told = {**msgspec.to_builtins(found), "changes": found.count, "dry_run": dry_run}
                sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
            else:
                sys.stdout.write("\n".join(shown(found, dry_run=dry_run)) + "\n")
            sys.stdout.flush()
            left = (time.monotonic() - began) / done * (len(days) - done)
            if done < len(days):
                _tell(f"day {done} of {len(days)} done, {left:,.0f} s left")
    except KeyboardInterrupt:
        fail(f"interrupted: {done} of {len(days)} days are done; start it again", INTERRUPTED)
    except (SQLAlchemyError, psycopg.Error, ShareError) as error:
        fail(f"{days[done]}: {first_line(error)} ({done} of {len(days)} days are done)", FAILED)
    if not as_json:
        verb = "would change" if dry_run else "changed"
        sys.stdout.write(f"{done} days, {changed:,} rows {verb}, {time.monotonic() - began:.1f} s\n")
        if not dry_run:
            sys.stdout.write("\n".join(left_behind(days)) + "\n")


def _acting(url: str, *, dry_run: bool) -> str:
    """Give the person's URL with the right to write what is derived; end the command for anybody else.

    A dry run takes any login that may read.
    """
    import psycopg

    from operations.people import BACKFILL, PeopleError, require_person, with_role

    try:
        require_person(url, "a backfill", BACKFILL)
    except PeopleError as error:
        if dry_run:
            return url
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)
    return with_role(url, BACKFILL)


def _day(name: str, value: str) -> date:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=None).date()  # noqa: DTZ007  a date, no time
    except ValueError:
        raise ValueError(f"{name}={value!r}: a trading date such as 2026-11-20 is required") from None


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
