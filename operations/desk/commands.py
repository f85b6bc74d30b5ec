"""``execution-agent decode`` and ``replay``: their options, and what they print."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from operations.options import FAILED, USAGE, fail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.errors import Defect
    from ledger.domain.records import OrderIntent, Snapshot
    from operations.desk.intents import Named
    from operations.desk.messages import Found
    from operations.desk.shown import Shown
    from operations.desk.venues import Format

FilesArgument = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Files, `.gz` too; `-` is standard input.")
]
VenueOption = Annotated[
    str, typer.Option("--venue", help="The messages' format: fix42, fix44, fix50sp2, binance, kraken ...")
]
AccountOption = Annotated[str, typer.Option("--account", help="Whose the messages are where they do not say.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="The venue's name, as the intents have it; else that of the format.")
]
RawFieldOption = Annotated[
    str | None, typer.Option("--raw-field", help="Files are JSON lines with the message in this field.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: `execution-agent decode --venue fix44 drop-copy.log | jq .exec_id`")(decode)
    app.command(epilog="Example: `execution-agent replay --venue fix44 --intents intents.jsonl drop-copy.log`")(
        replay
    )


def decode(
    files: FilesArgument,
    venue: VenueOption,
    account: AccountOption = "",
    name: NameOption = None,
    raw_field: RawFieldOption = None,
) -> None:
    """Print the reports that raw venue messages hold, as JSON lines; what is wrong with a message is named.

    FIX with SOH or `|`, also behind a log's prefix; JSON documents and JSON lines. Exit codes: 0 done, whatever
    the messages hold; 1 a file cannot be read; 2 wrong usage.
    """
    from operations.desk.decode import decoded_lines

    found, messages = _messages(venue, files, raw_field)
    _print(decoded_lines(messages.messages, found, name or found.name, account))
    _say_skipped(messages.skipped)


def replay(
    files: FilesArgument,
    venue: VenueOption,
    intents: Annotated[
        list[str] | None,
        typer.Option("--intents", help="Intents (`order.intent.route.v1`), JSON lines; several times."),
    ] = None,
    snapshots: Annotated[
        list[str] | None,
        typer.Option("--snapshots", help="Snapshots (`market.data.snapshot.v1`), JSON lines: for slippage."),
    ] = None,
    account: AccountOption = "",
    name: NameOption = None,
    raw_field: RawFieldOption = None,
    *,
    in_order: Annotated[
        bool,
        typer.Option("--in-order", help="An intent is known from its `routed_at` on, not before."),
    ] = False,
) -> None:
    """Run raw venue messages through the rules in memory; print where their order stands after each.

    One JSON line a message, in order. Without `--intents` the orders and requests in a FIX file (35=D, G, F) are
    the intents; without any, reports wait and the state is what they say. Exit codes: 0 done, whatever the
    messages hold; 1 a file cannot be read; 2 wrong usage.
    """
    from operations.desk.errors import InputError, UsageError
    from operations.desk.intents import read_intents, read_snapshots, venue_of
    from operations.desk.replay import Plan, Replay

    found, messages = _messages(venue, files, raw_field)
    routed: list[OrderIntent] = []
    known: list[Snapshot] = []
    try:
        for path in intents or ():
            rows, bad = read_intents(path)
            routed += rows
            _say_bad(bad)
        for path in snapshots or ():
            taken, bad = read_snapshots(path)
            known += taken
            _say_bad(bad)
        whose = venue_of(routed, venue, name)
    except InputError as error:
        fail(str(error), FAILED)
    except UsageError as error:
        fail(str(error), USAGE)
    plan = Plan(found, whose, account, None if intents is None else tuple(routed), tuple(known), in_order)
    _print(Replay(plan, _complain).lines(messages.messages))
    _say_skipped(messages.skipped)


def _messages(venue: str, files: Sequence[str], raw_field: str | None) -> tuple[Format, Found]:
    from operations.desk.errors import InputError, UsageError
    from operations.desk.messages import find_messages
    from operations.desk.venues import find_format

    try:
        found = find_format(venue)
        return found, find_messages(files, is_fix=found.is_fix, raw_field=raw_field)
    except UsageError as error:
        fail(str(error), USAGE)
    except InputError as error:
        fail(str(error), FAILED)


def _print(lines: Iterable[Shown]) -> None:
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")


def _say_bad(bad: Iterable[Named]) -> None:
    for place, error in bad:
        _complain(place, error.defect)


def _complain(place: str, defect: Defect) -> None:
    sys.stderr.write(f"execution-agent: {place}: {defect}\n")


def _say_skipped(skipped: Sequence[str]) -> None:
    if skipped:
        lines = "line holds" if len(skipped) == 1 else "lines hold"
        sys.stderr.write(f"execution-agent: {len(skipped)} {lines} no message; the first is {skipped[0]}\n")
