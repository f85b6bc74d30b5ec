"""The canonical messages (docs/formats.md): a WebSocket frame or a REST body -> reports and defects.

A report that is wrong costs only itself: each keeps its own bytes, and the good ones beside it are returned.
"""

from __future__ import annotations

import msgspec

from ledger.domain.errors import DefectError, defect_error
from streaming.venues.canonical_defects import (
    RESEND,
    UNREADABLE,
    missing,
    shown,
    storable,
    unknown_value,
    unreadable,
)
from streaming.venues.canonical_report import decode_report
from streaming.venues.decoded import Decoded

__all__ = ["EXECUTIONS", "MAX_DEFECTS", "decode", "decode_body", "decode_frame", "decode_report"]

EXECUTIONS = "executions"
MAX_NAME = 32
MAX_DEFECTS = 1000  # a body of `1,1,1,…` would make half a million dead letters: the rest becomes one


class _Message(msgspec.Struct):
    """What carries reports; a list of ``Raw`` keeps the bytes of each."""

    channel: str | None = None
    data: list[msgspec.Raw] | None = None
    fills: list[msgspec.Raw] | None = None


_message_decoder = msgspec.json.Decoder(_Message)
_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read a WebSocket frame (``channel``) or a REST body (``fills``). Never raises."""
    del account  # every report says its own
    decoded = Decoded()
    try:
        message = _message_decoder.decode(raw)
    except UNREADABLE as refusal:
        decoded.defects.append((storable(_message_defect(raw, refusal)).defect, raw))
        return decoded
    if message.fills is not None:
        _decode_reports(venue, message.fills, raw, decoded)
    if message.channel is None:
        if message.fills is None:
            decoded.defects.append((missing("channel or fills").defect, raw))
    elif message.data is None and message.channel != EXECUTIONS:
        # it becomes a metric's label, so a venue does not choose it freely
        name = (
            message.channel if message.channel.isidentifier() and len(message.channel) <= MAX_NAME else "unnamed"
        )
        decoded.others[name] = decoded.others.get(name, 0) + 1
    elif message.data is None:
        decoded.defects.append((missing("data").defect, raw))
    elif message.channel != EXECUTIONS:
        # a channel we do not know that carries data may carry facts: kept, not skipped
        error = storable(unknown_value("channel", message.channel, [EXECUTIONS]))
        decoded.defects.append((error.defect, raw))
    else:
        _decode_reports(venue, message.data, raw, decoded)
    return decoded


def decode_frame(venue: str, raw: bytes) -> Decoded:
    """Read a WebSocket frame; one without ``channel`` is a defect. Never raises."""
    return _decode_only("channel", venue, raw)


def decode_body(venue: str, raw: bytes) -> Decoded:
    """Read a REST body; one without ``fills`` is a defect. Never raises."""
    return _decode_only("fills", venue, raw)


def _decode_only(name: str, venue: str, raw: bytes) -> Decoded:
    try:
        present = getattr(_message_decoder.decode(raw), name) is not None
    except UNREADABLE:
        present = True  # `decode` says what is wrong with it
    return decode(venue, raw) if present else Decoded(defects=[(missing(name).defect, raw)])


def _decode_reports(venue: str, raws: list[msgspec.Raw], message: bytes, decoded: Decoded) -> None:
    uncounted = 0
    for view in raws:
        raw = bytes(view)
        try:
            decoded.reports.append((decode_report(venue, raw), raw))
        except DefectError as error:
            if len(decoded.defects) < MAX_DEFECTS:
                decoded.defects.append((error.defect, raw))
            else:
                uncounted += 1
    if uncounted:
        rule = f"a message has at most {MAX_DEFECTS} bad reports; the rest is kept as the whole message"
        overflow = defect_error("out_of_range", "reports", uncounted, rule, RESEND)
        decoded.defects.append((overflow.defect, message))


def _message_defect(raw: bytes, error: Exception) -> DefectError:
    """A decoder that knows the type stops at the first wrong one; whether it is JSON at all comes first."""
    try:
        view = _raw_decoder.decode(raw)
    except UNREADABLE as not_json:
        return unreadable(raw, "message", not_json)
    if not isinstance(error, msgspec.ValidationError):
        return unreadable(raw, "message", error)
    rule = f"a frame or body as docs/formats.md says is required ({error})"
    return defect_error("wrong_type", "message", shown(bytes(view)), rule, RESEND)
