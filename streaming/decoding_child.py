"""The program of the child that decodes large batches: raw messages in on a socket, what they hold out.

It keeps nothing between two batches and ends when its socket does, or its parent. A frame is its length in four
bytes and so many bytes of msgpack; an empty answer says that the batch cannot be answered, and the parent decodes
it itself. What comes back is what the decoder gave: decimals and dates as text, times as integers.
"""

from __future__ import annotations

import ctypes
import gc
import signal
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import Defect
from ledger.domain.records import FillReport, OrderReport
from streaming.venues import DECODERS
from streaming.venues.decoded import Decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.venues.decoded import Decoder

LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Said(msgspec.Struct, array_like=True):
    """One report with the bytes it came in: of a trade, or of an order's state."""

    fill: FillReport | None
    state: OrderReport | None
    raw: bytes


class Answer(msgspec.Struct, array_like=True):
    """What one message holds: ``Decoded`` as it goes over the socket."""

    said: list[Said]
    defects: list[tuple[Defect, bytes]]
    others: dict[str, int]


Formats = dict[str, tuple[str, str]]  # by venue or feed: the format's name, and the account
Message = tuple[str, str, bytes]  # whose format it is in (a key of the formats), the venue, the bytes

_formats = msgspec.msgpack.Decoder(Formats)
_messages = msgspec.msgpack.Decoder(list[Message])
_answers = msgspec.msgpack.Decoder(list[Answer])
_encoder = msgspec.msgpack.Encoder()


def framed(payload: bytes) -> bytes:
    """Put the length before it."""
    return LENGTH.pack(len(payload)) + payload


def decoders_from(formats: Mapping[str, tuple[str, str]]) -> dict[str, Decoder]:
    """Give the decoders by the same names."""
    return {name: partial(DECODERS[spoken], account=account) for name, (spoken, account) in formats.items()}


def answered(messages: bytes, decoders: Mapping[str, Decoder]) -> bytes:
    """Decode a batch; nothing where that cannot be told: the parent finds out why, in its own process."""
    try:
        return _encoder.encode(
            [_answer(decoders[name](venue, raw)) for name, venue, raw in _messages.decode(messages)]
        )
    except Exception:  # noqa: BLE001  a bug of a decoder is the parent's to fail with
        return b""


def read_answers(payload: bytes) -> list[Decoded]:
    """Read what ``answered`` gave."""
    return [
        Decoded(
            [(one.fill if one.fill is not None else one.state, one.raw) for one in answer.said],  # type: ignore[misc]
            answer.defects,
            answer.others,
        )
        for answer in _answers.decode(payload)
    ]


def _answer(decoded: Decoded) -> Answer:
    return Answer(
        [
            Said(report, None, raw) if isinstance(report, FillReport) else Said(None, report, raw)
            for report, raw in decoded.reports
        ],
        decoded.defects,
        decoded.others,
    )


def main() -> None:
    """Decode until the parent closes its end, or is gone; signals to the group are the parent's to answer."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    end = socket.socket(fileno=0)
    reading = end.makefile("rb", buffering=1 << 18)
    decoders: dict[str, Decoder] | None = None
    try:
        while head := reading.read(LENGTH.size):
            payload = reading.read(LENGTH.unpack(head)[0])
            if decoders is None:
                decoders, answer = decoders_from(_formats.decode(payload)), b""
            else:
                answer = answered(payload, decoders)
            end.sendall(framed(answer))
    except (struct.error, msgspec.DecodeError, ConnectionError):  # cut short: the parent is gone
        return


if __name__ == "__main__":
    main()
