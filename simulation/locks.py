"""The lease's statements (ledger/db/sql/leases.sql) and its two advisory locks and one row lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.postgres import Postgres, Session
    from simulation.tables import Row, Stamp, Undo

_SECOND = 1_000_000_000
LOST = "EA002"


class FencedError(asyncpg.RaiseError):
    """``execution.land`` refuses the token."""

    sqlstate = LOST


class RowLockedError(Exception):
    """The statement has to wait for a transaction that holds the lease's row."""


class Locks:
    """Who holds what."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._held: dict[str, Session] = {}
        self._row: Session | None = None

    def writer(self) -> Session | None:
        """Give the session that holds the writer's lock."""
        return next((session for name, session in self._held.items() if name.startswith("writer:")), None)

    def release(self, session: Session) -> None:
        """Release all of a session's locks."""
        for name in [name for name, holder in self._held.items() if holder is session]:
            del self._held[name]
        self.end_transaction(session)

    def end_transaction(self, session: Session) -> None:
        """Release what a session's transaction held."""
        for name in [n for n, holder in self._held.items() if holder is session and n.startswith("takeover:")]:
            del self._held[name]
        if self._row is session:
            self._row = None

    def takeover(self, session: Session, writer: str) -> bool:
        """Try the lock of those who take the lease."""
        return self._held.setdefault(f"takeover:{writer}", session) is session

    def lock(self, session: Session, writer: str) -> bool:
        """Try the lock of the session that lands."""
        return self._held.setdefault(f"writer:{writer}", session) is session

    def known(self, writer: str, last: int) -> Row | None:
        """Say who holds the lease, and whether it has run out or is the taker's own, lost one."""
        row = self._server.tables["leases"].rows.get((writer,))
        if row is None:
            return None
        now_ns = self._server.loop.time_ns()
        is_over = row["expires_at"] < now_ns or row["renewed_at"] > now_ns + _SECOND or row["token"] == last
        return row | {"is_over": is_over}

    def end_holder(self, session: Session, writer: str) -> None:
        """Terminate the session that lands; its client finds out later."""
        holder = self._held.get(f"writer:{writer}")
        if holder is not None and holder is not session:
            self._server.note(f"the session of {holder.fate} is terminated")
            self._server.cut(holder, client_knows_after=self._server.rng.random() * 3)

    def hold_row(self, session: Session) -> None:
        """Lock the lease's row against landings; one that is about to commit is not waited for long."""
        if any(other is not session and other.is_landing for other in self._server.sessions):
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        self._row = session

    def check(self, session: Session, lease: dict[str, Any]) -> None:
        """Check a landing's token under the row lock."""
        if self._row is not None and self._row is not session:
            raise RowLockedError
        row = self._server.tables["leases"].rows.get((lease["writer"],))
        if row is None or row["token"] != lease["token"]:
            raise FencedError(f"another process has taken the lease of {lease['writer']}")

    def take(self, writer: str, holder: str, seconds: float) -> Callable[[Stamp, Undo], int]:
        """Give the statement that counts the token up, and gives it."""
        table = self._server.tables["leases"]

        def take(stamp: Stamp, undo: Undo) -> int:
            row = table.rows.get((writer,))
            until = stamp.now_ns + int(seconds * _SECOND)
            times = {"taken_at": stamp.now_ns, "renewed_at": stamp.now_ns, "expires_at": until, "holder": holder}
            if row is None:
                row = table.insert({"writer": writer, "token": 1, **times}, stamp, undo)
            else:
                table.change(row, {"token": row["token"] + 1, **times}, undo)
            token: int = row["token"]
            return token

        return take

    def renew(self, session: Session, writer: str, token: int, seconds: float) -> int | None:
        """Hold the lease for longer; None where another has it."""
        if self._row is not None and self._row is not session:
            raise RowLockedError
        row = self._server.tables["leases"].rows.get((writer,))
        if row is None or row["token"] != token:
            return None
        now_ns = self._server.loop.time_ns()
        row["renewed_at"], row["expires_at"] = now_ns, now_ns + int(seconds * _SECOND)
        return token
