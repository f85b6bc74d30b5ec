"""What the engine's process hands to ours: frames on a pipe. Standard library only: the child imports this."""

from __future__ import annotations

import struct
from enum import IntEnum

HEADER = struct.Struct("<BQQI")  # kind, MsgSeqNum (0 where none), received at (ns), length of the bytes
PIPE_BYTES = 256 * 1024  # what the engine may be ahead by; more only delays the back-pressure
REFUSED = "Rejected by the venue:"  # begins an event
F_SETPIPE_SZ = 1031  # fcntl.h; Python 3.11 has it as fcntl.F_SETPIPE_SZ on Linux only


class Frame(IntEnum):
    """What a frame holds."""

    MESSAGE = 1
    """An application message."""
    LOGON = 2
    LOGOUT = 3
    """Logged out, or disconnected."""
    REJECT = 4
    """A Reject(3) which the engine sent: the message that it names was consumed and its bytes are lost."""
    RESET = 5
    """The venue's numbers start over at 1: it logged on with ResetSeqNumFlag(141)=Y, or below our number."""
    ERROR = 6
    """A callback failed: a text for people."""
    GAP_FILL = 7
    """A SequenceReset(4) up to this number: the content says how many numbers the venue does not send again."""
    MISSING = 8
    """The venue was asked to send messages again, from this number on."""
    WHOLE = 9
    """Nothing is missing any more up to this number; 0: the connection has ended, and nobody knows."""


def pack(kind: Frame, sequence: int, received_ns: int, content: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(kind, sequence, received_ns, len(content)) + content


def unpack(buffer: bytearray) -> list[tuple[Frame, int, int, bytes]]:
    """Take the complete frames off the buffer's front."""
    frames = []
    start = 0
    while len(buffer) - start >= HEADER.size:
        kind, sequence, received_ns, length = HEADER.unpack_from(buffer, start)
        end = start + HEADER.size + length
        if end > len(buffer):
            break
        frames.append((Frame(kind), sequence, received_ns, bytes(buffer[start + HEADER.size : end])))
        start = end
    del buffer[:start]
    return frames
