"""What people at the desk ask for: votes on breaks and replays of dead letters, and the answers to both.

Asked for by rows that persons insert under their own login; answered in the landing transaction, so that an answer
is there exactly when what it speaks of is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db.failures import explained
from ledger.db.rows import read_vote
from ledger.db.sql import load_queries
from ledger.domain.halts import Halt, HaltCause, Resume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from ledger.domain.controls import Answered
    from ledger.domain.verdicts import Vote

_SQL = load_queries("desk")
_REQUESTS_AT_ONCE = 200  # letters are small, and there may be many of them


class VerdictAnswer(msgspec.Struct, frozen=True):
    """A row of ``desk_outcomes``: ``outcome`` is ``applied`` or ``refused``, then ``why`` says so."""

    resolution_id: str
    break_id: str
    votes: tuple[int, ...]
    outcome: str
    why: str | None


class ReplayAnswer(msgspec.Struct, frozen=True):
    """What became of a replay, for the request that asked."""

    request_id: int
    outcome: str


class Answers(msgspec.Struct):
    """Answers that are written with a decision."""

    verdicts: list[VerdictAnswer] = msgspec.field(default_factory=list)
    replays: list[ReplayAnswer] = msgspec.field(default_factory=list)


class ReplayRequest(msgspec.Struct, frozen=True):
    """A person's wish to have a dead letter handed in again."""

    request_id: int
    again: bool
    person: str
    dead_letter_id: str
    source: str
    feed: str
    reason: str
    raw: bytes
    replayed: bool
    replay_outcome: str


class Desk:
    """The open requests, on a connection of its own. Raises ``LedgerUnavailableError`` when Postgres is away."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def open_votes(self) -> dict[str, list[Vote]]:
        """Give the votes that are not answered, by break, in the order in which they were cast."""
        votes: dict[str, list[Vote]] = defaultdict(list)
        for row in await self._fetch("open_votes"):
            vote = read_vote(row)
            votes[vote.break_id].append(vote)
        return votes

    async def open_requests(self) -> list[ReplayRequest]:
        """Give the oldest replay requests that are not done."""
        return [
            ReplayRequest(
                row["request_id"],
                row["again"],
                row["person"],
                row["dead_letter_id"].hex,
                row["source"],
                row["feed"],
                row["reason"],
                row["raw"],
                row["replayed_at"] is not None,
                row["replay_outcome"] or "",
            )
            for row in await self._fetch("open_requests", _REQUESTS_AT_ONCE)
        ]

    async def open_halt_requests(self) -> list[Halt | Resume]:
        """Give the oldest halts and resumes that persons asked for and that are not done."""
        return [_control(row) for row in await self._fetch("open_halt_requests", _REQUESTS_AT_ONCE)]

    async def refuse_halts(self, answers: Sequence[Answered]) -> None:
        """Answer requests to halt or resume that change nothing."""
        await self._fetch("refuse_halts", [a.request_id for a in answers], [a.outcome for a in answers])

    async def skip(self, answers: Sequence[ReplayAnswer]) -> None:
        """Answer requests that change nothing."""
        await self._fetch("skip_requests", [a.request_id for a in answers], [a.outcome for a in answers])

    async def _fetch(self, query: str, *arguments: object) -> list[Mapping[str, Any]]:
        with explained("the desk's requests"):
            found: list[Mapping[str, Any]] = await self._connection.fetch(_SQL[query], *arguments)
        return found


def _control(row: Mapping[str, Any]) -> Halt | Resume:
    said = (row["person"], row["reason"])
    request_id, at_ns = row["request_id"], row["at_ns"]
    if row["action"] == "resume":
        return Resume(row["venue"], at_ns, *said, request_id=request_id)
    return Halt(row["venue"], HaltCause.PERSON, at_ns, at_ns, *said, request_id=request_id)
