"""The canonical messages (docs/formats.md): a WebSocket frame, a REST body or one report -> reports and defects.

A report that is wrong costs only itself: each keeps its own bytes, and the good ones beside it are returned.
"""

from __future__ import annotations

from functools import partial

import msgspec

from ledger.domain.errors import DefectError
from streaming.venues.canonical_defects import UNREADABLE, missing, storable, unknown_value
from streaming.venues.canonical_report import decode_report
from streaming.venues.decoded import Decoded
from streaming.venues.json_messages import count, read_all, refused

EXECUTIONS = "executions"
MAX_NAME = 32

_ABSENT = msgspec.Raw(b"")


class _Message(msgspec.Struct, gc=False):
    """What carries reports; a list of ``Raw`` keeps the bytes of each."""

    channel: str | None = None
    data: list[msgspec.Raw] | None = None
    fills: list[msgspec.Raw] | None = None
    type: msgspec.Raw = _ABSENT
    transact_time: msgspec.Raw = _ABSENT

    def is_report(self) -> bool:
        """Whether it is one report, as a dead letter keeps it, and carries none."""
        if self.fills is not None or self.data is not None:
            return False
        return self.transact_time is not _ABSENT or (self.type is not _ABSENT and self.channel is None)


_message_decoder = msgspec.json.Decoder(_Message)


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read a WebSocket frame (``channel``), a REST body (``fills``) or one report. Never raises."""
    del account  # every report of a trade says its own
    decoded = Decoded()
    try:
        _read(venue, raw, decoded)
    except DefectError as error:
        decoded.defects.append((storable(error).defect, raw))
    return decoded


def _read(venue: str, raw: bytes, decoded: Decoded) -> None:
    try:
        message = _message_decoder.decode(raw)
    except UNREADABLE as error:
        raise refused(raw, "message", "a frame or body as docs/formats.md says", error) from None
    channel, report = message.channel, partial(_report, venue)
    if message.fills is not None:
        read_all(decoded, raw, message.fills, report)
    if message.data is not None and channel == EXECUTIONS:
        read_all(decoded, raw, message.data, report)
    elif message.is_report():
        report(raw, decoded)
    elif channel is None:
        if message.fills is None:
            raise missing("channel or fills")
    elif channel == EXECUTIONS:
        raise missing("data")
    elif message.data is not None:
        # a channel we do not know that carries data may carry facts: kept, not skipped
        raise unknown_value("channel", channel, [EXECUTIONS])
    else:
        # it becomes a metric's label, so a venue does not choose it freely
        count(decoded, channel if channel.isidentifier() and len(channel) <= MAX_NAME else "unnamed")


def _report(venue: str, raw: bytes, decoded: Decoded) -> None:
    decoded.reports.append((decode_report(venue, raw), raw))
