"""Breaks in the ledger: read, voted on and noted on under the login of whoever asks."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ledger.db.rows import read_vote
from ledger.db.sql import load_queries
from ledger.domain.records import BreakKind, Resolution, Verdict
from ledger.domain.verdicts import Vote, agreed
from operations.breaks.possible import never_applies

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

_SQL = load_queries("breaks")
_CONNECT_SECONDS = 5
_PREFIX = re.compile(r"[0-9a-f]{4,32}")
_NOT_A_PERSON, _NOT_OPEN, _CHANGED = "EA002", "EA003", "EA004"
_TOLD = ("fill", "bust", "correct")


class BreakError(Exception):
    """What was asked for is refused or not there; the message says why and what to do."""


class Filters(msgspec.Struct, frozen=True):
    """Which breaks to list; None is any. ``seconds``: open at least for so long."""

    ended: bool = False
    venue: str | None = None
    kind: str | None = None
    owner: str | None = None
    seconds: float | None = None


class Voted(msgspec.Struct, frozen=True):
    """A vote that was cast, and the resolution that it makes with an earlier one."""

    person: str
    resolution: Resolution | None
    others: tuple[Vote, ...]


class Desk:
    """One person's (or program's) look at the breaks. Raises ``psycopg.Error`` beside what it says."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def listed(self, filters: Filters) -> list[Row]:
        """Give breaks, the oldest first."""
        return self._fetch("listed", **_filtered(filters), prefix=None)

    def one(self, prefix: str) -> Row:
        """Give the break whose id begins with ``prefix``. Raises ``BreakError`` where none or several do."""
        wanted = prefix.lower().replace("-", "")
        if not _PREFIX.fullmatch(wanted):
            raise BreakError(f"ID {prefix!r}: at least 4 of its 32 hex digits are required")
        found = self._fetch("listed", **_filtered(Filters(ended=True)), prefix=wanted)
        if not found:
            raise BreakError(f"there is no break {prefix}")
        if len(found) > 1:
            ids = ", ".join(row["break_id"].hex for row in found[:5])
            raise BreakError(f"ID {prefix} is the beginning of {len(found)} breaks: {ids}")
        return found[0]

    def evidence(self, found: Row) -> Row:
        """Give everything there is about a break: the order, its reports, votes, notes."""
        order = {"correlation_id": found["correlation_id"]}
        executions = self._fetch("executions", **order)
        report_ids = {row["report_id"] for row in self._fetch("pending_reports", **order)}
        for row in executions:
            report_ids.update((row["execution_id"], *row["chain"]))
        if found["report_id"] is not None:
            report_ids.add(found["report_id"])
        return {
            "intents": self._fetch("orders", **order),
            "state": next(iter(self._fetch("state", **order)), None),
            "executions": executions,
            "reports": self._fetch("reports", report_ids=list(report_ids)),
            "votes": self._fetch("votes", break_id=found["break_id"]),
            "notes": self._fetch("notes", break_id=found["break_id"]),
        }

    def vote(self, found: Row, verdict: Verdict, reason: str) -> Voted:
        """Cast the logged-in person's vote on a break as ``found`` shows it. Raises ``BreakError``."""
        never = never_applies(BreakKind(found["kind"]), verdict)
        if never is not None and found["ended_at"] is None:
            raise BreakError(f"refused: {never}")
        with _explained():
            (cast,) = self._fetch(
                "vote",
                break_id=found["break_id"],
                verdict=verdict.value,
                reason=reason,
                ours=found["ours"],
                theirs=found["theirs"],
            )
        opened_ns = int(found["opened_at"].timestamp() * 1_000_000) * 1_000
        votes = [
            read_vote(row)
            for row in self._fetch("votes", break_id=found["break_id"])
            if row["at_ns"] >= opened_ns and (row["used"] is None or cast["vote_id"] in row["used"])
        ]
        mine = [vote for vote in votes if vote.vote_id <= cast["vote_id"]]
        others = {v.person: v for v in mine if v.person != cast["person"]}
        return Voted(cast["person"], agreed(mine), tuple(others.values()))

    def note(self, found: Row, kind: str, text: str) -> str:
        """Add a note or an owner; give who did. Raises ``BreakError``."""
        with _explained():
            (noted,) = self._fetch("note", break_id=found["break_id"], kind=kind, note=text)
        return str(noted["person"])

    def outcome(self, resolution: Resolution) -> Row | None:
        """Give what a resolution came to, or None while it has not landed."""
        return next(iter(self._fetch("outcome", resolution_id=resolution.resolution_id)), None)

    def consequences(self, resolution: Resolution, outcome: Row) -> Row:
        """Give what an applied resolution changed: what was voided, what was told, what is still open."""
        order = {"correlation_id": resolution.correlation_id}
        landed = next(iter(self._fetch("resolution", resolution_id=resolution.resolution_id)), None)
        voids = [(report_id, content) for report_id, content in (landed or {}).get("voids") or ()]
        told = [
            msgspec.json.decode(bytes(row["body"]))
            for row in self._fetch("events_of", xid=outcome["xid"], **order)
            if row["event_type"] in _TOLD
        ]
        report_ids = [report_id for report_id, _ in voids]
        return {
            "voided": self._fetch("executions_of", execution_ids=sorted(set(report_ids))),
            "wordings": self._fetch("wordings", report_ids=report_ids, contents=[content for _, content in voids]),
            "told": told,
            "open": self._fetch("others_open", break_id=resolution.break_id, **order)[0],
        }

    def is_written(self, writer: str) -> bool:
        """Whether a process holds the writer's lease."""
        return bool(self._fetch("is_written", writer=writer)[0]["held"])

    def _fetch(self, query: str, **arguments: object) -> list[Row]:
        return self._connection.execute(_SQL[query].encode(), arguments).fetchall()


@contextmanager
def opened(url: str) -> Iterator[Desk]:
    """Open a desk; every statement is a transaction of its own. Raises ``psycopg.Error``."""
    with psycopg.connect(
        url, connect_timeout=_CONNECT_SECONDS, autocommit=True, row_factory=dict_row
    ) as connection:
        yield Desk(connection)


def may_write(url: str) -> bool:
    """Whether this login may land facts. Raises ``psycopg.Error``."""
    with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS, row_factory=dict_row) as connection:
        found: Row | None = connection.execute(_SQL["may_write"].encode()).fetchone()
    return found is not None and bool(found["allowed"])


def _filtered(filters: Filters) -> Row:
    return {
        "all": filters.ended,
        "venue": filters.venue,
        "kind": filters.kind,
        "owner": filters.owner,
        "seconds": filters.seconds,
    }


@contextmanager
def _explained() -> Iterator[None]:
    """Raise what the database refuses as what a person can act on."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise BreakError(
            f"this login may not do that ({_said(error)}): log in as yourself with --url, as a member of "
            "execution_operator; execution-agent people add NAME makes such a login"
        ) from None
    except psycopg.errors.CheckViolation:
        raise BreakError("a text of 1 to 2,000 characters is required, and not blanks alone") from None
    except psycopg.Error as error:
        if error.sqlstate == _NOT_A_PERSON:
            raise BreakError(
                f"{_said(error)}: log in as yourself with --url or EXECUTION_AGENT_POSTGRES_URL; "
                "execution-agent people add NAME makes a login"
            ) from None
        if error.sqlstate == _NOT_OPEN:
            raise BreakError(
                "the break is not open any more: execution-agent breaks show has how it ended"
            ) from None
        if error.sqlstate == _CHANGED:
            raise BreakError(f"{_said(error)}: look at it again, and vote on that") from None
        raise


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)
