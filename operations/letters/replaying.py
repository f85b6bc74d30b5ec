"""Handing dead letters in again: asked for by rows, done by the writer, or tried without writing anything."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ledger.db.sql import load_queries
from ledger.domain.numbers import text
from ledger.domain.records import Captured, CapturedOrder, DeadLetter, OrderIntent, Snapshot
from operations.applying import wait_until
from streaming.answers import DEAD, DUPLICATE, PENDING
from streaming.arrivals import Arrival, ArrivalKind, Replay
from streaming.decoding import decode_arrival
from streaming.feeds.desk import kind_of, refusal_of
from streaming.policy import decoders_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.domain.decide import Fact
    from streaming.settings import Settings
    from streaming.venues.decoded import Decoder

Row = dict[str, Any]

_SQL = load_queries("dead_letters")
_CONNECT_SECONDS = 5
WOULD_LAND = "would land"
NOT_DONE = "recorded: it is handed in as soon as a streaming process holds the lease"
_FAILED = (DEAD, "refused")


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters: by the beginnings of their ids, or by what they are; None is any."""

    ids: tuple[str, ...] | None = None
    venue: str | None = None
    reason: str | None = None
    seconds: float | None = None
    limit: int = 1000


class Replayed(msgspec.Struct, frozen=True):
    """What became of one dead letter, or would."""

    dead_letter_id: str
    outcome: str

    @property
    def has_failed(self) -> bool:
        """Whether it is no fact still."""
        return any(word in self.outcome for word in _FAILED)


def select(url: str, selection: Selection) -> list[Row]:
    """Give the dead letters, the oldest first. Raises ``psycopg.Error``."""
    since_ns = None if selection.seconds is None else time.time_ns() - int(selection.seconds * 1e9)
    arguments = {
        "ids": None if selection.ids is None else [i.lower().replace("-", "") for i in selection.ids],
        "venue": selection.venue,
        "reason": selection.reason,
        "since_ns": since_ns,
        "limit": selection.limit,
    }
    with _connected(url) as connection:
        return connection.execute(_SQL["selected"].encode(), arguments).fetchall()


def replay(
    url: str, letters: Sequence[Row], settings: Settings | None, *, again: bool, seconds: float
) -> list[Replayed]:
    """Ask for the replay of letters and wait for what becomes of them.

    Raises ``LedgerError``, ``StreamingError`` and ``psycopg.Error``.
    """
    ids = [letter["dead_letter_id"] for letter in letters]
    with _connected(url) as connection:
        asked = connection.execute(_SQL["request"].encode(), {"ids": ids, "again": again}).fetchall()
        numbers = [row["request_id"] for row in asked]

        def outcomes() -> dict[str, str]:
            rows = connection.execute(_SQL["outcomes"].encode(), {"request_ids": numbers}).fetchall()
            return {row["dead_letter_id"]: row["outcome"] for row in rows}

        wait_until(lambda: len(outcomes()) == len(ids), settings, seconds)
        found = outcomes()
    return [Replayed(letter_id, found.get(letter_id, NOT_DONE)) for letter_id in ids]


def try_out(url: str, letters: Sequence[Row], settings: Settings, *, again: bool) -> list[Replayed]:
    """Say what a replay would do: decode, and look whether it is known. Writes nothing.

    Raises ``psycopg.Error``.
    """
    decoders = decoders_of(settings)
    with _connected(url) as connection:
        return [
            Replayed(letter["dead_letter_id"], _trial(connection, letter, settings, decoders, again=again))
            for letter in letters
        ]


def _trial(
    connection: psycopg.Connection[Row],
    letter: Row,
    settings: Settings,
    decoders: Mapping[str, Decoder],
    *,
    again: bool,
) -> str:
    source = letter["source"]
    kind = kind_of(source, settings.venues)
    refusal = refusal_of(source, letter["reason"], letter["replay_outcome"], settings.venues, again=again)
    if kind is None or refusal is not None:
        return refusal or ""
    venue = source if kind is ArrivalKind.REPORT else None
    arrival = Arrival(
        letter["feed"],
        venue,
        kind,
        bytes(letter["raw"]),
        time.time_ns(),
        replay=Replay(letter["dead_letter_id"], (), ""),
    )
    facts = decode_arrival(arrival, decoders).facts
    return "; ".join(_foreseen(connection, fact) for fact in facts) or f"{WOULD_LAND}: nothing concerns an order"


def _foreseen(connection: psycopg.Connection[Row], fact: Fact) -> str:
    if isinstance(fact, DeadLetter):
        defect = fact.defect
        return f"{DEAD}: {defect.reason}: {defect.field} {defect.rule}"
    named: dict[str, str | None] = dict.fromkeys(("report_id", "content", "venue", "msg_id", "snapshot_id"))
    said = ""
    if isinstance(fact, Captured):
        r = fact.report
        named |= {"report_id": r.report_id, "content": r.content}
        said = f"{r.kind} {r.exec_id}: {r.side} {text(r.last_qty)} {r.symbol} @ {text(r.last_px)}"
    elif isinstance(fact, CapturedOrder):
        named |= {"report_id": fact.report.report_id}
        said = f"{fact.report.exec_type} of {fact.report.cl_ord_id or fact.report.venue_order_id}"
    elif isinstance(fact, OrderIntent):
        named |= {"venue": fact.venue, "msg_id": fact.msg_id}
        said = f"{fact.action} {fact.msg_id} of {fact.correlation_id}"
    elif isinstance(fact, Snapshot):
        named |= {"snapshot_id": fact.snapshot_id}
        said = f"snapshot {fact.snapshot_id}"
    (stands,) = connection.execute(_SQL["is_known"].encode(), named).fetchall()
    outcome = PENDING if stands["waits"] else DUPLICATE if stands["known"] else WOULD_LAND
    return f"{outcome}: {said}"


def _connected(url: str) -> psycopg.Connection[Row]:
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS, "autocommit": True}
    return psycopg.connect(url, row_factory=dict_row, **options)
