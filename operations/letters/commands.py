"""``execution-agent dlq``: its options, and what it prints."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operations.letters.replaying import Replayed

_ID = re.compile(r"(?:[0-9a-f]-?){4,32}")
_NAMED = 5


dlq = typer.Typer(help="Dead letters, what came in and is no fact: see them, replay them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(dlq, name="dlq", epilog="Example: `execution-agent dlq list --since 1h`")
    dlq.command("list", epilog="Example: `execution-agent dlq list --venue ALPHA --since 1h`")(list_dead_letters)
    dlq.command("show", epilog="Example: `execution-agent dlq show 5f0c6d4e`")(show_dead_letter)
    dlq.command("replay", epilog="Example: `execution-agent dlq replay --since 1h --venue ALPHA --dry-run`")(
        replay
    )


def list_dead_letters(
    venue: Annotated[str | None, typer.Option(help="Of this venue, or of this source.")] = None,
    reason: Annotated[str | None, typer.Option(help="With this reason, such as `not_a_number`.")] = None,
    since: Annotated[str | None, typer.Option(help="Of the last 90s, 5m, 1h.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List dead letters, the newest first."""
    import psycopg

    from operations.dead_letters import NoLedgerError, as_data, as_table, find, ledger_url
    from operations.main_job.plan import parse_duration

    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as error:
        fail(f"--since: {error}", USAGE)
    try:
        letters = find(ledger_url(url, state), venue=venue, reason=reason, seconds=seconds, limit=limit)
    except NoLedgerError as error:
        fail(str(error), USAGE)
    except psycopg.Error as error:
        fail(f"the ledger could not be read: {first_line(error)}", FAILED)
    if as_json:
        sys.stdout.write(json.dumps([as_data(letter) for letter in letters]) + "\n")
    else:
        sys.stdout.write((as_table(letters) if letters else "no dead letters") + "\n")


def show_dead_letter(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")],
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes as they came, and nothing else.")] = False,
) -> None:
    """Show one dead letter: what was wrong, what mends it, and its bytes."""
    import psycopg

    from operations.dead_letters import NoLedgerError, as_data, as_page, find_beginning, ledger_url

    _check(dead_letter_id)
    try:
        letters = find_beginning(ledger_url(url, state), dead_letter_id)
    except NoLedgerError as error:
        fail(str(error), USAGE)
    except psycopg.Error as error:
        fail(f"the ledger could not be read: {first_line(error)}", FAILED)
    if not letters:
        fail(f"there is no dead letter {dead_letter_id}", FAILED)
    if len(letters) > 1:
        ids = ", ".join(letter["id"] for letter in letters[:_NAMED]) + (", …" if len(letters) > _NAMED else "")
        fail(f"ID {dead_letter_id} is the beginning of several dead letters: {ids}", FAILED)
    (letter,) = letters
    if raw:
        sys.stdout.buffer.write(letter["raw"])
    else:
        sys.stdout.write((json.dumps(as_data(letter)) if as_json else as_page(letter)) + "\n")


def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids, or their beginnings.")] = None,
    venue: Annotated[str | None, typer.Option(help="Of this venue, or of this source.")] = None,
    reason: Annotated[str | None, typer.Option(help="With this reason, such as `not_a_number`.")] = None,
    since: Annotated[str | None, typer.Option(help="Of the last 90s, 5m, 1h.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the oldest first.")] = 1000,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed with success.")] = False,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it.")] = 30.0,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Hand dead letters in again, through the decoders and rules of now: after a mended decoder or setting.

    Without --dry-run it takes a person's login (`execution-agent people add NAME`): the audit trail says who.

    Exit codes: 0 done or recorded; 1 one of them is a dead letter still, or is refused; 2 wrong usage.
    """
    from operations.applying import service_settings
    from operations.breaks.commands import asked_ledger
    from operations.letters.replaying import Selection, select, try_out
    from operations.letters.replaying import replay as hand_in
    from operations.people import OPERATOR, require_person

    if not (ids or venue or reason or since):
        fail("which dead letters? give ids, --venue, --reason or --since", USAGE)
    selection = Selection(_checked(ids), venue, reason, _seconds(since), limit)
    with asked_ledger(url, state) as ledger:
        if not dry_run:
            require_person(ledger, "a replay", OPERATOR)
        settings = service_settings(state)
        letters = select(ledger, selection)
        if not dry_run:
            replayed = hand_in(ledger, letters, settings, again=again, seconds=wait)
        elif settings is not None:
            replayed = try_out(ledger, letters, settings, again=again)
        else:
            fail("--dry-run needs the venues' formats: give --state or EXECUTION_AGENT_CONFIG", USAGE)
    _print(replayed, as_json=as_json)
    missing = [i for i in ids or () if not any(_is_of(i, r.dead_letter_id) for r in replayed)]
    if missing:
        fail(f"there is no dead letter {', '.join(missing)}", FAILED)
    if any(r.has_failed for r in replayed):
        raise typer.Exit(FAILED)


def _checked(ids: list[str] | None) -> tuple[str, ...] | None:
    for written in ids or ():
        _check(written)
    return tuple(ids) if ids else None


def _check(written: str) -> None:
    if not _ID.fullmatch(written.lower()):
        fail(f"ID {written!r}: at least 4 of its 32 hex digits are required", USAGE)


def _seconds(since: str | None) -> float | None:
    from operations.main_job.plan import parse_duration

    try:
        return None if since is None else parse_duration(since)
    except ValueError as error:
        fail(f"--since: {error}", USAGE)


def _is_of(written: str, dead_letter_id: str) -> bool:
    return dead_letter_id.replace("-", "").startswith(written.lower().replace("-", ""))


def _print(replayed: Sequence[Replayed], *, as_json: bool) -> None:
    from operations.dead_letters import escaped

    if as_json:
        lines = [json.dumps([{"id": r.dead_letter_id, "outcome": r.outcome} for r in replayed])]
    else:
        lines = [f"{r.dead_letter_id}  {escaped(r.outcome)}" for r in replayed] or ["no dead letters"]
    sys.stdout.write("\n".join(lines) + "\n")
