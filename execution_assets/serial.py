"""One transaction a day: of one moment, refused by Postgres rather than losing what the live process writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from sqlalchemy import Connection, Engine

ATTEMPTS = 5  # a day under trade changes while it is derived, but rarely a row that differs
_REFUSED = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected

Result = TypeVar("Result")


def in_one_transaction(
    engine: Engine,
    day: date,
    work: Callable[[Connection], Result],
    *,
    correct: bool,
    log: Callable[[str], None],
) -> Result:
    """Run ``work`` in a REPEATABLE READ transaction, again where Postgres refuses; undo it unless ``correct``."""
    serial = engine.execution_options(isolation_level="REPEATABLE READ")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with serial.connect() as connection:
                result = work(connection)
                if correct:
                    connection.commit()
                else:
                    connection.rollback()
                return result
        except Exception as error:
            if attempt == ATTEMPTS or _state(error) not in _REFUSED:
                raise
            log(f"{day}: the live process changed a row meanwhile; deriving again (attempt {attempt + 1})")
    raise AssertionError("the last attempt returns or raises")


def _state(error: Exception) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlstate", None)
