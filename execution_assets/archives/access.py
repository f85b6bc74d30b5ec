"""Who opened, held or rotated archives, and why: a signed receipt in the store, and an audit event.

The receipt is locked in the store before anything is given out. Its event goes into Postgres at once where that
can be reached; else the receipt is ``pending`` in its name, and whoever reaches Postgres next hands it in.
"""

from __future__ import annotations

import getpass
import socket
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.manifest import ACCESSES
from execution_assets.archives.records import SQL
from execution_assets.archives.settings import DEFAULT_YEARS
from trust.notes import open_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject

TITLE = "execution-agent/archive-receipt/v1"
PULLED, QUERIED, ROTATED = "archive_pulled", "archive_queried", "archive_keys_rotated"
HOLD_PLACED, HOLD_LIFTED, DROPPED = "archive_hold_placed", "archive_hold_lifted", "archive_partition_dropped"
_PENDING = ".pending.note"
_CONNECT_SECONDS = 5
_HAND_IN_DAYS = 400


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who did what to which objects, when and why. ``ledger``: whether Postgres has the event, or why not."""

    event_id: str
    event: str
    person: str
    at: datetime
    reason: str
    asked: dict[str, str]
    objects: tuple[dict[str, str], ...]
    ledger: str
    outputs: tuple[dict[str, str], ...] = ()

    @property
    def detail(self) -> dict[str, str]:
        """What the audit event says."""
        return {
            "person": self.person, "reason": self.reason, "at": self.at.isoformat(), **self.asked,
            "objects": str(len(self.objects)),
        }  # fmt: skip


def who(person: str | None = None) -> str:
    """Name the person: as given, and always the account and machine that this runs on."""
    here = f"{getpass.getuser()}@{socket.gethostname()}"
    return here if person is None else f"{person} ({here})"


def receipt_of(
    event: str, reason: str, asked: dict[str, str], objects: Sequence[ArchivedObject], person: str | None
) -> Receipt:
    """Make a receipt of now. Raises ``ArchiveError`` without a reason."""
    if not reason.strip():
        raise ArchiveError("--reason: say why, it goes into the audit trail")
    named = tuple({"key": o.key, "version": o.version, "sha256": o.sha256} for o in objects)
    return Receipt(uuid.uuid4().hex, event, who(person), datetime.now(UTC), reason, asked, named, "recorded")


def record_access(
    library: Library,
    url: str | None,
    event: str,
    reason: str,
    asked: dict[str, str],
    objects: Sequence[ArchivedObject],
    person: str | None = None,
) -> Receipt:
    """Record an access before it happens; give its receipt.

    Raises ``ArchiveError`` without a reason, ``TrustError`` where it can be written down nowhere that lasts.
    """
    receipt = receipt_of(event, reason, asked, objects, person)
    try:
        _hand_in(url, [receipt])
    except psycopg.Error as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        receipt = msgspec.structs.replace(receipt, ledger=f"pending: {line}")
    keep(library, receipt)
    return receipt


def complete(library: Library, receipt: Receipt, outputs: Sequence[dict[str, str]]) -> bytes:
    """Add what was given out: lock the whole receipt in the store, beside the first, and give its note."""
    note = write_receipt(msgspec.structs.replace(receipt, outputs=tuple(outputs)), library)
    key = f"{ACCESSES}/{receipt.at:%Y-%m-%d}/{receipt.event_id}.given.note"
    library.store.put(key, note, receipt.at + timedelta(days=366 * DEFAULT_YEARS))
    return note


def keep(library: Library, receipt: Receipt) -> None:
    """Lock a receipt in the store."""
    pending = receipt.ledger != "recorded"
    key = f"{ACCESSES}/{receipt.at:%Y-%m-%d}/{receipt.event_id}{_PENDING if pending else '.note'}"
    until = receipt.at + timedelta(days=366 * DEFAULT_YEARS)
    library.store.put(key, write_receipt(receipt, library), until)


def write_receipt(receipt: Receipt, library: Library) -> bytes:
    """Give the signed note."""
    return sign_note(f"{TITLE}\n{msgspec.json.encode(receipt).decode()}\n", [library.signer]).encode()


def read_receipt(note: bytes, library: Library) -> Receipt:
    """Read a receipt. Raises ``NoteError`` where no known key has signed it, ``ArchiveError`` where it is none."""
    title, _, content = open_note(note.decode("utf-8", "replace"), library.verifiers).partition("\n")
    if title != TITLE:
        raise ArchiveError(f"a receipt has {TITLE} in its first line, was {title!r}")
    try:
        return msgspec.json.decode(content, type=Receipt)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"the receipt cannot be read: {error}") from error


def hand_in(library: Library, url: str, now: datetime | None = None) -> int:
    """Give Postgres the events that it has missed; give how many these were. Raises ``psycopg.Error``."""
    since = f"{(now or datetime.now(UTC)) - timedelta(days=_HAND_IN_DAYS):%Y-%m-%d}"
    waiting = [
        (key, version)
        for key, version, _ in library.store.versions(f"{ACCESSES}/")
        if key.endswith(_PENDING) and key.split("/")[1] >= since
    ]
    return _hand_in(url, [read_receipt(library.store.get(*found), library) for found in waiting]) if waiting else 0


def _hand_in(url: str | None, receipts: Sequence[Receipt]) -> int:
    """Record events that are not recorded yet: the function takes an id once."""
    if url is None:
        raise psycopg.OperationalError("no ledger is named")
    with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
        return sum(tell(connection, receipt) for receipt in receipts)


def tell(connection: psycopg.Connection[Any], receipt: Receipt) -> bool:
    """Record an access and its audit event in the connection's transaction; give whether it was new."""
    detail = msgspec.json.encode(receipt.detail).decode()
    asked = {"event_id": uuid.UUID(receipt.event_id), "event": receipt.event, "detail": detail}
    row = connection.execute(SQL["access"].encode(), asked).fetchone()
    return bool(row is not None and row[0])
