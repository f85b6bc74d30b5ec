"""``execution-agent``: what people and service managers run."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from ledger.db.errors import LedgerError
from operations.archive import commands as archives
from operations.audit import commands as auditing
from operations.backfill import commands as backfilling
from operations.breaks import commands as breaks
from operations.desk import commands as desk
from operations.explain import commands as explaining
from operations.halts import commands as halts
from operations.identity import commands as identity
from operations.letters import commands as letters
from operations.look_back import commands as look_back
from operations.options import FAILED, INTERRUPTED, STATE, USAGE, StateOption, fail
from operations.report import commands as reporting
from operations.venues import commands as venues
from streaming.errors import SettingsError, StreamingError

app = typer.Typer(
    name="execution-agent",
    help="Captures every fill, lands it in Postgres exactly once, publishes it, and derives the day.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

desk.register(app)
explaining.register(app)
breaks.register(app)
halts.register(app)
venues.register(app)
look_back.register(app)
letters.register(app)
backfilling.register(app)
auditing.register(app)
reporting.register(app)
archives.register(app)
identity.register(app)


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
    analysts_page: Annotated[
        bool, typer.Option("--analysts-page", help="Also Dagster's read-only page (some 400 MB more).")
    ] = False,
    identity_: Annotated[
        bool, typer.Option("--identity", help="Who we are by a Workload API, venues' secrets from OpenBao.")
    ] = False,
    state: StateOption = STATE,
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
        fail(f"--for: {error}", USAGE)
    for path in capture or []:
        if not path.is_file():
            fail(f"--capture: {path} is not there", USAGE)
    plan = Plan(
        state, seconds, seed, tuple(capture or ()), speed, faults, orders, dagster, analysts_page, identity_
    )
    job = MainJob(plan, console)
    try:
        report = job.run()
    except EmbeddedError as error:
        fail(str(error), FAILED)
    if report is None:
        raise typer.Exit(0 if seconds is None else INTERRUPTED)
    if as_json:
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    print_summary(report, console)
    raise typer.Exit(0 if report.balanced else FAILED)


@app.command(epilog="Example: `EXECUTION_AGENT_CONFIG=stream.toml execution-agent stream`")
def stream() -> None:
    """Run the streaming process until SIGTERM or SIGINT, which drain it within 5 s."""
    import uvloop

    from ledger import clocks
    from streaming.logs import configure_logs
    from streaming.own_secrets import settled
    from streaming.process import Process
    from streaming.settings import load_settings
    from streaming.steady_clock import SteadyClock
    from streaming.threads import DetachedExecutor, leave

    configure_logs()
    try:
        settings = load_settings()
    except SettingsError as error:
        fail(str(error), USAGE)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(DetachedExecutor())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        clock = SteadyClock()
        with clocks.replaced(clock.time_ns, clocks.monotonic):
            await Process(await settled(settings), clock).run(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except (StreamingError, LedgerError) as error:
        sys.stderr.write(f"execution-agent: {error}\n")
        leave(USAGE if isinstance(error, SettingsError) else FAILED)
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
        fail(str(error), USAGE)
    sys.stdout.write(json.dumps(masked(settings), indent=None if as_json else 2) + "\n")


@app.command(epilog="Example: `execution-agent migrate --url postgresql://user:pw@db/execution`")
def migrate(
    url: Annotated[
        str, typer.Option(help="The ledger's database.", envvar="EXECUTION_AGENT_POSTGRES_URL", show_envvar=True)
    ],
) -> None:
    """Bring the ledger's schema to the newest revision (the embedded stack does it by itself).

    As the schema's owner. Makes the roles of docs/security.md too, or says what an administrator has to run first.
    """
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    from ledger.db.migrate import migrate as bring_up

    try:
        revision = bring_up(url)
    except (SQLAlchemyError, psycopg.Error) as error:
        fail(f"the schema could not be migrated: {str(error).splitlines()[0]}", FAILED)
    sys.stdout.write(f"schema at revision {revision}\n")


@app.command(epilog="Example: `execution-agent reset --yes`")
def reset(
    state: StateOption = STATE,
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
        fail(str(error), FAILED)
    sys.stdout.write(f"{place} is gone: the next run starts over\n")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
