"""For whom the schema's owner acts: an auditor who is logged in to the same database by themselves meanwhile."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from execution_assets.archives.ledger import connect
from execution_assets.archives.records import SQL
from operations.people import AUDITOR, PeopleError, require_person

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def logged_in(person_url: str, owner_url: str) -> Iterator[str]:
    """Give the name of the auditor that ``person_url`` logs in as, and keep them logged in.

    That it is the database of ``owner_url``, and not another one where anybody may be an auditor, shows by a lock
    whose number nobody guesses. Raises ``PeopleError`` where it is another one, or the login is no auditor's, and
    ``psycopg.Error``.
    """
    name = require_person(person_url, "a drop", AUDITOR)
    number = {"number": secrets.randbits(63)}
    with connect(person_url) as person:
        person.autocommit = True  # it waits for as long as the drop takes, and no transaction should
        person.execute(SQL["show_login"].encode(), number)
        with connect(owner_url) as owner:
            seen = owner.execute(SQL["shown_login"].encode(), number).fetchone()
        if seen is None or seen[0] != name:
            raise PeopleError(
                f"--as: {name} is logged in to another database than that of --url: name the same one"
            )
        yield name
