"""FIX 4.4 as bytes: execution reports, frames, and frames that are wrong on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import simplefix

from simulator.canonical import plain
from simulator.clock import Clock, fix_time

if TYPE_CHECKING:
    import random

    from simulator.orders import Report

SOH = b"\x01"
BEGIN_STRING = b"FIX.4.4"
ABSOLUTE_COMMISSION = "3"
FLAWS = ("LastQty=NaN", "LastQty negative", "ExecID missing", "LastPx=1E400")


def _joined(fields: list[tuple[int, str]]) -> bytes:
    message = simplefix.FixMessage()
    for tag, value in fields:
        message.append_pair(tag, value)
    encoded: bytes = message.encode(raw=True)
    return encoded


def _execution_report(report: Report, clock: Clock) -> list[tuple[int, str]]:
    intent = report.intent
    fields = [
        (37, intent.venue_order_id),
        (11, intent.msg_id),
        (17, report.exec_id),
        (150, report.exec_type),
        (39, report.ord_status),
        (1, intent.account),
        (55, intent.symbol),
        (54, "1" if intent.side == "buy" else "2"),
        (38, plain(intent.order_qty)),
        (40, "2"),
        (44, plain(intent.limit_price)),
        (15, intent.currency),
        (151, plain(report.leaves_qty)),
        (14, plain(report.cum_qty)),
        (6, plain(report.avg_px)),
        (60, fix_time(clock.wall(report.at))),
    ]
    if report.orig_cl_ord_id is not None:
        fields.append((41, report.orig_cl_ord_id))
    if report.exec_ref_id is not None:
        fields.append((19, report.exec_ref_id))
    if report.request_id:
        fields.append((790, report.request_id))
    if report.kind != "status":
        fields += [
            (32, plain(report.last_qty)),
            (31, plain(report.last_px)),
            (12, plain(report.fee)),
            (13, ABSOLUTE_COMMISSION),
            (479, intent.currency),
            (851, "1" if report.liquidity == "maker" else "2"),
        ]
    return fields


def execution_report(report: Report, clock: Clock) -> bytes:
    """The body of 35=8, without header and trailer."""
    return _joined(_execution_report(report, clock))


def malformed(report: Report, clock: Clock, exec_id: str, rng: random.Random) -> tuple[str, bytes]:
    """An execution report of its own in a valid frame that no consumer can book, and its flaw's name."""
    flaw = rng.choice(FLAWS)
    fields = dict(_execution_report(report, clock))
    fields[17] = exec_id
    if flaw == "LastQty=NaN":
        fields[32] = "NaN"
    elif flaw == "LastQty negative":
        fields[32] = "-" + plain(report.last_qty)
    elif flaw == "ExecID missing":
        del fields[17]
    else:
        fields[31] = "1E400"
    return flaw, _joined(list(fields.items()))


def body(fields: list[tuple[int, str]]) -> bytes:
    """The body of an administrative message."""
    return _joined(fields)


def frame(
    message_type: str,
    comp_ids: tuple[str, str],
    sequence: int,
    sent: str,
    content: bytes,
    *,
    first_sent: str | None = None,
    poss_resend: bool = False,
) -> bytes:
    """A message on the wire; ``first_sent`` makes it a PossDup of what was sent then."""
    header = f"35={message_type}\x0149={comp_ids[0]}\x0156={comp_ids[1]}\x0134={sequence}\x0152={sent}\x01"
    if first_sent is not None:
        header += f"43=Y\x01122={first_sent}\x01"
    if poss_resend:
        header += "97=Y\x01"
    inner = header.encode() + content
    message = b"8=" + BEGIN_STRING + SOH + b"9=%d" % len(inner) + SOH + inner
    return message + b"10=%03d" % (sum(message) % 256) + SOH


def garbled(message: bytes) -> bytes:
    """The same frame with a checksum that does not fit: an engine must ignore it (FIX 4.4 vol. 2)."""
    checksum = (int(message[-4:-1]) + 7) % 256
    return message[:-4] + b"%03d" % checksum + SOH


def checksum_fits(message: simplefix.FixMessage) -> bool:
    """Whether a parsed message carries the checksum of its bytes."""
    fields = b"".join(tag + b"=" + value + SOH for tag, value in message.pairs if tag != b"10")
    return bool(message.get(10) == b"%03d" % (sum(fields) % 256))


def integer(message: simplefix.FixMessage, tag: int) -> int | None:
    """A field that is to be a whole number; None where it is missing or is not."""
    value = message.get(tag)
    return int(value) if value is not None and value.isdigit() else None
