"""One canonical report (docs/events/canonical.report.schema.json): its JSON object -> a report. Pure.

Numbers are read exactly (JSON strings and numbers alike), never as floats. The fast path decodes with types; only
a report that it refuses is looked at field by field, to name what is wrong.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.identity import make_fill, make_order_report
from ledger.domain.numbers import ZERO, parse_positive, text
from ledger.domain.records import (
    ExecType,
    FillReport,
    Liquidity,
    OrderReport,
    OrdStatus,
    Report,
    ReportKind,
    Side,
)
from ledger.domain.times import utc_date
from streaming.venues.canonical_defects import RESEND, UNREADABLE, missing, storable, unknown_value
from streaming.venues.canonical_fields import (
    claimed,
    day,
    moment,
    not_negative,
    number,
    optional,
    require_decimal,
    require_text,
    required,
)
from streaming.venues.json_messages import refused
from streaming.venues.spelling import check_spelling, may_be_odd

MAX_REPORT_BYTES = 64 << 10  # every field at its longest, escaped, is 40 kB; the rest is a field not ours
_KINDS = {kind.value: kind for kind in ReportKind}
_STATES = {kind.name.lower(): kind for kind in ExecType}
_STATUSES = {status.value: status for status in OrdStatus}
_SIDES = {side.value: side for side in Side}
_LIQUIDITIES = {liquidity.value: liquidity for liquidity in Liquidity}


class _Report(msgspec.Struct, gc=False):
    """The JSON as it comes: everything may be missing, so that what is wrong is named by our own rules."""

    type: str | None = None
    exec_id: str | None = None
    exec_ref_id: str | None = None
    cl_ord_id: str | None = None
    venue_order_id: str | None = None
    correlation_id: str | None = None
    account: str | None = None
    symbol: str | None = None
    side: str | None = None
    last_qty: Decimal | None = None
    last_px: Decimal | None = None
    cum_qty: Decimal | None = None
    leaves_qty: Decimal | None = None
    avg_px: Decimal | None = None
    currency: str | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    liquidity: str | None = None
    transact_time: str | None = None
    trade_date: str | None = None
    part_of: str | None = None
    ord_status: str | None = None
    orig_cl_ord_id: str | None = None
    order_qty: Decimal | None = None
    limit_price: Decimal | None = None
    reason: str | None = None


_DECIMALS = ("last_qty", "last_px", "cum_qty", "leaves_qty", "avg_px", "fee", "order_qty", "limit_price")
_TEXTS = tuple(name for name in _Report.__struct_fields__ if name not in _DECIMALS)
_report_decoder = msgspec.json.Decoder(_Report)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_report(venue: str, raw: bytes) -> Report:
    """Read one report. Raises ``DefectError`` that names field, value, rule and remedy."""
    if len(raw) > MAX_REPORT_BYTES:
        raise defect_error(
            "out_of_range", "report", len(raw), f"a report has at most {MAX_REPORT_BYTES} bytes", RESEND
        )
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into the strings of fields that it skips
        fields = _report_decoder.decode(raw)
        if may_be_odd(raw):
            check_spelling(raw, _DECIMALS)
        kind = _KINDS.get(fields.type or "")
        return _state(venue, fields) if kind is None else _fill(venue, kind, fields)
    except DefectError as found:
        raise storable(found) from None
    except (*UNREADABLE, ArithmeticError) as error:
        raise storable(_explained(raw, error)) from None


def _fill(venue: str, kind: ReportKind, fields: _Report) -> FillReport:
    exec_id = required("exec_id", fields.exec_id)
    exec_ref_id = None
    if kind is not ReportKind.FILL:
        exec_ref_id = required("exec_ref_id", fields.exec_ref_id)
    cl_ord_id = optional("cl_ord_id", fields.cl_ord_id)
    venue_order_id = optional("venue_order_id", fields.venue_order_id)
    if cl_ord_id is None and venue_order_id is None:
        raise missing("cl_ord_id or venue_order_id")
    account = required("account", fields.account)
    symbol = required("symbol", fields.symbol)
    side = _SIDES.get(fields.side or "")
    if side is None:
        raise missing("side") if not fields.side else unknown_value("side", fields.side, _SIDES)
    last_qty = _traded(kind, "last_qty", fields.last_qty)
    last_px = _traded(kind, "last_px", fields.last_px)
    liquidity = None
    if fields.liquidity:
        liquidity = _LIQUIDITIES.get(fields.liquidity)
        if liquidity is None:
            raise unknown_value("liquidity", fields.liquidity, _LIQUIDITIES)
    transact_ns = moment("transact_time", fields.transact_time)
    return make_fill(
        venue=venue,
        account=account,
        symbol=symbol,
        trade_date=day("trade_date", fields.trade_date) if fields.trade_date else utc_date(transact_ns),
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=exec_ref_id,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        correlation_id=optional("correlation_id", fields.correlation_id),
        side=side,
        last_qty=last_qty,
        last_px=last_px,
        cum_qty=claimed("cum_qty", fields.cum_qty),
        leaves_qty=claimed("leaves_qty", fields.leaves_qty),
        avg_px=claimed("avg_px", fields.avg_px),
        currency=optional("currency", fields.currency),
        fee=claimed("fee", fields.fee),
        fee_currency=optional("fee_currency", fields.fee_currency),
        liquidity=liquidity,
        transact_ns=transact_ns,
        part_of=optional("part_of", fields.part_of) if fields.part_of and kind is ReportKind.FILL else None,
    )


def _traded(kind: ReportKind, field: str, value: Decimal | None) -> Decimal:
    if kind is ReportKind.BUST:  # it takes back its execution whole: what it repeats of it moves nothing
        return not_negative(field, value, "a bust gives zero, nothing or what it takes back") or ZERO
    if value is None:
        raise missing(field)
    found = number(field, value)
    return found if found > ZERO else parse_positive(field, found)


def _state(venue: str, fields: _Report) -> OrderReport:
    """An order state: only its order must be named, and nothing may have traded in it."""
    exec_type = _STATES.get(fields.type or "")
    if exec_type is None:
        raise missing("type") if not fields.type else unknown_value("type", fields.type, (*_KINDS, *_STATES))
    cl_ord_id = optional("cl_ord_id", fields.cl_ord_id)
    venue_order_id = optional("venue_order_id", fields.venue_order_id)
    if cl_ord_id is None and venue_order_id is None:
        raise missing("cl_ord_id or venue_order_id")
    if fields.side and fields.side not in _SIDES:
        raise unknown_value("side", fields.side, _SIDES)
    if fields.ord_status and fields.ord_status not in _STATUSES:
        raise unknown_value("ord_status", fields.ord_status, _STATUSES)
    traded = claimed("last_qty", fields.last_qty)
    if traded:
        rule = "an order state moves no quantity; what traded is a report of the type fill"
        raise defect_error("out_of_range", "last_qty", text(traded), rule, RESEND)
    transact_ns = moment("transact_time", fields.transact_time)
    return make_order_report(
        venue=venue,
        account=optional("account", fields.account) or "",
        symbol=optional("symbol", fields.symbol) or "",
        trade_date=day("trade_date", fields.trade_date) if fields.trade_date else utc_date(transact_ns),
        exec_id=optional("exec_id", fields.exec_id),
        exec_type=exec_type,
        ord_status=_STATUSES[fields.ord_status] if fields.ord_status else None,
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=optional("orig_cl_ord_id", fields.orig_cl_ord_id),
        venue_order_id=venue_order_id,
        correlation_id=optional("correlation_id", fields.correlation_id),
        side=_SIDES[fields.side] if fields.side else None,
        order_qty=not_negative("order_qty", fields.order_qty, "a quantity is not negative"),
        limit_price=claimed("limit_price", fields.limit_price),
        cum_qty=claimed("cum_qty", fields.cum_qty),
        leaves_qty=claimed("leaves_qty", fields.leaves_qty),
        avg_px=claimed("avg_px", fields.avg_px),
        reason=optional("reason", fields.reason),
        transact_ns=transact_ns,
    )


def _explained(raw: bytes, error: Exception) -> DefectError:
    """Find which field made the decoder refuse the report; off the fast path."""
    try:
        raw.decode()
        fields = _fields_decoder.decode(raw)
    except UNREADABLE as no_object:
        return refused(raw, "report", "an object", no_object)
    try:
        for name in _TEXTS:
            require_text(name, fields.get(name))
        for name in _DECIMALS:
            require_decimal(name, fields.get(name))
    except DefectError as found:
        return found
    return refused(raw, "report", "an object as docs/formats.md says", error)
