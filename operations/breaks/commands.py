"""``execution-agent breaks`` and ``people``: their options, and what they print."""

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

    from operations.breaks.desk import Desk

breaks = typer.Typer(help="See, release and reject breaks: two persons decide.", no_args_is_help=True)
people = typer.Typer(help="Logins of the persons at the desk.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why: it goes into the audit trail.")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for what two persons decided.")]
OursOption = Annotated[str | None, typer.Option("--ours", help="Refuse unless the break still says so.")]
TheirsOption = Annotated[str | None, typer.Option("--theirs", help="Refuse unless the break still says so.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def register(app: typer.Typer) -> None:
    """Add both groups of commands."""
    app.add_typer(breaks, name="breaks", epilog="Example: `execution-agent breaks list --age 1h`")
    app.add_typer(people, name="people", epilog="Example: `execution-agent people add alice`")


@breaks.command("list", epilog="Example: `execution-agent breaks list --venue ALPHA --age 1h`")
def list_breaks(
    *,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    venue: Annotated[str | None, typer.Option(help="Of this venue.")] = None,
    kind: Annotated[str | None, typer.Option(help="Of this kind, such as `overfill`.")] = None,
    age: Annotated[str | None, typer.Option(help="Open for at least 2m, 1h, 24h.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owned by this person.")] = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """List open breaks, the oldest first, with how many are how old."""
    from ledger.domain.records import BreakKind
    from operations.breaks.desk import Filters
    from operations.breaks.pages import as_data, as_table, summary
    from operations.main_job.plan import parse_duration

    if kind is not None and kind not in set(BreakKind):
        fail(f"--kind: {kind!r} is none of {', '.join(BreakKind)}", USAGE)
    try:
        seconds = None if age is None else parse_duration(age)
    except ValueError as error:
        fail(f"--age: {error}", USAGE)
    with _desk(url, state) as desk:
        rows = desk.listed(Filters(ended, venue, kind, owner, seconds))
    if as_json:
        _print(json.dumps([as_data(row) for row in rows]))
    else:
        _print(as_table(rows) if rows else summary(rows))


@breaks.command("show", epilog="Example: `execution-agent breaks show 19c92d4a`")
def show_break(
    break_id: IdArgument, url: LedgerOption = None, state: StateOption = STATE, *, as_json: JsonOption = False
) -> None:
    """Show one break: both sides, the order, its reports, votes and notes, and what to do."""
    from operations.breaks.pages import as_data, as_page

    with _desk(url, state) as desk:
        found = desk.one(break_id)
        evidence = desk.evidence(found)
    _print(json.dumps(as_data({**found, **evidence})) if as_json else as_page(found, evidence))


@breaks.command(
    "release", epilog="Example: `execution-agent breaks release 19c92d4a --reason 'replace confirmed by phone'`"
)
def release(
    break_id: IdArgument,
    reason: ReasonOption,
    ours: OursOption = None,
    theirs: TheirsOption = None,
    wait: WaitOption = 10.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Vote to release a break: when a second person does, the order goes on as it is and its events go out.

    Exit codes: 0 done or recorded; 1 refused or not there; 2 wrong usage.
    """
    _vote("release", break_id, reason, ours, theirs, wait, url, state)


@breaks.command("reject", epilog="Example: `execution-agent breaks reject 19c92d4a --reason 'not our fill'`")
def reject(
    break_id: IdArgument,
    reason: ReasonOption,
    ours: OursOption = None,
    theirs: TheirsOption = None,
    wait: WaitOption = 10.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Vote to reject what a break is about: when a second person does, its execution is voided.

    Exit codes: 0 done or recorded; 1 refused or not there; 2 wrong usage.
    """
    _vote("reject", break_id, reason, ours, theirs, wait, url, state)


@breaks.command("note", epilog="Example: `execution-agent breaks note 19c92d4a 'asked the venue, ticket 7741'`")
def note(
    break_id: IdArgument,
    text: Annotated[str, typer.Argument(help="What to note.")],
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Add a note to a break."""
    with _desk(url, state, "a note") as desk:
        person = desk.note(desk.one(break_id), "note", text)
    _print(f"noted by {person}")


@breaks.command("assign", epilog="Example: `execution-agent breaks assign 19c92d4a alice`")
def assign(
    break_id: IdArgument,
    owner: Annotated[str, typer.Argument(help="Who is to handle it.")],
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Say who handles a break."""
    with _desk(url, state, "to assign a break") as desk:
        person = desk.note(desk.one(break_id), "owner", owner)
    _print(f"{owner} owns it, says {person}")


def _vote(
    word: str,
    break_id: str,
    reason: str,
    ours: str | None,
    theirs: str | None,
    wait: float,
    url: str | None,
    state: Path,
) -> None:
    from ledger.domain.records import Verdict
    from operations.applying import service_settings, wait_until
    from operations.breaks.pages import as_applied, as_waiting

    verdict = Verdict(word)
    with _desk(url, state) as desk:
        found = desk.one(break_id)
        for name, seen in (("ours", ours), ("theirs", theirs)):
            if seen is not None and seen != found[name]:
                fail(
                    f"the break has changed: {name} is {found[name]} now. Look at it again, and vote on that",
                    FAILED,
                )
        voted = desk.vote(found, verdict, reason)
        resolution = voted.resolution
        if resolution is None:
            _print(as_waiting(found, voted, word))
            return
        landed = wait_until(lambda: desk.outcome(resolution) is not None, service_settings(state), wait)
        outcome = desk.outcome(resolution)
        if not landed or outcome is None:
            _print("recorded, and both persons agree: it lands as soon as a streaming process holds the lease")
            return
        if outcome["outcome"] == "refused":
            fail(f"refused: {outcome['why']}", FAILED)
        _print(as_applied(found, resolution, desk.consequences(resolution, outcome)))


@people.command(
    "add", epilog="Example: `execution-agent people add alice --url postgresql://admin:pw@db/execution`"
)
def add_person(
    name: Annotated[str, typer.Argument(help="Their login: lower-case letters, digits, _ . -")],
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            help="operator (votes, halts, replays; if none is named), auditor (opens archives), analyst (reads), "
            "backfill (derives days again); may be given several times.",
        ),
    ] = None,
    administrator: Annotated[
        bool, typer.Option("--administrator", help="May add and remove persons, too.")
    ] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Make a login for a person; prints the URL with its new password, this once.

    Needs an administrator's login: a person's, or the database's for the first one; the audit trail has whose.
    One person, one login: two logins of one person would be two persons to the four-eyes rule.
    """
    from operations import people as logins

    with asked_ledger(url, state, administers=True) as ledger:
        made = logins.add(ledger, name, tuple(role or (logins.OPERATOR,)), administrator=administrator)
    _print(made)


@people.command("list", epilog="Example: `execution-agent people list`")
def list_people(url: LedgerOption = None, state: StateOption = STATE) -> None:
    """List the persons who may vote."""
    from operations import people as logins

    with asked_ledger(url, state) as ledger:
        found = logins.listed(ledger)
    _print(logins.as_lines(found) if found else "nobody: execution-agent people add NAME makes a login")


@people.command("remove", epilog="Example: `execution-agent people remove alice`")
def remove_person(
    name: Annotated[str, typer.Argument(help="Their login.")],
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Lock a person's login and end its sessions; what they did stays, under their name."""
    from operations import people as logins

    with asked_ledger(url, state, administers=True) as ledger:
        logins.remove(ledger, name)
    _print(f"{name} may not log in any more")


@contextmanager
def asked_ledger(url: str | None, state: Path, *, administers: bool = False) -> Iterator[str]:
    """Give the ledger's URL; end the command with one line where something is not as it must be.

    ``administers``: of the embedded servers that of the database's administrator.
    """
    import psycopg

    from ledger.db.errors import LedgerError
    from operations.breaks.desk import BreakError
    from operations.dead_letters import NoLedgerError, administrator_url, ledger_url
    from operations.people import PeopleError
    from streaming.errors import SettingsError, StreamingError

    try:
        yield administrator_url(url, state) if administers else ledger_url(url, state)
    except (NoLedgerError, SettingsError) as error:
        fail(str(error), USAGE)
    except (BreakError, PeopleError, LedgerError, StreamingError) as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)


@contextmanager
def _desk(url: str | None, state: Path, what: str | None = None) -> Iterator[Desk]:
    """Open the desk; where ``what`` is said, only to a person."""
    from operations.breaks.desk import opened
    from operations.people import OPERATOR, require_person

    with asked_ledger(url, state) as ledger:
        if what is not None:
            require_person(ledger, what, OPERATOR)
        with opened(ledger) as desk:
            yield desk


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
