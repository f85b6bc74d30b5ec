"""What the archive commands share: their options, which archives they are about, and who asks."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from operations.options import FAILED, USAGE, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execution_assets.archives.library import Library
    from operations.archive.choosing import Choice

LEFT_OUT: Final = 3
FromOption = Annotated[str, typer.Option("--from", metavar="DAY", help="First trading date (UTC).")]
ToOption = Annotated[
    str | None, typer.Option("--to", metavar="DAY", help="Last one, inclusive; else only the first.")
]
ClassOption = Annotated[str, typer.Option("--class", help="fills, or audit (by date of record).")]
VenueOption = Annotated[
    list[str] | None, typer.Option("--venue", help="Only this one; may be given several times.")
]
SymbolOption = Annotated[str | None, typer.Option(help="Only rows of this symbol.")]
AccountOption = Annotated[str | None, typer.Option(help="Only rows of this account.")]
OrderOption = Annotated[str | None, typer.Option("--correlation-id", help="Only rows of this order.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why: it goes into the audit trail and the receipt.")]
PersonOption = Annotated[
    str | None,
    typer.Option(
        "--person",
        help="Who asks, where Postgres is away; else it is who is logged in there.",
        envvar="EXECUTION_AGENT_PERSON",
        show_envvar=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def chosen(
    record_class: str,
    first: str,
    last: str | None,
    venue: list[str] | None,
    symbol: str | None = None,
    account: str | None = None,
    correlation_id: str | None = None,
) -> Choice:
    """Read what a command is about; what is wrong with it ends the command."""
    from execution_assets.archives.errors import ArchiveError
    from execution_assets.archives.records import AUDIT, TABLES
    from operations.archive.choosing import Choice, day_of

    try:
        begin = day_of("--from", first)
        end = begin if last is None else day_of("--to", last)
    except ArchiveError as error:
        fail(str(error), USAGE)
    if end < begin:
        fail(f"--to {last}: a day not before --from {first} is required", USAGE)
    if record_class not in TABLES:
        fail(f"--class {record_class!r}: one of {', '.join(TABLES)} is required", USAGE)
    if record_class == AUDIT and venue:
        fail(f"--venue {venue[0]!r}: class {AUDIT} has one archive a day, of all venues: leave it out", USAGE)
    return Choice(begin, end, record_class, tuple(venue or ()), symbol, account, correlation_id)


@contextmanager
def opened(state: Path) -> Iterator[Library]:
    """Give the archives; what goes wrong with them ends the command in one line.

    What was left out, because it is no manifest of ours, is said at the end; ``end`` makes the exit code of it.
    """
    from execution_assets.archives.errors import ArchiveError, ArchiveSettingsError
    from operations.archive.opening import open_archives
    from trust.errors import TrustError

    try:
        library = open_archives(state)[0]
        yield library
    except ArchiveSettingsError as error:
        fail(str(error), USAGE)
    except (ArchiveError, TrustError) as error:
        fail(str(error), FAILED)
    for doubt in library.doubts:
        tell(f"left out: {doubt}")


def end(library: Library) -> NoReturn:
    """End with the exit code: something was left out, or nothing."""
    raise typer.Exit(LEFT_OUT if library.doubts else 0)


def ledger_of(url: str | None, state: Path) -> str | None:
    """Give the ledger's URL, or None where nothing names one."""
    from operations.archive.opening import ledger_if_any
    from operations.dead_letters import NoLedgerError

    try:
        return ledger_if_any(url, state)
    except NoLedgerError as error:
        fail(str(error), USAGE)


def auditor(what: str, url: str | None, state: Path) -> str:
    """Give the ledger's URL, where an auditor is logged in; whoever is not, or cannot be asked, is refused.

    For what changes something: there nobody's word is taken for who they are.
    """
    import psycopg

    from operations.people import AUDITOR, PeopleError, require_person

    ledger = ledger_of(url, state)
    if ledger is None:
        fail(f"{what} is a person's to do: which ledger? give --url, or set EXECUTION_AGENT_POSTGRES_URL", USAGE)
    try:
        require_person(ledger, what, AUDITOR)
    except PeopleError as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        why = f"Postgres cannot be asked who you are ({first_line(error)})"
        fail(f"{what} is a person's to do, and {why}: nothing was done; do it when it is back", FAILED)
    return ledger


def asking(what: str, url: str | None, state: Path, person: str | None) -> tuple[str | None, str | None]:
    """Give the ledger's URL, where an auditor is logged in, and whom else somebody says they are.

    Archives open without Postgres, too: then the keys of the store and of the archives are what lets somebody in,
    the receipt has the name that is given and the account that runs this, and waits to be handed in.
    """
    import psycopg

    from operations.people import AUDITOR, PeopleError, require_person

    ledger = ledger_of(url, state)
    try:
        if ledger is not None:
            require_person(ledger, what, AUDITOR)
            return ledger, person
        why = "no ledger is named"
    except PeopleError as error:
        fail(str(error), FAILED)
    except psycopg.OperationalError as error:
        if "authentication failed" in str(error):
            fail(f"{what} is a person's to do: {first_line(error)}", FAILED)
        why = first_line(error)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked who you are: {first_line(error)}", FAILED)
    if person is None:
        fail(f"--person: say who you are, Postgres cannot be asked ({why})", USAGE)
    return ledger, person


def show(text: str) -> None:
    """Print what was asked for."""
    sys.stdout.write(f"{text}\n")


def tell(line: str) -> None:
    """Say how far it is, beside what was asked for."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
