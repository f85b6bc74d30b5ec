"""``execution-agent``: what people and service managers run."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import UUID  # noqa: TC003  typer reads it at run time

import msgspec
import typer
from rich.console import Console

from ledger.db.errors import LedgerError
from operations.breaks import commands as breaks
from operations.desk import commands as desk
from operations.explain import commands as explaining
from operations.letters import commands as letters
from streaming.errors import SettingsError, StreamingError

app = typer.Typer(
    name="execution-agent",
    help="Captures every fill, lands it in Postgres exactly once, publishes it, and derives the day.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

dlq = typer.Typer(
    help="Look at dead letters, what came in and is no fact, and hand them in again.", no_args_is_help=True
)
app.add_typer(dlq, name="dlq", epilog="Example: `execution-agent dlq list --since 1h`")

desk.register(app)
explaining.register(app)
breaks.register(app)
letters.register(dlq)

StateOption = Annotated[
    Path, typer.Option("--state", help="Folder of the embedded servers' data.", envvar="EXECUTION_AGENT_STATE")
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="The ledger's database; else of EXECUTION_AGENT_CONFIG's file, else of the embedded servers.",
        envvar="EXECUTION_AGENT_POSTGRES_URL",
        show_envvar=True,
    ),
]
_STATE = Path(".state")
# exit codes: 0 done; 1 the work failed or does not balance; 2 wrong usage or settings; 130 interrupted
_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


@app.command(epilog="Example: `execution-agent run --for 60s --seed 7 --json`")
def run(
    duration: Annotated[str | None, typer.Option("--for", help="End after 90s, 5m, 1h; else at Ctrl-C.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated day.")] = 1,
    capture: Annotated[
        list[Path] | None, typer.Option(help="Play a captured market; may be given several times.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Play captures N times as fast.")] = 1.0,
    orders: Annotated[float, typer.Option(help="Orders a second of the generated market.")] = 10.0,
    faults: Annotated[bool, typer.Option("--faults/--no-faults", help="Let venues misbehave a little.")] = True,
    dagster: Annotated[bool, typer.Option("--dagster/--no-dagster", help="Run Dagster's pages.")] = True,
    state: StateOption = _STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run the main job on the embedded servers: a simulated day, the streaming process, Dagster.

    With `--for` it ends with a summary that balances the books and exits 1 if anything does not balance.
    """
    from operations.embedded import EmbeddedError
    from operations.main_job.job import MainJob
    from operations.main_job.plan import Plan, parse_duration
    from operations.main_job.summary import print_summary

    console = Console(stderr=as_json)
    try:
        seconds = None if duration is None else parse_duration(duration)
    except ValueError as error:
        _fail(f"--for: {error}", _USAGE)
    for path in capture or []:
        if not path.is_file():
            _fail(f"--capture: {path} is not there", _USAGE)
    plan = Plan(state, seconds, seed, tuple(capture or ()), speed, faults, orders, dagster)
    job = MainJob(plan, console)
    try:
        report = job.run()
    except EmbeddedError as error:
        _fail(str(error), _FAILED)
    if report is None:
        raise typer.Exit(0 if seconds is None else _INTERRUPTED)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    print_summary(report, console)
    raise typer.Exit(0 if report.balanced else _FAILED)


@app.command(epilog="Example: `EXECUTION_AGENT_CONFIG=stream.toml execution-agent stream`")
def stream() -> None:
    """Run the streaming process until SIGTERM or SIGINT, which drain it within 5 s."""
    import uvloop

    from streaming.logs import configure_logs
    from streaming.process import Process
    from streaming.settings import load_settings
    from streaming.threads import DetachedExecutor, leave

    configure_logs()
    try:
        settings = load_settings()
    except SettingsError as error:
        _fail(str(error), _USAGE)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(DetachedExecutor())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await Process(settings).run(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except (StreamingError, LedgerError) as error:
        sys.stderr.write(f"execution-agent: {error}\n")
        leave(_USAGE if isinstance(error, SettingsError) else _FAILED)
    leave(0)


@app.command(epilog="Example: `execution-agent config --json`")
def config(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON (the default is JSON, indented).")
    ] = False,
) -> None:
    """Print the settings in force, secrets masked."""
    from streaming.settings import load_settings, masked

    try:
        settings = load_settings()
    except SettingsError as error:
        _fail(str(error), _USAGE)
    sys.stdout.write(json.dumps(masked(settings), indent=None if as_json else 2) + "\n")


@app.command(epilog="Example: `execution-agent migrate --url postgresql://user:pw@db/execution`")
def migrate(
    url: Annotated[
        str, typer.Option(help="The ledger's database.", envvar="EXECUTION_AGENT_POSTGRES_URL", show_envvar=True)
    ],
) -> None:
    """Bring the ledger's schema to the newest revision (the embedded stack does it by itself)."""
    from sqlalchemy.exc import SQLAlchemyError

    from ledger.db.migrate import migrate as bring_up

    try:
        revision = bring_up(url)
    except SQLAlchemyError as error:
        _fail(f"the schema could not be migrated: {str(error).splitlines()[0]}", _FAILED)
    sys.stdout.write(f"schema at revision {revision}\n")


@app.command(epilog="Example: `execution-agent reset --yes`")
def reset(
    state: StateOption = _STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the embedded servers' data and start over. Asks first."""
    from operations.embedded import EmbeddedError
    from operations.embedded import reset as delete

    place = state.resolve()
    if not place.exists():
        sys.stdout.write(f"{place} is not there: nothing to reset\n")
        return
    if not yes:
        typer.confirm(f"Delete all data in {place}?", abort=True)
    try:
        delete(state)
    except EmbeddedError as error:
        _fail(str(error), _FAILED)
    sys.stdout.write(f"{place} is gone: the next run starts over\n")


@dlq.command("list", epilog="Example: `execution-agent dlq list --venue ALPHA --since 1h`")
def list_dead_letters(
    venue: Annotated[str | None, typer.Option(help="Of this venue, or of this source.")] = None,
    reason: Annotated[str | None, typer.Option(help="With this reason, such as `not_a_number`.")] = None,
    since: Annotated[str | None, typer.Option(help="Of the last 90s, 5m, 1h.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20,
    url: LedgerOption = None,
    state: StateOption = _STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List dead letters, the newest first."""
    import psycopg

    from operations.dead_letters import NoLedgerError, as_data, as_table, find, ledger_url
    from operations.main_job.plan import parse_duration

    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as error:
        _fail(f"--since: {error}", _USAGE)
    try:
        letters = find(ledger_url(url, state), venue=venue, reason=reason, seconds=seconds, limit=limit)
    except NoLedgerError as error:
        _fail(str(error), _USAGE)
    except psycopg.Error as error:
        _fail(f"the ledger could not be read: {_first_line(error)}", _FAILED)
    if as_json:
        sys.stdout.write(json.dumps([as_data(letter) for letter in letters]) + "\n")
    else:
        sys.stdout.write((as_table(letters) if letters else "no dead letters") + "\n")


@dlq.command("show", epilog="Example: `execution-agent dlq show 5f0c6d4e-0a4b-5d0c-9d57-0d3c1f5f4b5a`")
def show_dead_letter(
    dead_letter_id: Annotated[UUID, typer.Argument(metavar="ID", help="Its id, as the list or the event says.")],
    url: LedgerOption = None,
    state: StateOption = _STATE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Write the bytes as they came, and nothing else.")] = False,
) -> None:
    """Show one dead letter: what was wrong, what mends it, and its bytes."""
    import psycopg

    from operations.dead_letters import NoLedgerError, as_data, as_page, find_one, ledger_url

    try:
        letter = find_one(ledger_url(url, state), dead_letter_id)
    except NoLedgerError as error:
        _fail(str(error), _USAGE)
    except psycopg.Error as error:
        _fail(f"the ledger could not be read: {_first_line(error)}", _FAILED)
    if letter is None:
        _fail(f"there is no dead letter {dead_letter_id}", _FAILED)
    if raw:
        sys.stdout.buffer.write(letter["raw"])
    else:
        sys.stdout.write((json.dumps(as_data(letter)) if as_json else as_page(letter)) + "\n")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"execution-agent: {message}\n")
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
