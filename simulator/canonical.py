"""Reports, intents and snapshots as JSON, written from docs/formats.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.clock import Clock, rfc3339

if TYPE_CHECKING:
    import random
    from decimal import Decimal

    from simulator.orders import Intent, Report, Snapshot

_encode = msgspec.json.Encoder().encode

FLAWS = ("nan", "negative", "no_exec_id", "wrong_type", "bad_time", "truncated", "bad_utf8")


def plain(value: Decimal) -> str:
    """A decimal without an exponent."""
    return format(value, "f")


STATUSES = {"0": "New", "1": "PartiallyFilled", "2": "Filled", "4": "Canceled"}  # OrdStatus(39)


def _state(report: Report, clock: Clock) -> dict[str, Any]:
    intent = report.intent
    return {
        "type": "order_status",
        "exec_id": report.exec_id,
        "cl_ord_id": intent.msg_id,
        "venue_order_id": intent.venue_order_id,
        "account": intent.account,
        "symbol": intent.symbol,
        "side": intent.side,
        "ord_status": STATUSES[report.ord_status],
        "order_qty": plain(intent.order_qty),
        "limit_price": plain(intent.limit_price),
        "cum_qty": plain(report.cum_qty),
        "leaves_qty": plain(report.leaves_qty),
        "avg_px": plain(report.avg_px),
        "transact_time": rfc3339(clock.wall(report.at)),
    }


def _report(report: Report, clock: Clock) -> dict[str, Any]:
    if report.kind == "status":
        return _state(report, clock)
    intent = report.intent
    fields: dict[str, Any] = {
        "type": report.kind,
        "exec_id": report.exec_id,
        "cl_ord_id": intent.msg_id,
        "venue_order_id": intent.venue_order_id,
        "account": intent.account,
        "symbol": intent.symbol,
        "side": intent.side,
        "last_qty": plain(report.last_qty),
        "last_px": plain(report.last_px),
        "cum_qty": plain(report.cum_qty),
        "leaves_qty": plain(report.leaves_qty),
        "avg_px": plain(report.avg_px),
        "currency": intent.currency,
        "fee": plain(report.fee),
        "fee_currency": intent.currency,
        "liquidity": report.liquidity,
        "transact_time": rfc3339(clock.wall(report.at)),
    }
    if report.exec_ref_id is not None:
        fields["exec_ref_id"] = report.exec_ref_id
    return fields


def websocket_report(report: Report, clock: Clock) -> bytes:
    """A report that names its correlation id."""
    return _encode(_report(report, clock) | {"correlation_id": report.intent.correlation_id})


def rest_report(report: Report, clock: Clock) -> bytes:
    """A report without correlation id; maker fills name the venue's order id only, as Bybit's fast feed does."""
    fields = _report(report, clock)
    if report.liquidity == "maker":
        fields["cl_ord_id"] = None
    return _encode(fields)


def malformed(report: Report, clock: Clock, exec_id: str, rng: random.Random) -> tuple[str, bytes]:
    """A report of its own that no consumer can read, and the name of its flaw.

    ``truncated`` and ``bad_utf8`` break the message that carries it: they are put into one of their own.
    """
    fields = _report(report, clock) | {"exec_id": exec_id}
    flaw = rng.choice(FLAWS)
    if flaw == "nan":
        fields["last_qty"] = "NaN"
    elif flaw == "negative":
        fields["last_px"] = "-" + plain(report.last_px)
    elif flaw == "no_exec_id":
        del fields["exec_id"]
    elif flaw == "wrong_type":
        fields["side"] = 7
    elif flaw == "bad_time":
        fields["transact_time"] = "yesterday"
    body = _encode(fields)
    if flaw == "truncated":
        return flaw, body[: rng.randint(len(body) // 3, len(body) - 2)]
    if flaw == "bad_utf8":
        return flaw, body.replace(b'"symbol":"', b'"symbol":"\xff\xfe', 1)
    return flaw, body


def intent_value(intent: Intent, clock: Clock) -> bytes:
    """The value of ``order.intent.route.v1``."""
    return _encode(
        {
            "correlation_id": intent.correlation_id,
            "msg_id": intent.msg_id,
            "action": intent.action,
            "orig_msg_id": intent.orig_msg_id,
            "venue": intent.venue,
            "account": intent.account,
            "symbol": intent.symbol,
            "side": intent.side,
            "order_qty": plain(intent.order_qty),
            "limit_price": plain(intent.limit_price),
            "decision_price": plain(intent.decision_price),
            "currency": intent.currency,
            "routed_at": rfc3339(clock.wall(intent.at)),
            "venue_order_id": intent.venue_order_id,
        }
    )


def snapshot_value(snapshot: Snapshot, clock: Clock) -> bytes:
    """The value of ``market.data.snapshot.v1``."""
    return _encode(
        {
            "snapshot_id": snapshot.snapshot_id,
            "symbol": snapshot.symbol,
            "bid": plain(snapshot.bid),
            "ask": plain(snapshot.ask),
            "bid_size": plain(snapshot.bid_size),
            "ask_size": plain(snapshot.ask_size),
            "traded_qty": None if snapshot.traded_qty is None else plain(snapshot.traded_qty),
            "traded_notional": None if snapshot.traded_notional is None else plain(snapshot.traded_notional),
            "at": rfc3339(clock.wall(snapshot.at)),
        }
    )
