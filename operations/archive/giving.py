"""``archive pull`` and ``archive query``: what is given out, with a receipt."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import Annotated

import typer

from operations.archive.options import (
    AccountOption,
    ClassOption,
    FromOption,
    JsonOption,
    OrderOption,
    PersonOption,
    ReasonOption,
    SymbolOption,
    ToOption,
    VenueOption,
    asking,
    chosen,
    end,
    opened,
    show,
    tell,
)
from operations.options import STATE, LedgerOption, StateOption


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
    possible; 2 wrong usage or settings; 3 done, but manifests that are none of ours were left out.
    """
    from operations.archive.pulling import pull as write
    from operations.archive.shown import pulled_as_data, pulled_as_text

    choice = chosen(record_class, first, last, venue, symbol, account, correlation_id)
    ledger, claimed = asking("to pull from archives", url, state, person)
    with opened(state) as library:
        done = write(
            library,
            choice,
            tuple(table or ()),
            output,
            kind,
            reason,
            url=ledger,
            claimed=claimed,
            log=tell,
        )
        show(pulled_as_data(done) if as_json else pulled_as_text(done))
    end(library)


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

    choice = chosen(record_class, first, last, venue, symbol, account, correlation_id)
    sql = sys.stdin.read() if statement == "-" else statement
    ledger, claimed = asking("to query archives", url, state, person)
    with opened(state) as library:
        found = answer(library, choice, sql, reason, url=ledger, claimed=claimed)
    show(answer_as_data(found) if as_json else answer_as_table(found))
    tell(f"receipt {found.receipt.event_id}, audit event {found.receipt.ledger}")
    if found.is_cut:
        tell(f"cut after {len(found.rows):,} rows: narrow the statement, or pull")
    end(library)
