"""The writer's lease: one process of a name writes, with a token that is checked where it writes.

A row holds who writes, the token and until when, by the server's clock. The holder renews it, on a connection of
its own. The session that lands holds an advisory lock as well: when a process dies its session ends, the lock is
free, and the next takes the lease at once. A process that is stopped or cut off keeps its session: when its lease
has run out the next one ends that session, takes the lease, and counts the token up. Each landing transaction
checks the token under a row lock (``execution.land``), so whoever wakes up later cannot commit.

That a token must be checked by the store that is written to, M. Kleppmann shows in "How to do distributed locking"
(2016); a lease alone protects nobody from a pause between the look at the clock and the write.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import asyncpg

from ledger.db.errors import LeaseLostError
from ledger.db.failures import explained
from ledger.db.sql import load_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

_SQL = load_queries("leases")
LEASE_SECONDS = 2.5  # of a holder that renews
UNATTENDED_SECONDS = 30.0  # of one that does not: a person's command, which is soon done
LOST = "EA002"  # raised by execution.land


def this_process() -> str:
    """Name the holder, for whoever waits for it."""
    return f"{socket.gethostname()} pid {os.getpid()}"


async def take(
    connection: asyncpg.Connection[Any], writer: str, seconds: float = UNATTENDED_SECONDS, last: int = 0
) -> int:
    """Take the lease of ``writer`` for the session of ``connection``; give its token.

    ``last`` is the token that this process had last: a session that still holds that one is of no use to anybody.

    Raises ``LeaseLostError`` while another holds it, ``LedgerUnavailableError`` when the connection is lost.
    """
    with explained("taking the lease"):
        async with connection.transaction():
            if not await connection.fetchval(_SQL["takeover"], writer):
                raise LeaseLostError(f"another process is taking the lease of {writer!r} just now")
            if not await connection.fetchval(_SQL["lock"], writer):
                await _end_holder(connection, writer, last)
            try:
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                await connection.execute(_SQL["hold_row"], writer)
            except asyncpg.LockNotAvailableError as error:
                raise LeaseLostError(f"the last writer of {writer!r} is in the middle of a landing") from error
            return int(await connection.fetchval(_SQL["take"], writer, this_process(), seconds))


async def _end_holder(connection: asyncpg.Connection[Any], writer: str, last: int) -> None:
    """End the session of a holder whose lease has run out."""
    known: Mapping[str, Any] | None = await connection.fetchrow(_SQL["known"], writer, last)
    if known is None or not known["is_over"]:
        who = "" if known is None else f" ({known['holder']})"
        raise LeaseLostError(
            f"another process{who} is the writer of {writer!r}: this one waits until it stops or falls silent"
        )
    try:
        async with connection.transaction():
            await connection.execute(_SQL["end_holder"], writer)
    except asyncpg.InsufficientPrivilegeError:
        return  # another login's session: it goes on without the lease, and the token keeps it from committing
    if not await connection.fetchval(_SQL["lock"], writer):
        raise LeaseLostError(f"the last writer of {writer!r} has not ended yet")


async def renew(connection: asyncpg.Connection[Any], writer: str, token: int, seconds: float) -> None:
    """Hold the lease for so many seconds more. Raises ``LeaseLostError`` when it has another token now."""
    with explained("renewing the lease"):
        if await connection.fetchval(_SQL["renew"], writer, token, seconds) is None:
            raise LeaseLostError(f"another process has taken the lease of {writer!r} (ours had token {token})")


async def idle_since(connection: asyncpg.Connection[Any], pid: int) -> float | None:
    """Give when the server last did something for session ``pid`` (s, its clock); None while it works for it.

    Of who waits for an answer, twice the same: the question never got there, or its answer was lost.
    """
    with explained("looking at a session"):
        found: float | None = await connection.fetchval(_SQL["idle_since"], pid)
    return found
