"""Who opened, held or rotated archives, and why: a signed receipt in the store, and an audit event.

The receipt is locked in the store before anything is given out. Its event goes into Postgres at once where that
can be reached, and then the person is whom Postgres has let in: nobody writes an access in another's name. Else
the receipt is ``pending`` in its name, says whom somebody claimed to be, and Dagster hands it in later.
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
from execution_assets.archives.ledger import connect
from execution_assets.archives.manifest import ACCESSES
from execution_assets.archives.records import SQL
from execution_assets.archives.settings import DEFAULT_YEARS
from trust.errors import NoteError, UnreadableError
from trust.notes import open_note, sign_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import ArchivedObject

TITLE = "execution-agent/archive-receipt/v1"
PULLED, QUERIED, ROTATED = "archive_pulled", "archive_queried", "archive_keys_rotated"
HOLD_PLACED, HOLD_LIFTED, DROPPED = "archive_hold_placed", "archive_hold_lifted", "archive_partition_dropped"
LOGIN, CLAIM = "login", "claim"
_PENDING = ".pending.note"
_CONNECT_SECONDS = 5
_HAND_IN_DAYS = 400


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who did what to which objects, when and why.

    ``ledger``: whether Postgres has the event, or why not. ``known_by``: ``login`` where Postgres has let the
    person in, ``claim`` where it could not be asked. ``account``: the account and machine that it ran on.
    """

    event_id: str
    event: str
    person: str
    at: datetime
    reason: str
    asked: dict[str, str]
    objects: tuple[dict[str, str], ...]
    ledger: str
    outputs: tuple[dict[str, str], ...] = ()
    known_by: str = CLAIM
    account: str = ""

    @property
    def detail(self) -> dict[str, str]:
        """What the audit event says."""
        return {
            "person": self.person, "account": self.account, "reason": self.reason, "at": self.at.isoformat(),
            **self.asked, "objects": str(len(self.objects)),
        }  # fmt: skip


def receipt_of(event: str, reason: str, asked: dict[str, str], objects: Sequence[ArchivedObject]) -> Receipt:
    """Make a receipt of now, of nobody yet. Raises ``ArchiveError`` without a reason."""
    if not reason.strip():
        raise ArchiveError("--reason: say why, it goes into the audit trail")
    named = tuple({"key": o.key, "version": o.version, "sha256": o.sha256} for o in objects)
    account = f"{getpass.getuser()}@{socket.gethostname()}"
    now = datetime.now(UTC)
    return Receipt(uuid.uuid4().hex, event, "", now, reason, asked, named, "recorded", account=account)


def record_access(
    library: Library,
    url: str | None,
    event: str,
    reason: str,
    asked: dict[str, str],
    objects: Sequence[ArchivedObject],
    claimed: str | None = None,
) -> Receipt:
    """Record an access before it happens; give its receipt. ``claimed`` counts only while Postgres is away.

    Raises ``ArchiveError`` without a reason, where Postgres refuses the login, and where nobody is named while it
    is away; ``TrustError`` where it can be written down nowhere that lasts.
    """
    receipt = receipt_of(event, reason, asked, objects)
    try:
        with _connected(url) as connection:
            receipt = tell(connection, receipt)
    except psycopg.OperationalError as error:
        if not claimed:
            raise ArchiveError(f"Postgres cannot be asked who you are: {_line(error)}") from error
        receipt = msgspec.structs.replace(receipt, person=claimed, ledger=f"pending: {_line(error)}")
    except psycopg.Error as error:
        raise ArchiveError(f"Postgres does not record that access, so it is none: {_line(error)}") from error
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


def hand_in(
    library: Library, url: str, now: datetime | None = None, log: Callable[[str], None] = lambda _: None
) -> int:
    """Give Postgres the events that it has missed; give how many these were. Raises ``psycopg.Error``.

    What no known key has signed is no receipt: it is told to ``log``, and holds up no other.
    """
    since = f"{(now or datetime.now(UTC)) - timedelta(days=_HAND_IN_DAYS):%Y-%m-%d}"
    waiting = [
        (key, version)
        for key, version, _ in library.store.versions(f"{ACCESSES}/")
        if key.endswith(_PENDING) and key.split("/")[1] >= since
    ]
    receipts = []
    for key, version in waiting:
        try:
            receipts.append(read_receipt(library.given(key, version), library))
        except (NoteError, ArchiveError, UnreadableError) as error:
            log(f"{key} version {version} is not handed in: {error}")
    if not receipts:
        return 0
    with _connected(url) as connection:
        return sum(_write(connection, "hand_in", receipt) for receipt in receipts)


def _connected(url: str | None) -> psycopg.Connection[Any]:
    if url is None:
        raise psycopg.OperationalError("no ledger is named")
    return connect(url, _CONNECT_SECONDS)


def tell(connection: psycopg.Connection[Any], receipt: Receipt) -> Receipt:
    """Record an access and its audit event in the connection's transaction; give the receipt with its person."""
    row = connection.execute(SQL["login"].encode()).fetchone()
    assert row is not None, "whoever is connected is a role"
    known = msgspec.structs.replace(receipt, person=str(row[0]), known_by=LOGIN)
    _write(connection, "access", known)
    return known


def _write(connection: psycopg.Connection[Any], query: str, receipt: Receipt) -> bool:
    """Whether it was new: the functions take an event id once."""
    detail = msgspec.json.encode(receipt.detail).decode()
    asked = {"event_id": uuid.UUID(receipt.event_id), "event": receipt.event, "detail": detail}
    row = connection.execute(SQL[query].encode(), asked).fetchone()
    return bool(row is not None and row[0])


def _line(error: psycopg.Error) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
