"""``execution-agent archive``: its options, and what it prints."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execution_assets.archives.library import Library
    from operations.archive.choosing import Choice

archive = typer.Typer(
    help="Find, verify and open what is kept for years: encrypted, locked, with every access on record.",
    no_args_is_help=True,
)

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


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(archive, name="archive", epilog="Example: `execution-agent archive list --from 2026-11-16`")


@archive.command("list", epilog="Example: `execution-agent archive list --from 2026-11-16 --to 2026-11-20 --json`")
def list_archives(
    first: FromOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    state: StateOption = STATE,
    *,
    as_json: JsonOption = False,
) -> None:
    """List the archives of days, every revision: rows, bytes, until when they are locked.

    Reads the signed manifests in the object store; Postgres is not asked. Exit codes: 0 listed; 1 there is none,
    or one cannot be trusted; 2 wrong usage or settings.
    """
    from operations.archive.choosing import choose
    from operations.archive.shown import manifests_as_data, manifests_as_table

    choice = _choice(record_class, first, last, venue)
    with _opened(state) as library:
        listed = choose(library, choice, all_revisions=True)
        _print(manifests_as_data(listed) if as_json else manifests_as_table(listed))


@archive.command(
    "pull",
    epilog="Example: `execution-agent archive pull --from 2026-11-20 --venue ALPHA --correlation-id C1 "
    "--output evidence --format csv --reason 'inquiry 17'`",
)
def pull(
    first: FromOption,
    reason: ReasonOption,
    output: Annotated[Path, typer.Option("--output", help="Folder to write to; made if it is not there.")],
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    symbol: SymbolOption = None,
    account: AccountOption = None,
    correlation_id: OrderOption = None,
    table: Annotated[
        list[str] | None, typer.Option("--table", help="Only this one; else all of the class.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="parquet, csv, json (a line a row).")] = "parquet",
    person: PersonOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Decrypt rows to files, with a signed receipt: who, when, why, which objects, which files.

    The access is an audit event before anything is decrypted; while Postgres is away the receipt says so and waits
    in the object store to be handed in. In CSV and JSON raw bytes are base64. Exit codes: 0 done; 1 refused or not
    possible; 2 wrong usage or settings.
    """
    from operations.archive.pulling import pull as write
    from operations.archive.shown import pulled_as_data, pulled_as_text

    choice = _choice(record_class, first, last, venue, symbol, account, correlation_id)
    ledger, asking = _asking("to pull from archives", url, state, person)
    with _opened(state) as library:
        done = write(
            library,
            choice,
            tuple(table or ()),
            output,
            kind,
            reason,
            url=ledger,
            person=asking,
            log=_tell,
        )
        _print(pulled_as_data(done) if as_json else pulled_as_text(done))


@archive.command(
    "query",
    epilog="Example: `execution-agent archive query 'SELECT symbol, sum(last_qty) FROM executions GROUP BY ALL' "
    "--from 2026-11-16 --to 2026-11-20 --reason 'best execution, week 47'`",
)
def query(
    statement: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB's SQL; - reads it from standard input.")],
    first: FromOption,
    reason: ReasonOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    symbol: SymbolOption = None,
    account: AccountOption = None,
    correlation_id: OrderOption = None,
    person: PersonOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Run SQL over archives that are decrypted into memory: no plain copy is written.

    Tables: fills, order_reports, executions, slippage_metrics, orders, dead_letters (class audit: audit_events).
    Their numbers are decimals; `stored.TABLE` has the exact text. Exit codes as of pull.
    """
    from operations.archive.querying import query as answer
    from operations.archive.shown import answer_as_data, answer_as_table

    choice = _choice(record_class, first, last, venue, symbol, account, correlation_id)
    sql = sys.stdin.read() if statement == "-" else statement
    ledger, asking = _asking("to query archives", url, state, person)
    with _opened(state) as library:
        found = answer(library, choice, sql, reason, url=ledger, person=asking)
    _print(answer_as_data(found) if as_json else answer_as_table(found))
    _tell(f"receipt {found.receipt.event_id}, audit event {found.receipt.ledger}")
    if found.is_cut:
        _tell(f"cut after {len(found.rows):,} rows: narrow the statement, or pull")


@archive.command("verify", epilog="Example: `execution-agent archive verify --from 2026-01-01 --to 2026-11-20`")
def verify(
    first: FromOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    quick: Annotated[bool, typer.Option("--quick", help="Signatures and locks only: read no files.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Read a range back: signatures, revisions, every byte, keys, rows, retention, holds; Postgres where it is.

    Ends in a table. Exit codes: 0 all is as the manifests say; 1 something differs, or could not be read; 2 wrong
    usage or settings.
    """
    import psycopg

    from execution_assets.archives.keeping import note_verified
    from execution_assets.archives.verifying import verify as read_back
    from operations.archive.shown import verification_as_data, verification_as_table

    choice = _choice(record_class, first, last, None)
    with _opened(state) as library:
        ledger = _ledger(url, state)
        try:
            found = read_back(
                library, record_class, choice.first, choice.last, url=ledger, deep=not quick, log=_tell
            )
            if ledger is not None and not quick and not found.wrong:
                try:
                    note_verified(ledger, library.listed(record_class, choice.first, choice.last))
                except psycopg.errors.InsufficientPrivilege:
                    _tell("Postgres does not note that it was verified: that takes the role auditor")
        except psycopg.Error as error:
            _tell(f"Postgres is not compared: {first_line(error)}")
            found = read_back(library, record_class, choice.first, choice.last, deep=not quick, log=_tell)
    _print(verification_as_data(found) if as_json else verification_as_table(found))
    if not found.manifests and not found.lines:
        fail(f"there is no archive of {record_class} from {choice.first} to {choice.last}", FAILED)
    raise typer.Exit(FAILED if found.wrong else 0)


@archive.command("hold", epilog="Example: `execution-agent archive hold --from 2026-11-20 --reason 'case 4711'`")
def hold(
    first: FromOption,
    reason: ReasonOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    lift: Annotated[bool, typer.Option("--lift", help="Lift it; the retention still stands.")] = False,
    person: PersonOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Place or lift a legal hold on all revisions of a range: held objects outlast their retention.

    Exit codes: 0 done; 1 refused or not possible; 2 wrong usage or settings.
    """
    from execution_assets.archives.access import HOLD_LIFTED, HOLD_PLACED, record_access
    from execution_assets.archives.keeping import hold as put
    from execution_assets.archives.keeping import note_held
    from operations.archive.choosing import choose

    choice = _choice(record_class, first, last, venue)
    ledger, asking = _asking("a legal hold", url, state, person)
    with _opened(state) as library:
        listed = choose(library, choice, all_revisions=True)
        files = [held for o in listed for held in o.manifest.objects]
        event = HOLD_LIFTED if lift else HOLD_PLACED
        receipt = record_access(library, ledger, event, reason, choice.asked, files, asking)
        count = put(library, listed, on=not lift)
        if receipt.ledger == "recorded" and ledger is not None:
            note_held(ledger, listed, on=not lift)
    _print(f"legal hold {'lifted from' if lift else 'placed on'} {count} objects; audit event {receipt.ledger}")


@archive.command(
    "rotate", epilog="Example: `execution-agent archive rotate --from 2026-01-01 --to 2026-11-20 --reason yearly`"
)
def rotate(
    first: FromOption,
    reason: ReasonOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    new_key: Annotated[bool, typer.Option("--new-key", help="First add a new key to the key file.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the older wrappings for good.")] = False,
    person: PersonOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Wrap the files' keys under the newest wrapping key; the locked files stay byte for byte as they are.

    With Vault rotate the Transit key itself first (`transit/keys/KEY/rotate`); of a key file `--new-key` does it.
    Exit codes: 0 done; 1 refused or not possible; 2 wrong usage or settings.
    """
    from execution_assets.archives.access import ROTATED, record_access
    from execution_assets.archives.keeping import note_rotated
    from execution_assets.archives.keeping import rotate as wrap
    from operations.archive.choosing import choose
    from operations.archive.opening import add_key

    choice = _choice(record_class, first, last, None)
    ledger, asking = _asking("to rotate keys", url, state, person)
    with _opened(state) as library:
        listed = choose(library, choice, all_revisions=True)
        files = [held for o in listed for held in o.manifest.objects]
        receipt = record_access(library, ledger, ROTATED, reason, choice.asked, files, asking)
        if new_key:
            add_key(state)
    with _opened(state) as library:
        count = wrap(library, listed, forget=forget, log=_tell)
        if receipt.ledger == "recorded" and ledger is not None:
            note_rotated(ledger, listed, library.keys.key_id)
    _print(f"{count} data keys are wrapped under {library.keys.key_id}; audit event {receipt.ledger}")


@archive.command(
    "drop-partition", epilog="Example: `execution-agent archive drop-partition 2025-01-02 --reason 'disk space'`"
)
def drop_partition(
    day: Annotated[str, typer.Argument(metavar="DAY", help="Trading date; of class audit, date of record.")],
    reason: ReasonOption,
    record_class: ClassOption = "fills",
    person: PersonOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop a day from Postgres, after every row was read back from its archive, decrypted and found equal.

    Refused while anything of the day is pending, withheld, a break or unpublished. A fill of that day that a venue
    reports again later is then no longer known as a duplicate. Exit codes: 0 dropped; 1 refused, nothing was
    dropped; 2 wrong usage or settings.
    """
    import psycopg

    from execution_assets.archives.dropping import drop_day

    choice = _choice(record_class, day, None, None)
    with _opened(state) as library:
        ledger = _ledger(url, state)
        if ledger is None:
            fail("which ledger? give --url, --state, or set EXECUTION_AGENT_POSTGRES_URL", USAGE)
        if not yes:
            typer.confirm(f"Drop {record_class} of {day} from Postgres once its archive is verified?", abort=True)
        try:
            done = drop_day(ledger, library, record_class, choice.first, reason, person=person, log=_tell)
        except psycopg.Error as error:
            fail(f"nothing was dropped: {first_line(error)}", FAILED)
    _print(f"dropped {', '.join(done.tables)}: {done.rows:,} rows are in the archive")


def _choice(
    record_class: str,
    first: str,
    last: str | None,
    venue: list[str] | None,
    symbol: str | None = None,
    account: str | None = None,
    correlation_id: str | None = None,
) -> Choice:
    from execution_assets.archives.errors import ArchiveError
    from execution_assets.archives.records import TABLES
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
    return Choice(begin, end, record_class, tuple(venue or ()), symbol, account, correlation_id)


@contextmanager
def _opened(state: Path) -> Iterator[Library]:
    """Give the archives; what goes wrong with them ends the command in one line."""
    from execution_assets.archives.errors import ArchiveError, ArchiveSettingsError
    from operations.archive.opening import open_archives
    from trust.errors import TrustError

    try:
        yield open_archives(state)[0]
    except ArchiveSettingsError as error:
        fail(str(error), USAGE)
    except (ArchiveError, TrustError) as error:
        fail(str(error), FAILED)


def _ledger(url: str | None, state: Path) -> str | None:
    from operations.archive.opening import ledger_if_any
    from operations.dead_letters import NoLedgerError

    try:
        return ledger_if_any(url, state)
    except NoLedgerError as error:
        fail(str(error), USAGE)


def _asking(what: str, url: str | None, state: Path, person: str | None) -> tuple[str | None, str]:
    """Give the ledger's URL, and who asks: whoever is logged in there, an auditor.

    Archives open without Postgres, too: then the keys of the store and of the archives are what lets somebody in,
    the receipt has the name that is given and the account that runs this, and waits to be handed in.
    """
    import psycopg

    from operations.people import AUDITOR, PeopleError, require_person

    ledger = _ledger(url, state)
    try:
        if ledger is not None:
            return ledger, require_person(ledger, what, AUDITOR)
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


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
