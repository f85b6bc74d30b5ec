"""``archive hold``, ``rotate`` and ``drop-partition``: what is done to archives, and to what they stand for."""

from __future__ import annotations

from typing import Annotated

import typer

from operations.archive.options import (
    ClassOption,
    FromOption,
    ReasonOption,
    ToOption,
    VenueOption,
    auditor,
    chosen,
    end,
    ledger_of,
    opened,
    show,
    tell,
)
from operations.options import FAILED, STATE, USAGE, LedgerOption, StateOption, fail, first_line


def hold(
    first: FromOption,
    reason: ReasonOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    venue: VenueOption = None,
    lift: Annotated[bool, typer.Option("--lift", help="Lift it; the retention still stands.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Place or lift a legal hold on a range: what it holds outlasts its retention.

    It is on the days: on all revisions that are there, and on those that are written later, until it is lifted.
    Nothing is lifted while there are notes below the holds that no known key has signed: one may be a hold.
    It takes an auditor's login, and so a Postgres that can be reached. Exit codes: 0 done; 1 refused or not
    possible; 2 wrong usage or settings; 3 done, but for what is listed by manifests that are none of ours, as far
    as is known: these are named, and what is archived of their days later is held.
    """
    from execution_assets.archives.access import HOLD_LIFTED, HOLD_PLACED, record_access
    from execution_assets.archives.holds import give, order_of, orders
    from execution_assets.archives.keeping import hold as put
    from execution_assets.archives.keeping import note_held
    from execution_assets.archives.records import AUDIT

    choice = chosen(record_class, first, last, venue)
    ledger = auditor("a legal hold", url, state)
    venues = () if record_class == AUDIT else choice.venues
    with opened(state) as library:
        if lift:
            orders(library, record_class).check_liftable()
        there = library.listed(record_class, choice.first, choice.last, venues)
        files = [held for o in there for held in o.manifest.objects]
        event = HOLD_LIFTED if lift else HOLD_PLACED
        asked = {**choice.asked, **library.left_out()}
        receipt = record_access(library, ledger, event, reason, asked, files)
        give(library, order_of(receipt, record_class, choice.first, choice.last, venues, on=not lift))
        # what was archived meanwhile, too
        listed = library.listed(record_class, choice.first, choice.last, venues)
        count = put(library, listed, on=not lift)
        note_held(ledger, listed, on=not lift)
    done = "lifted from" if lift else "placed on"
    later = "" if lift else ", and on what is archived of these days later"
    show(f"legal hold {done} {count} objects{later}; audit event {receipt.ledger}")
    if library.doubts:
        kept = "is held as it was" if lift else "is NOT held"
        tell(f"what {len(library.doubts)} objects below the manifests say is not known, and what they list {kept}")
    end(library)


def rotate(
    first: FromOption,
    reason: ReasonOption,
    last: ToOption = None,
    record_class: ClassOption = "fills",
    new_key: Annotated[bool, typer.Option("--new-key", help="First add a new key to the key file.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete the older wrappings for good.")] = False,
    url: LedgerOption = None,
    state: StateOption = STATE,
) -> None:
    """Wrap the files' keys under the newest wrapping key; the locked files stay byte for byte as they are.

    With Vault rotate the Transit key itself first (`transit/keys/KEY/rotate`); of a key file `--new-key` does it.
    It takes an auditor's login, and so a Postgres that can be reached. Exit codes: 0 done; 1 refused or not
    possible; 2 wrong usage or settings; 3 done, but for what is listed by manifests that are none of ours, as far
    as is known: these are named, and older wrapping keys still open what they list.
    """
    from execution_assets.archives.access import ROTATED, record_access
    from execution_assets.archives.keeping import note_rotated
    from execution_assets.archives.keeping import rotate as wrap
    from operations.archive.choosing import choose
    from operations.archive.opening import add_key

    choice = chosen(record_class, first, last, None)
    ledger = auditor("to rotate keys", url, state)
    with opened(state) as library:
        listed = choose(library, choice, all_revisions=True)
        files = [held for o in listed for held in o.manifest.objects]
        asked = {**choice.asked, **library.left_out(), **({"forget": "true"} if forget else {})}
        receipt = record_access(library, ledger, ROTATED, reason, asked, files)
        if new_key:
            add_key(state)
    with opened(state) as renewed:  # the keys, with the new one
        count = wrap(renewed, listed, forget=forget, log=tell)
        note_rotated(ledger, listed, renewed.keys.key_id)
    show(f"{count} data keys are wrapped under {renewed.keys.key_id}; audit event {receipt.ledger}")
    if library.doubts:
        tell(
            f"NOT all is rotated: what {len(library.doubts)} objects below the manifests list is wrapped as it "
            "was, and the older wrapping keys still open it"
        )
    end(library)


def drop_partition(
    day: Annotated[str, typer.Argument(metavar="DAY", help="Trading date; of class audit, date of record.")],
    reason: ReasonOption,
    record_class: ClassOption = "fills",
    person_url: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="URL",
            help="The same database by your own login, an auditor's; --url is the schema's owner's.",
            envvar="EXECUTION_AGENT_AUDITOR_URL",
            show_envvar=True,
        ),
    ] = None,
    url: LedgerOption = None,
    state: StateOption = STATE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Drop a day from Postgres, after every row was read back from its archive, decrypted and found equal.

    Refused while anything of the day is pending, withheld, a break or unpublished. A fill of that day that a venue
    reports again later is then no longer known as a duplicate. Audit events go only when the audit log's bucket
    ([audit] of the settings) has the leaf of each. It takes two logins: the schema's owner drops, for an auditor
    who is logged in to the same database meanwhile, and whom the audit event names. Exit codes: 0 dropped; 1
    refused, nothing was dropped; 2 wrong usage or settings; 3 dropped, and something below the day's manifests is
    none of ours.
    """
    import psycopg

    from execution_assets.archives.dropping import drop_day
    from execution_assets.archives.records import AUDIT
    from operations.archive.vouching import logged_in
    from operations.audit.opening import log_of
    from operations.audit.reading import AuditError
    from operations.people import PeopleError

    choice = chosen(record_class, day, None, None)
    with opened(state) as library:
        ledger = ledger_of(url, state)
        if ledger is None:
            fail("which ledger? give --url, --state, or set EXECUTION_AGENT_POSTGRES_URL", USAGE)
        if person_url is None:
            fail(
                "a drop is a person's to do: give --as, the URL of an auditor's own login, or set "
                "EXECUTION_AGENT_AUDITOR_URL (execution-agent people add NAME --role auditor makes one)",
                USAGE,
            )
        if not yes:
            typer.confirm(f"Drop {record_class} of {day} from Postgres once its archive is verified?", abort=True)
        try:
            logged = log_of(state) if record_class == AUDIT else None
            with logged_in(person_url, ledger) as person:
                done = drop_day(
                    ledger, library, record_class, choice.first, reason, auditor=person, logged=logged, log=tell
                )
        except (AuditError, PeopleError) as error:
            fail(f"nothing was dropped: {error}", FAILED)
        except psycopg.Error as error:
            fail(f"nothing was dropped: {first_line(error)}", FAILED)
    show(f"dropped {', '.join(done.tables)}: {done.rows:,} rows are in the archive")
    end(library)
