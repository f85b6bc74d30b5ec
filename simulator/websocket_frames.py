"""The WebSocket venue's frames: what it sends, and what a client may say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from simulator.records import Message


class Ask(msgspec.Struct):
    """What a client may say."""

    op: str
    from_sequence: int = 0
    to_sequence: int = 0
    channel: str = "executions"
    cl_ord_id: str = ""
    request_id: str = ""


def frame(message: Message, *, replay: bool) -> bytes:
    """A message on the wire; one without a sequence is malformed and belongs to no sequence."""
    sequence = b"" if message.sequence is None else b'"sequence":%d,' % message.sequence
    mark = b'"replay":true,' if replay else b""
    return b'{"channel":"executions",%s%s"data":[%s]}' % (sequence, mark, b",".join(message.payloads))


def is_utf8(content: bytes) -> bool:
    """Whether a text frame may carry it."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
