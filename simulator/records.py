"""What the journal holds: its tables, and their rows as the rest of the simulator sees them."""

from __future__ import annotations

import msgspec

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    venue TEXT PRIMARY KEY, epoch INTEGER NOT NULL, next_out INTEGER NOT NULL, next_in INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY, correlation_id TEXT NOT NULL, msg_id TEXT NOT NULL UNIQUE, value BLOB NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, venue TEXT NOT NULL, run INTEGER NOT NULL, kind TEXT NOT NULL,
    exec_id TEXT NOT NULL, correlation_id TEXT NOT NULL, msg_id TEXT NOT NULL, side TEXT NOT NULL,
    symbol TEXT NOT NULL, last_qty TEXT NOT NULL, last_px TEXT NOT NULL, transact_time TEXT NOT NULL,
    routed_at TEXT NOT NULL, fault TEXT NOT NULL, payload BLOB NOT NULL,
    framed INTEGER NOT NULL, copies INTEGER NOT NULL DEFAULT 0, UNIQUE (venue, exec_id));
CREATE INDEX IF NOT EXISTS reports_unframed ON reports (id) WHERE framed = 0;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, venue TEXT NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER,
    sent_at INTEGER NOT NULL, fault TEXT NOT NULL, reports TEXT NOT NULL, copies INTEGER NOT NULL DEFAULT 0,
    UNIQUE (venue, epoch, sequence));
-- what venues list over REST: in their own words, whatever their stream speaks
CREATE TABLE IF NOT EXISTS listed (
    id INTEGER PRIMARY KEY, venue TEXT NOT NULL, transact_time TEXT NOT NULL, cl_ord_id TEXT NOT NULL,
    venue_order_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS listed_by_time ON listed (venue, transact_time, id);
CREATE INDEX IF NOT EXISTS messages_undelivered ON messages (venue, id) WHERE copies = 0;
-- kept by the triggers: /books then costs the same after a second and after a day
CREATE TABLE IF NOT EXISTS totals (
    venue TEXT NOT NULL, kind TEXT NOT NULL, made INTEGER NOT NULL, delivered INTEGER NOT NULL,
    extra INTEGER NOT NULL, PRIMARY KEY (venue, kind)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS report_made AFTER INSERT ON reports BEGIN
    INSERT INTO totals VALUES (NEW.venue, NEW.kind, 1, 0, 0)
    ON CONFLICT (venue, kind) DO UPDATE SET made = made + 1;
END;
CREATE TRIGGER IF NOT EXISTS report_delivered AFTER UPDATE OF copies ON reports BEGIN
    UPDATE totals SET delivered = delivered + (NEW.copies > 0) - (OLD.copies > 0),
        extra = extra + max(NEW.copies - 1, 0) - max(OLD.copies - 1, 0)
    WHERE venue = NEW.venue AND kind = NEW.kind;
END;
"""


class ReportRow(msgspec.Struct):
    """A report as the journal keeps it."""

    id: int
    venue: str
    run: int
    kind: str
    exec_id: str
    correlation_id: str
    msg_id: str
    side: str
    symbol: str
    last_qty: str
    last_px: str
    transact_time: str
    routed_at: str
    fault: str
    payload: bytes
    framed: int = 0


class Message(msgspec.Struct):
    """What goes over a wire in one piece: the reports in it, and its place in the venue's sequence."""

    id: int
    venue: str
    epoch: int
    sequence: int | None
    sent_at: int
    fault: str
    reports: tuple[int, ...]
    payloads: tuple[bytes, ...]


class Session(msgspec.Struct):
    """A venue's sequence numbers; ``epoch`` counts the resets."""

    venue: str
    epoch: int = 1
    next_out: int = 1
    next_in: int = 1


class Total(msgspec.Struct, frozen=True):
    """Of one kind of report at one venue: made, delivered at least once, copies beyond the first."""

    made: int = 0
    delivered: int = 0
    extra: int = 0


class Unconfirmed(msgspec.Struct):
    """An application message that the peer has not confirmed."""

    id: int
    reports: tuple[int, ...]
