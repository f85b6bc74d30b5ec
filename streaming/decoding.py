"""From arrivals to facts: reports by the venue's format, intents and snapshots by ours, the rest dead letters."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.completeness import Audited, Missing
from ledger.domain.controls import Control
from ledger.domain.decide import Fact
from ledger.domain.delays import Late
from ledger.domain.errors import Defect, DefectError, defect_error
from ledger.domain.failover import Health
from ledger.domain.identity import dead_letter_id
from ledger.domain.numbers import ZERO, parse_decimal, parse_positive
from ledger.domain.records import (
    Action,
    Captured,
    CapturedOrder,
    DeadLetter,
    FillReport,
    OrderIntent,
    Resolution,
    Side,
    Snapshot,
)
from ledger.domain.sequence_gaps import GapFilled
from ledger.domain.times import NANOS, parse_utc
from ledger.domain.verdicts import Vote, agreed
from streaming.arrivals import Arrival, ArrivalKind
from streaming.venues.canonical_defects import UNREADABLE, storable
from streaming.venues.spelling import check_spelling, may_be_odd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.venues.decoded import Decoder

_TEXT_LIMIT = 256
_EARLIEST_NS = 946_684_800 * NANOS  # 2000-01-01, as for the venues' times
_LATEST_NS = 9_214_646_400 * NANOS  # 2262-01-01: nanoseconds in 64 bits end that April
_Number = Decimal | None
_SNAPSHOT_NUMBERS = ("bid", "ask", "bid_size", "ask_size", "traded_qty", "traded_notional")


class _IntentMessage(msgspec.Struct):
    correlation_id: str
    msg_id: str
    action: Action
    venue: str
    account: str
    symbol: str
    side: Side
    order_qty: Decimal
    routed_at: str
    orig_msg_id: str | None = None
    limit_price: _Number = None
    decision_price: _Number = None
    currency: str | None = None
    venue_order_id: str | None = None


class _SnapshotMessage(msgspec.Struct):
    snapshot_id: str
    symbol: str
    bid: Decimal
    ask: Decimal
    at: str
    bid_size: _Number = None
    ask_size: _Number = None
    traded_qty: _Number = None
    traded_notional: _Number = None


_intents = msgspec.json.Decoder(_IntentMessage)
_snapshots = msgspec.json.Decoder(_SnapshotMessage)
_votes = msgspec.json.Decoder(list[Vote])
_kept_intents = msgspec.json.Decoder(OrderIntent)
_Ours = Control | Late | Health | GapFilled | Missing | Audited
_controls: msgspec.json.Decoder[_Ours] = msgspec.json.Decoder(_Ours)


class Decoding(msgspec.Struct):
    """What one arrival holds."""

    facts: list[Fact]
    others: dict[str, int]


def decode_arrival(arrival: Arrival, decoders: Mapping[str, Decoder]) -> Decoding:
    """Read an arrival; what cannot be read is a dead letter among the facts. Never raises.

    ``decoders`` are by venue, and by feed where a feed speaks another format than its venue.
    """
    if arrival.defect is not None:
        return Decoding([_dead(arrival, arrival.defect, arrival.raw)], {})
    if arrival.kind is ArrivalKind.REPORT:
        assert arrival.venue is not None, "a report comes from a venue"
        decoder = decoders.get(arrival.feed) or decoders[arrival.venue]
        decoded = decoder(arrival.venue, arrival.raw)
        facts: list[Fact] = [
            Captured(report, arrival.feed, raw, arrival.received_ns)
            if isinstance(report, FillReport)
            else CapturedOrder(report, arrival.feed, raw, arrival.received_ns)
            for report, raw in decoded.reports
        ]
        facts += [_dead(arrival, defect, raw) for defect, raw in decoded.defects]
        return Decoding(facts, decoded.others)
    try:
        fact = _read(arrival)
    except DefectError as error:
        return Decoding([_dead(arrival, error.defect, arrival.raw)], {})
    return Decoding([fact], {})


def _read(arrival: Arrival) -> Fact:
    if arrival.kind is ArrivalKind.SNAPSHOT:
        return decode_snapshot(arrival.raw)
    if arrival.kind is ArrivalKind.VERDICT:
        return decode_verdict(arrival.raw)
    if arrival.kind is ArrivalKind.CONTROL:
        return decode_control(arrival.raw)
    if arrival.replay is not None:
        try:
            return _kept_intents.decode(arrival.raw)
        except UNREADABLE:  # not one that the rules refused: those are kept as they were understood
            pass
    return decode_intent(arrival.raw)


def decode_votes(raw: bytes) -> list[Vote]:
    """Read the votes of a verdict. Raises ``DefectError``."""
    try:
        return _votes.decode(raw)
    except UNREADABLE as error:
        raise _malformed(error, raw) from None


def decode_verdict(raw: bytes) -> Resolution:
    """Read what two persons agree on. Raises ``DefectError``."""
    resolution = agreed(decode_votes(raw))
    if resolution is None:
        rule = "two different persons agree on one break, one verdict and the same values"
        raise defect_error("no_agreement", "votes", raw.decode("utf-8", "replace"), rule, "Vote again.")
    return resolution


def decode_control(raw: bytes) -> _Ours:
    """Read what we wrote: a halt, its end, a clock's change, a late order, a feed's health or gap.

    Raises ``DefectError``.
    """
    try:
        return _controls.decode(raw)
    except UNREADABLE as error:
        raise _malformed(error, raw) from None


def decode_intent(raw: bytes) -> OrderIntent:
    """Read a value of ``order.intent.route.v1``. Raises ``DefectError``."""
    try:
        m = _intents.decode(raw)
        if may_be_odd(raw):
            check_spelling(raw, ("order_qty", "limit_price", "decision_price"))
    except UNREADABLE as error:
        raise _malformed(error, raw) from None
    for field in ("correlation_id", "msg_id", "venue", "account", "symbol"):
        _check_text(field, getattr(m, field))
    for field in ("orig_msg_id", "currency", "venue_order_id"):
        if getattr(m, field) is not None:
            _check_text(field, getattr(m, field))
    if m.action is not Action.NEW and m.orig_msg_id is None:
        raise defect_error(
            "missing_field",
            "orig_msg_id",
            "",
            f"a {m.action} names the message it acts on",
            "Route it again.",
        )
    return OrderIntent(
        m.correlation_id,
        m.msg_id,
        m.action,
        m.orig_msg_id,
        m.venue,
        m.account,
        m.symbol,
        m.side,
        parse_positive("order_qty", m.order_qty),
        None if m.limit_price is None else parse_positive("limit_price", m.limit_price),
        None if m.decision_price is None else parse_positive("decision_price", m.decision_price),
        m.currency,
        _time("routed_at", m.routed_at),
        m.venue_order_id,
    )


def decode_snapshot(raw: bytes) -> Snapshot:
    """Read a value of ``market.data.snapshot.v1``. Raises ``DefectError``."""
    try:
        m = _snapshots.decode(raw)
        if may_be_odd(raw):
            check_spelling(raw, _SNAPSHOT_NUMBERS)
    except UNREADABLE as error:
        raise _malformed(error, raw) from None
    _check_text("snapshot_id", m.snapshot_id)
    _check_text("symbol", m.symbol)
    bid, ask = parse_positive("bid", m.bid), parse_positive("ask", m.ask)
    if bid > ask:
        raise defect_error("crossed", "bid", str(bid), f"bid must not exceed ask ({ask})", "Send it again.")
    traded_qty, traded_notional = _traded(m.traded_qty, m.traded_notional)
    return Snapshot(
        m.snapshot_id,
        m.symbol,
        bid,
        ask,
        _size("bid_size", m.bid_size),
        _size("ask_size", m.ask_size),
        _time("at", m.at),
        traded_qty,
        traded_notional,
    )


def _traded(qty: _Number, notional: _Number) -> tuple[_Number, _Number]:
    """Read what the market traded: a quantity without its notional has no price, and the other way round."""
    if qty is None and notional is None:
        return None, None
    if qty is None or notional is None:
        missing, other = ("traded_qty", "traded_notional") if qty is None else ("traded_notional", "traded_qty")
        rule = f"traded_qty and traded_notional come together, and {other} is there"
        raise defect_error("missing_field", missing, "", rule, "Send both, or neither.")
    quantity, value = _size("traded_qty", qty), _size("traded_notional", notional)
    if (not quantity and value) or (quantity and not value):
        rule = f"is zero exactly where traded_qty is ({quantity})"
        raise defect_error("no_price", "traded_notional", str(value), rule, "Send what was traded, both.")
    return quantity, value


def _size(field: str, value: _Number) -> Decimal | None:
    if value is None:
        return None
    number = parse_decimal(field, value)
    if number < ZERO:
        raise defect_error("negative", field, str(number), "a size is not negative", "Send it again.")
    return number


def _time(field: str, value: str) -> int:
    nanos = parse_utc(field, value)
    if not _EARLIEST_NS <= nanos < _LATEST_NS:
        rule = "a time from 2000 to 2261 is required"
        raise defect_error("not_a_time", field, value, rule, "Check the sender's clock.")
    return nanos


def _check_text(field: str, value: str) -> None:
    if not value or len(value) > _TEXT_LIMIT or not value.isprintable():
        raise defect_error(
            "bad_text",
            field,
            value,
            f"1 to {_TEXT_LIMIT} printable characters are required",
            "Send it again.",
        )


def _malformed(error: Exception, raw: bytes) -> DefectError:
    shown = raw[:80].decode("utf-8", "replace")
    return defect_error(
        "malformed", "value", shown, f"JSON as in docs/formats.md is required: {error}", "Send it again."
    )


def _dead(arrival: Arrival, defect: Defect, raw: bytes) -> DeadLetter:
    source = arrival.venue or arrival.feed
    shown = storable(DefectError(defect)).defect
    return DeadLetter(dead_letter_id(source, raw), source, arrival.feed, shown, raw, arrival.received_ns)
