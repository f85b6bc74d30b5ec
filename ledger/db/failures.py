"""What a failed statement means for its caller: the rows are wrong, or Postgres is away for now."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from ledger.db.errors import LedgerRefusedError, LedgerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

# ValueError and OverflowError are the driver's: it refuses what the server never gets to see.
_REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # a text that is too long for an index
    ValueError,
    OverflowError,
)
# What says that Postgres is away for now. A deadlock's victim is no worse than its survivor; a timeout of ours is
# an OSError.
AWAY = (
    OSError,
    asyncpg.InterfaceError,
    # the driver's own confusion when a session ends: in the middle of a COPY, or before it has taken the end in
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
)


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise the driver's errors as ``LedgerRefusedError`` or ``LedgerUnavailableError``."""
    try:
        yield
    except _REFUSED as error:
        raise LedgerRefusedError(f"{doing}: Postgres refuses a value: {error}") from error
    except AWAY as error:
        raise LedgerUnavailableError(f"{doing}: Postgres is away: {error}") from error
