"""``execution-agent audit``: its options, and what it prints."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.audit.verifying import Verdict
    from streaming.settings import AuditSettings
    from trust.notes import NoteKey

audit = typer.Typer(help="Check, prove and show the log of every decision.", no_args_is_help=True)

KeyOption = Annotated[
    list[str] | None, typer.Option("--key", help="Public key that signed, NAME+ID+BASE64; else of the settings.")
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
    url: LedgerOption = None,
    state: StateOption = STATE,
    as_json: JsonOption = False,
) -> None:
    """Work the log out again from its rows; compare with tiles, checkpoints and the locked bucket.

    Exit codes: 0 all agree; 1 something differs, and the first row that does is named; 2 wrong usage.
    """
    if proof is not None:
        _verify_proof(proof, key, state, as_json=as_json)
        return
    from operations.audit.reading import opened
    from operations.audit.verifying import verify
    from streaming.audit_parts import bucket_of

    with _asked(url, state) as ledger:
        settings = _settings(state)
        keys = _keys(key, settings)
        if bucket and settings is None:
            fail("which bucket? name the settings in EXECUTION_AGENT_CONFIG ([audit]), or give --no-bucket", USAGE)
        place = bucket_of(settings, keys) if bucket and settings is not None else None
        with opened(ledger) as log:
            verdict = verify(log, place, keys, checkpoints, _progress)
    _print(msgspec.json.encode(verdict).decode() if as_json else _table(verdict))
    raise typer.Exit(0 if verdict.good else FAILED)


@audit.command("prove", epilog="Example: `execution-agent audit prove --position 4711 > proof.json`")
def prove(
    event: Annotated[str | None, typer.Argument(metavar="EVENT", help="Id of an event.")] = None,
    position: Annotated[int | None, typer.Option(help="A row by its position instead.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="In the log of so many events; else the newest.")] = None,
    since: Annotated[
        int | None, typer.Option(min=0, help="Prove that the log of so many events is the beginning instead.")
    ] = None,
    key: KeyOption = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Print a proof as JSON that stands by itself: `audit verify --proof FILE` checks it anywhere.

    Exit codes: 0 proven; 1 not in the log, or what is stored does not lead to what was signed; 2 wrong usage.
    """
    from operations.audit.proving import prove_event, prove_growth
    from operations.audit.reading import opened

    if sum(wanted is not None for wanted in (event, position, since)) != 1:
        fail("what is to be proven? one of EVENT, --position and --since", USAGE)
    with _asked(url, state) as ledger:
        keys = _keys(key, _settings(state))
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
    from operations.audit.reading import opened
    from operations.audit.showing import show_event, show_log

    with _asked(url, state) as ledger:
        keys = _keys(key, _settings(state))
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
    from operations.audit.proving import check, read
    from operations.audit.reading import AuditError
    from trust.errors import TrustError
    from trust.notes import parse_key

    try:
        proof = read(path.read_bytes())
        settings = None if key else _settings(state)
        own = not key and settings is None
        says = check(proof, [parse_key(proof.key)] if own else _keys(key, settings))
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


def _settings(state: Path) -> AuditSettings | None:
    """Give the table [audit] of the settings' file; None where there is none. Raises ``AuditError``."""
    import tomllib

    from pydantic import ValidationError

    from operations.audit.reading import AuditError
    from streaming.settings import CONFIG_VARIABLE, AuditSettings

    path = Path(os.environ.get(CONFIG_VARIABLE) or state / "stream" / "stream.toml")
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("audit")
        return None if table is None else AuditSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise AuditError(f"{path}: setting audit.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise AuditError(f"{path}: {error}") from error


def _keys(given: list[str] | None, settings: AuditSettings | None) -> list[NoteKey]:
    from operations.audit.reading import AuditError
    from streaming.audit_parts import signer_of
    from trust.notes import parse_key

    if given:
        return [parse_key(text) for text in given]
    if settings is None:
        raise AuditError("which key? give --key, or name the settings in EXECUTION_AGENT_CONFIG ([audit])")
    return [signer_of(settings).key, *(parse_key(text) for text in settings.verifiers)]


@contextmanager
def _asked(url: str | None, state: Path) -> Iterator[str]:
    """Give the ledger's URL; end the command with one line where something is not as it must be."""
    import psycopg

    from operations.audit.reading import AuditError
    from operations.dead_letters import NoLedgerError, ledger_url
    from trust.errors import TrustError

    try:
        yield ledger_url(url, state)
    except NoLedgerError as error:
        fail(str(error), USAGE)
    except (AuditError, TrustError) as error:
        fail(str(error), FAILED)
    except psycopg.Error as error:
        fail(f"the ledger could not be asked: {first_line(error)}", FAILED)


def _progress(done: int, size: int) -> None:
    sys.stderr.write(f"{done:,} of {size:,} rows\n")


def _table(verdict: Verdict) -> str:
    rows = [
        ("log", verdict.origin),
        ("rows", f"{verdict.rows:,} of {verdict.leaves:,} leaves; {verdict.waiting:,} wait for their leaf"),
        ("root", verdict.root),
        ("checkpoints", f"{verdict.checkpoints:,} in the ledger"),
        (
            "bucket",
            f"{verdict.bucket}; {verdict.stored:,} compared, the newest over {verdict.stored_newest:,}",
        ),
        *(("differs", problem) for problem in verdict.problems),
        *((("first row", verdict.first),) if verdict.first else ()),
        ("outcome", "all agree" if verdict.good else "NOT what was logged"),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
