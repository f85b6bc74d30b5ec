"""The bytes of an audit event that are a leaf of the tree: every column of the row, so that none can change.

``audit_event/1`` and a newline, then big-endian: position (8 bytes), recorded_on (4, days since 1970-01-01),
xid (8), event_id (16), and event_type, key, recorded_by and body, each behind its length in bytes (4). Texts are
UTF-8. ``leaves`` in ``sql/audit_log.sql`` makes the same.
"""

from __future__ import annotations

from datetime import date
from struct import Struct

import msgspec

_HEAD = b"audit_event/1\n"
_FIXED = Struct(">qiQ16s")
_LENGTH = Struct(">I")
_EPOCH = date(1970, 1, 1).toordinal()


class AuditRow(msgspec.Struct, frozen=True):
    """A row of ``audit_events``, all of it."""

    position: int
    recorded_on: date
    xid: int
    event_id: bytes
    event_type: str
    key: str
    recorded_by: str
    body: bytes

    def entry(self) -> bytes:
        """Give the entry of the log."""
        days = self.recorded_on.toordinal() - _EPOCH
        texts = (self.event_type.encode(), self.key.encode(), self.recorded_by.encode(), self.body)
        fixed = _FIXED.pack(self.position, days, self.xid, self.event_id)
        return b"".join((_HEAD, fixed, *(part for text in texts for part in (_LENGTH.pack(len(text)), text))))


def read_entry(entry: bytes) -> AuditRow:
    """Read an entry. Raises ``ValueError`` for what is none."""
    if not entry.startswith(_HEAD):
        raise ValueError("an entry of the audit log begins with audit_event/1")
    place = len(_HEAD) + _FIXED.size
    if len(entry) < place:
        raise ValueError("the entry is cut off")
    position, days, xid, event_id = _FIXED.unpack_from(entry, len(_HEAD))
    parts = []
    for _ in range(4):
        if len(entry) < place + _LENGTH.size:
            raise ValueError("the entry is cut off")
        (length,) = _LENGTH.unpack_from(entry, place)
        place += _LENGTH.size
        parts.append(entry[place : place + length])
        place += length
    if place != len(entry):
        raise ValueError("the entry is cut off, or has more than its parts")
    event_type, key, recorded_by, body = parts
    on = date.fromordinal(days + _EPOCH)
    return AuditRow(position, on, xid, event_id, event_type.decode(), key.decode(), recorded_by.decode(), body)
