"""Halts in the ledger: read, and asked for under the login of whoever asks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from ledger.db.sql import load_queries
from ledger.domain.halts import HaltCause, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row = dict[str, Any]

_SQL = load_queries("halts")
_CONNECT_SECONDS = 5
_NOT_A_PERSON = "EA002"
_LISTED = ("venue", "cause", "since", "by", "reason", "resumed")
_CLOCK = "clock of {0} is off by {1} s since {2:%F %T}, {3} s are allowed"


class HaltError(Exception):
    """What was asked for is refused; the message says why and what to do."""


class HaltDesk:
    """One person's (or program's) look at the halts. Raises ``psycopg.Error`` beside what it says."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def listed(self, *, ended: bool) -> list[Row]:
        """Give halts, the oldest first; those that have ended only if asked for."""
        return self._fetch("listed", all=ended)

    def clocks(self) -> list[Row]:
        """Give the venues whose clocks are off."""
        return self._fetch("clocks")

    def ask(self, action: str, venue: str, reason: str) -> tuple[int, str]:
        """Ask to ``halt`` or ``resume`` a venue; give the request's id and the person. Raises ``HaltError``."""
        try:
            (asked,) = self._fetch("ask", venue=venue, action=action, reason=reason)
        except psycopg.errors.InsufficientPrivilege as error:
            raise HaltError(
                f"this login may not do that ({_said(error)}): log in as yourself with --url, as a member of "
                "execution_operator; execution-agent people add NAME makes such a login"
            ) from None
        except psycopg.errors.CheckViolation:
            raise HaltError("--reason: 1 to 2,000 characters are required, and not blanks alone") from None
        except psycopg.Error as error:
            if error.sqlstate != _NOT_A_PERSON:
                raise
            raise HaltError(
                f"{_said(error)}: log in as yourself with --url or EXECUTION_AGENT_POSTGRES_URL; "
                "execution-agent people add NAME makes a login"
            ) from None
        return asked["request_id"], asked["person"]

    def outcome(self, request_id: int) -> str | None:
        """Give what a request came to, or None while it has not landed."""
        found = self._fetch("outcome", request_id=request_id)
        return str(found[0]["outcome"]) if found else None

    def _fetch(self, query: str, **arguments: object) -> list[Row]:
        return self._connection.execute(_SQL[query].encode(), arguments).fetchall()


@contextmanager
def opened(url: str) -> Iterator[HaltDesk]:
    """Open a desk; every statement is a transaction of its own. Raises ``psycopg.Error``."""
    with psycopg.connect(
        url, connect_timeout=_CONNECT_SECONDS, autocommit=True, row_factory=dict_row
    ) as connection:
        yield HaltDesk(connection)


def as_data(row: Row) -> Row:
    """Give a halt as JSON holds it: times as RFC 3339, a figure of time in seconds, ids as hex digits."""
    counts = row["cause"] == HaltCause.IN_A_ROW
    data = {name: value.isoformat() if name.endswith("_at") and value else value for name, value in row.items()}
    for name in ("figure", "limit_value"):
        value = row[name]
        data[name] = None if value is None else str(value) if counts else seconds(value)
    data["limit"] = data.pop("limit_value")
    return {**data, "halt_id": row["halt_id"].hex}


def as_table(rows: Sequence[Row], clocks: Sequence[Row]) -> str:
    """One line a halt, under a line of names; then the clocks that are off."""
    lines = [_LISTED, *(_line(row) for row in rows)] if rows else []
    widths = [max(len(line[column]) for line in lines) for column in range(len(_LISTED) * bool(lines))]
    table = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    off = (
        _CLOCK.format(c["venue"], seconds(c["offset_ns"]), c["began_at"], seconds(c["limit_ns"])) for c in clocks
    )
    return "\n".join([*(table or ["no venue is halted"]), *off])


def _line(row: Row) -> tuple[str, ...]:
    resumed = "-"
    if row["resumed_at"] is not None:
        resumed = f"{row['resumed_at']:%F %T} by {row['resumed_by']}: {row['resume_reason']}"
    since = f"{row['halted_at']:%F %T}"
    cells = (row["venue"], row["cause"], since, row["halted_by"], row["reason"], resumed)
    return tuple(" ".join(cell.split()) for cell in cells)


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)
