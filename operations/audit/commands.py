"""``execution-agent audit``: its options, and what it prints."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from operations.audit.shown import as_table
from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from execution_assets.archives.library import Library

MEDDLED = 3
audit = typer.Typer(help="Check, prove and show the log of every decision.", no_args_is_help=True)

KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", "--vkey", help="Public key that counts, NAME+ID+BASE64; else those in the bucket."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(audit, name="audit", epilog="Example: `execution-agent audit verify`")


@audit.command("verify", epilog="Example: `execution-agent audit verify --checkpoints 1000 --json`")
def verify_log(
    *,
    proof: Annotated[Path | None, typer.Option(help="Check this proof alone, with nothing but --key.")] = None,
    key: KeyOption = None,
    bucket: Annotated[bool, typer.Option("--bucket/--no-bucket", help="Compare with the locked bucket.")] = True,
    checkpoints: Annotated[
        int, typer.Option(min=0, help="How many of the bucket's, beside the newest; 0 is all.")
    ] = 100,
    since: Annotated[
        int, typer.Option(min=0, help="Only what came after the checkpoint over so many events.")
    ] = 0,
    archives: Annotated[
        bool, typer.Option("--archives", help="Read the rows of dropped partitions from their archives.")
    ] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Work the log out again from its rows; compare with tiles, checkpoints and the locked bucket.

    Leaves whose partition was dropped are those of the tiles, or of the archives with --archives. Exit codes: 0
    all agree; 1 something differs, and the first row that does is named; 2 wrong usage; 3 all agree, and somebody
    has put into the bucket what is not the log's, or below the manifests what is no manifest of ours.
    """
    if proof is not None:
        _verify_proof(proof, key, state, as_json=as_json)
        return
    from execution_assets.archives.leaves import events_of
    from operations.audit.opening import keys_of, settings_of
    from operations.audit.verifying import verify
    from streaming.audit_parts import bucket_of

    with _asked(url, state) as ledger:
        settings = settings_of(state)
        if bucket and settings is None:
            fail("which bucket? name the settings in EXECUTION_AGENT_CONFIG ([audit]), or give --no-bucket", USAGE)
        place = bucket_of(settings, []) if bucket and settings is not None else None
        keys = keys_of(settings, key, place)
        library = _archives(state) if archives else None
        archived = None if library is None else partial(events_of, library)
        scan = since or None
        verdict = verify(ledger, place, keys, checkpoints, _progress, since=since, scan=scan, archived=archived)
        verdict.faults += [] if library is None else library.doubts
    _print(msgspec.json.encode(verdict).decode() if as_json else as_table(verdict))
    raise typer.Exit((MEDDLED if verdict.faults else 0) if verdict.good else FAILED)


@audit.command("prove", epilog="Example: `execution-agent audit prove --position 4711 > proof.json`")
def prove(
    event: Annotated[str | None, typer.Argument(metavar="EVENT", help="Id of an event.")] = None,
    position: Annotated[int | None, typer.Option(help="A row by its position instead.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="In the log of so many events; else the newest.")] = None,
    since: Annotated[
        int | None, typer.Option(min=0, help="Prove that the log of so many events is the beginning instead.")
    ] = None,
    archived: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="EVENT of this day, from its archive and the bucket alone."),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, with --archived: that is an access to archives.")
    ] = "",
    person: Annotated[
        str | None, typer.Option("--person", help="Who asks, with --archived where Postgres is away.")
    ] = None,
    key: KeyOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Print a proof as JSON that stands by itself: `audit verify --proof FILE` checks it anywhere.

    Exit codes: 0 proven; 1 not in the log, or what is stored does not lead to what was signed; 2 wrong usage; 3
    proven, and what is no manifest of ours was left out (--archived).
    """
    from operations.audit.opening import keys_of, settings_of
    from operations.audit.proving import prove_event, prove_growth
    from operations.audit.reading import opened

    if sum(wanted is not None for wanted in (event, position, since)) != 1:
        fail("what is to be proven? one of EVENT, --position and --since", USAGE)
    if archived is not None:
        if event is None:
            fail("--archived: which event? give its id", USAGE)
        _prove_archived(archived, event, reason, person, key, url, state)
        return
    with _asked(url, state) as ledger:
        keys = keys_of(settings_of(state), key, None)
        with opened(ledger) as log:
            if since is not None:
                newest = log.covering(0, size)
                found = prove_growth(log, since, newest["tree_size"] if newest else log.grown().size, keys)
            else:
                row = log.event(event) if event is not None else log.at(position or 0)
                found = prove_event(log, row, size, keys)
    _print(msgspec.json.format(msgspec.json.encode(found)).decode())


@audit.command("show", epilog="Example: `execution-agent audit show 0123456789abcdef0123456789abcdef`")
def show(
    event: Annotated[str | None, typer.Argument(metavar="EVENT", help="Its id; without it, the log.")] = None,
    position: Annotated[int | None, typer.Option(help="A row by its position instead.")] = None,
    key: KeyOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Show an event, its place in the log and whether that is proven; or how far the log is, and its key."""
    from operations.audit.opening import keys_of, settings_of
    from operations.audit.reading import opened
    from operations.audit.showing import show_event, show_log

    with _asked(url, state) as ledger:
        keys = keys_of(settings_of(state), key, None)
        with opened(ledger) as log:
            if event is None and position is None:
                shown = show_log(log, keys)
            else:
                row = log.event(event) if event is not None else log.at(position or 0)
                shown = show_event(log, row, keys)
    if as_json:
        _print(json.dumps(shown))
    else:
        _print("\n".join(f"{name:<12} {value}" for name, value in shown.items()))


def _verify_proof(path: Path, key: list[str] | None, state: Path, *, as_json: bool) -> None:
    from operations.audit.opening import keys_of, settings_of
    from operations.audit.proving import check, read
    from operations.audit.reading import AuditError
    from trust.errors import TrustError
    from trust.notes import parse_key

    try:
        proof = read(path.read_bytes())
        settings = None if key else settings_of(state)
        own = not key and settings is None
        says = check(proof, [parse_key(proof.key)] if own else keys_of(settings, key, None))
    except OSError as error:
        fail(f"--proof {path}: {error.strerror}", USAGE)
    except (TrustError, AuditError) as error:
        fail(f"not proven: {error}", FAILED)
    warning = (
        f"signed by {proof.key}, which the proof itself names: compare it with the key you know" if own else ""
    )
    if as_json:
        _print(json.dumps({"proven": says, "warning": warning or None}))
    else:
        _print(f"proven: {says}" + (f"\n{warning}" if warning else ""))


def _archives(state: Path) -> Library:
    from execution_assets.archives.errors import ArchiveSettingsError
    from operations.archive.opening import open_archives

    try:
        return open_archives(state)[0]
    except ArchiveSettingsError as error:
        fail(str(error), USAGE)


def _prove_archived(
    day: str, event: str, reason: str, person: str | None, key: list[str] | None, url: str | None, state: Path
) -> None:
    from operations.archive.choosing import day_of
    from operations.archive.options import asking, end
    from operations.archive.options import opened as archives
    from operations.audit.archived import prove_archived
    from operations.audit.opening import keys_of, settings_of
    from operations.audit.reading import AuditError
    from streaming.audit_parts import bucket_of

    ledger, claimed = asking("to prove from archives", url, state, person)
    with archives(state) as library:
        try:
            settings = settings_of(state)
            if settings is None:
                fail("which bucket? name the settings in EXECUTION_AGENT_CONFIG ([audit])", USAGE)
            bucket = bucket_of(settings, [])
            keys = keys_of(settings, key, bucket)
            found = prove_archived(
                library, bucket, day_of("--archived", day), event, keys, reason, url=ledger, claimed=claimed
            )
        except AuditError as error:
            fail(str(error), FAILED)
    _print(msgspec.json.format(msgspec.json.encode(found)).decode())
    end(library)


@contextmanager
def _asked(url: str | None, state: Path) -> Iterator[str]:
    """Give the ledger's URL; end the command with one line where something is not as it must be."""
    import psycopg

    from execution_assets.archives.errors import ArchiveError
    from operations.audit.reading import AuditError
    from operations.dead_letters import NoLedgerError, ledger_url
    from trust.errors import TrustError

    try:
        yield ledger_url(url, state)
    except NoLedgerError as error:
        fail(str(error), USAGE)
    except (AuditError, ArchiveError, TrustError) as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)


def _progress(done: int, size: int) -> None:
    sys.stderr.write(f"{done:,} of {size:,} rows\n")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
