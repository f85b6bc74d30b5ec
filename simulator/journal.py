"""What was ever made, in SQLite: the books, and the store that resends are served from.

Written before the wire (``commit`` precedes the send), so a killed simulator neither reuses a sequence nor
forgets a report. ``synchronous=OFF`` keeps that for a killed process; only a power cut may lose the tail.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.records import SCHEMA, Message, ReportRow, Session, Total

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def _ids(joined: str) -> tuple[int, ...]:
    return tuple(map(int, joined.split(",")))


class Journal:
    """The journal of a state directory. Opening it begins a new run."""

    def __init__(self, state_dir: Path, tag: str) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(state_dir / "journal.sqlite", isolation_level=None, check_same_thread=False)
        # one process a journal: the lock is held from here on, a second one fails at once
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "locking_mode=EXCLUSIVE", "busy_timeout=0"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(SCHEMA)
        made_tag = tag or f"{int(time.time()):x}"
        self._db.execute("INSERT OR IGNORE INTO facts VALUES ('tag', ?), ('run', '0')", (made_tag,))
        self._db.execute("UPDATE facts SET value = value + 1 WHERE name = 'run'")
        facts = dict(self._db.execute("SELECT name, value FROM facts"))
        self.run = int(facts["run"])
        self.tag = tag or facts["tag"]
        self.counts: Counter[str] = Counter(dict(self._db.execute("SELECT name, value FROM counts")))
        self._counted = dict(self.counts)
        self._next_report = 1 + (self._value("SELECT max(id) FROM reports") or 0)
        self._next_message = 1 + (self._value("SELECT max(id) FROM messages") or 0)
        self._reports: list[ReportRow] = []
        self._framed: list[tuple[int]] = []
        self._listed: list[tuple[Any, ...]] = []
        self._messages: list[tuple[Any, ...]] = []
        self._intents: list[tuple[str, str, bytes]] = []
        self._sessions: dict[str, Session] = {}
        self._report_copies: list[tuple[int, int]] = []
        self._message_copies: list[tuple[int, int]] = []
        self._acked: list[tuple[str]] = []

    def _value(self, query: str, parameters: tuple[Any, ...] = ()) -> Any:
        return self._db.execute(query, parameters).fetchone()[0]

    def session(self, venue: str) -> Session:
        """Where a venue's sequences stand."""
        row = self._db.execute("SELECT * FROM sessions WHERE venue = ?", (venue,)).fetchone()
        return Session(*row) if row else Session(venue)

    def keep_session(self, session: Session) -> None:
        """Write the sequences with the next commit."""
        self._sessions[session.venue] = session

    def add_report(self, row: ReportRow) -> ReportRow:
        """A report that was made; it gets its id here."""
        row.id, self._next_report = self._next_report, self._next_report + 1
        self._reports.append(row)
        return row

    def add_listed(self, row: ReportRow, venue_order_id: str, body: bytes) -> None:
        """A report as its venue's list has it."""
        self._listed.append((row.id, row.venue, row.transact_time, row.msg_id, venue_order_id, body))

    def withhold(self, row: ReportRow) -> None:
        """A report that never goes out: a later run does not take it up."""
        row.framed = 1
        self._framed.append((row.id,))
        self.counts[f"withheld/{row.venue}"] += 1

    def listed(
        self,
        venue: str,
        between: tuple[str, str],
        after: tuple[str, int],
        limit: int,
        names: tuple[list[str], list[str]],
    ) -> list[tuple[int, str, bytes]]:
        """Id, time and body of a venue's reports, by time; of some orders only where there are names."""
        self.commit()
        orders = [msgspec.json.encode(some).decode() for some in names]
        query = (
            "SELECT id, transact_time, body FROM listed"
            " WHERE venue = ? AND transact_time >= ? AND transact_time < ? AND (transact_time, id) > (?, ?)"
            " AND (? OR cl_ord_id IN (SELECT value FROM json_each(?))"
            " OR venue_order_id IN (SELECT value FROM json_each(?)))"
            " ORDER BY transact_time, id LIMIT ?"
        )
        asked = (venue, *between, *after, not any(names), *orders, limit)
        return self._db.execute(query, asked).fetchall()

    def add_intent(self, correlation_id: str, msg_id: str, value: bytes) -> None:
        """An intent that is to be produced."""
        self._intents.append((correlation_id, msg_id, value))

    def intent_acked(self, msg_id: str) -> None:
        """The broker has it."""
        self._acked.append((msg_id,))

    def add_message(
        self, session: Session, sequence: int | None, fault: str, rows: Iterable[ReportRow]
    ) -> Message:
        """A message with these reports."""
        rows = list(rows)
        message = Message(
            id=self._next_message,
            venue=session.venue,
            epoch=session.epoch,
            sequence=sequence,
            sent_at=time.time_ns(),
            fault=fault,
            reports=tuple(row.id for row in rows),
            payloads=tuple(row.payload for row in rows),
        )
        self._next_message += 1
        joined = ",".join(map(str, message.reports))
        head = (message.id, message.venue, message.epoch, sequence, message.sent_at, fault)
        self._messages.append((*head, joined))
        for row in rows:
            if not row.framed:
                row.framed = 1
                self._framed.append((row.id,))
        return message

    def renumber(self, session: Session, message_id: int, sequence: int) -> None:
        """Move an undelivered message into a session that was reset."""
        self.commit()
        self._db.execute(
            "UPDATE messages SET epoch = ?, sequence = ? WHERE id = ?", (session.epoch, sequence, message_id)
        )

    def delivered(self, message_id: int, reports: Iterable[int], copies: int = 1) -> None:
        """The peer has taken the message (once more)."""
        self._message_copies.append((copies, message_id))
        self._report_copies.extend((copies, report) for report in reports)

    def commit(self) -> None:
        """Write what came since the last commit."""
        counted = dict(self.counts)
        if not (
            self._reports
            or self._messages
            or self._intents
            or self._sessions
            or self._message_copies
            or self._acked
            or counted != self._counted
        ):
            return
        db = self._db
        db.execute("BEGIN")
        rows = [msgspec.structs.astuple(row) for row in self._reports]
        db.executemany("INSERT INTO reports VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,0)", rows)
        first = self._reports[0].id if self._reports else self._next_report
        later = [(report,) for (report,) in self._framed if report < first]  # inserted by an earlier commit
        db.executemany("UPDATE reports SET framed = 1 WHERE id = ?", later)
        db.executemany("INSERT INTO listed VALUES (?,?,?,?,?,?)", self._listed)
        self._listed.clear()
        db.executemany("INSERT INTO messages VALUES (?,?,?,?,?,?,?,0)", self._messages)
        db.executemany("INSERT INTO intents (correlation_id, msg_id, value) VALUES (?,?,?)", self._intents)
        db.executemany("UPDATE reports SET copies = copies + ? WHERE id = ?", self._report_copies)
        db.executemany("UPDATE messages SET copies = copies + ? WHERE id = ?", self._message_copies)
        db.executemany("UPDATE intents SET acked = 1 WHERE msg_id = ?", self._acked)
        sessions = [msgspec.structs.astuple(session) for session in self._sessions.values()]
        db.executemany("INSERT OR REPLACE INTO sessions VALUES (?,?,?,?)", sessions)
        if counted != self._counted:
            db.executemany("INSERT OR REPLACE INTO counts VALUES (?,?)", counted.items())
            self._counted = counted
        db.execute("COMMIT")
        for buffer in (self._reports, self._framed, self._messages, self._intents, self._sessions):
            buffer.clear()
        for buffer in (self._report_copies, self._message_copies, self._acked):
            buffer.clear()

    def messages(self, session: Session, first: int, last: int) -> list[Message]:
        """The messages of a venue's sequence, both ends included."""
        query = (
            "SELECT * FROM messages WHERE venue = ? AND epoch = ? AND sequence BETWEEN ? AND ? ORDER BY sequence"
        )
        return list(self._loaded(query, (session.venue, session.epoch, first, last)))

    def message(self, message_id: int) -> Message:
        """One message."""
        return next(self._loaded("SELECT * FROM messages WHERE id = ?", (message_id,)))

    def _loaded(self, query: str, parameters: tuple[Any, ...]) -> Iterator[Message]:
        self.commit()
        rows = self._db.execute(query, parameters).fetchall()
        wanted = {report for row in rows for report in _ids(row[6])}
        of_these = "SELECT id, payload FROM reports WHERE id IN (SELECT value FROM json_each(?))"
        payloads = dict(self._db.execute(of_these, (str(list(wanted)),)))
        for message_id, venue, epoch, sequence, sent_at, fault, joined, _ in rows:
            reports = _ids(joined)
            contents = tuple(payloads[one] for one in reports)
            yield Message(message_id, venue, epoch, sequence, sent_at, fault, reports, contents)

    def undelivered(self, venue: str) -> list[tuple[int, int | None, str, tuple[int, ...]]]:
        """Id, sequence, fault and reports of every message that an earlier run could not deliver."""
        query = "SELECT id, sequence, fault, reports FROM messages WHERE venue = ? AND copies = 0 ORDER BY id"
        return [(*row[:3], _ids(row[3])) for row in self._db.execute(query, (venue,))]

    def unframed(self) -> list[ReportRow]:
        """Reports that an earlier run made and was killed before sending."""
        query = "SELECT * FROM reports WHERE framed = 0 ORDER BY id"
        return [ReportRow(*row[:16]) for row in self._db.execute(query)]

    def unacked_intents(self) -> list[tuple[str, str, bytes]]:
        """Correlation id, msg_id and value of intents that no broker has acknowledged."""
        query = "SELECT correlation_id, msg_id, value FROM intents WHERE acked = 0 ORDER BY id"
        return self._db.execute(query).fetchall()

    def totals(self) -> dict[tuple[str, str], Total]:
        """By venue and kind of report."""
        self.commit()
        return {(row[0], row[1]): Total(*row[2:]) for row in self._db.execute("SELECT * FROM totals")}

    def intents(self) -> int:
        """How many distinct intents were made."""
        self.commit()
        return int(self._value("SELECT max(id) FROM intents") or 0)

    def fills(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Distinct fills in the order in which they were made."""
        self.commit()
        cursor = self._db.execute(
            "SELECT id AS rowid, venue, exec_id, correlation_id, msg_id, side, symbol, last_qty, last_px,"
            " transact_time, routed_at, copies FROM reports WHERE kind = 'fill' AND id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        """Write the rest and let go of the file."""
        self.commit()
        self._db.close()
