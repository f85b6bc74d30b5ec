"""``archive list`` and ``archive verify``: what is there, and whether it is as it should be."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from operations.archive.options import (
    ClassOption,
    FromOption,
    JsonOption,
    ToOption,
    VenueOption,
    chosen,
    end,
    ledger_of,
    opened,
    show,
    tell,
)
from operations.options import FAILED, STATE, LedgerOption, StateOption, fail, first_line


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

    Reads the signed manifests in the object store, and names the public keys that count: Postgres is not asked,
    and the signing key is not needed. Exit codes: 0 listed; 1 there is none; 2 wrong usage or settings; 3 listed,
    but manifests that are none of ours were left out.
    """
    from operations.archive.choosing import choose
    from operations.archive.shown import keys_as_text, manifests_as_data, manifests_as_table

    choice = chosen(record_class, first, last, venue)
    with opened(state) as library:
        listed = choose(library, choice, all_revisions=True)
        show(manifests_as_data(listed) if as_json else manifests_as_table(listed))
        if not as_json:
            show(f"\n{keys_as_text(listed, library)}")
        for note in library.notes:
            tell(f"note: {note}")
    end(library)


def verify(
    first: FromOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Signatures and locks only: read no files.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Read a range back: signatures, revisions, bytes, keys, rows, retention, holds; and whether all is there.

    What should be there is every day that is over and venue of which Postgres has records; where it is away, what
    the manifests say of each other. Ends in a table. Exit codes: 0 all is as the manifests say; 1 something
    differs, is missing, or could not be read; 2 wrong usage or settings. That it was verified is noted in Postgres
    where an auditor is logged in.
    """
    import psycopg

    from execution_assets.archives.keeping import note_verified
    from execution_assets.archives.verifying import verify as read_back
    from operations.archive.shown import verification_as_data, verification_as_table
    from operations.people import AUDITOR, PeopleError, require_person

    choice = chosen(record_class, first, last, venue)
    asked = (record_class, choice.first, choice.last)
    more: dict[str, Any] = {"venues": choice.venues, "deep": not quick, "log": tell}
    with opened(state) as library:
        ledger = ledger_of(url, state)
        try:
            found = read_back(library, *asked, url=ledger, **more)
            if ledger is not None and not quick and not found.wrong:
                try:
                    require_person(ledger, "to note that archives were verified", AUDITOR)
                    note_verified(ledger, library.listed(*asked, choice.venues))
                except PeopleError as error:
                    tell(f"Postgres does not note that it was verified: {error}")
        except psycopg.Error as error:
            tell(f"Postgres is not compared: {first_line(error)}")
            found = read_back(library, *asked, **more)
    show(verification_as_data(found) if as_json else verification_as_table(found))
    if not found.manifests and not found.lines:
        fail(f"there is no archive of {record_class} from {choice.first} to {choice.last}", FAILED)
    raise typer.Exit(FAILED if found.wrong else 0)
