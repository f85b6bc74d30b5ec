"""What the venues and the other agents made: the truth that the ledger is held against.

It is kept by an order model of its own, simple and independent of the domain: a fill adds, a bust takes its fill
out, a correct replaces its fill's quantity.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from collections.abc import Sequence

Key = tuple[str, str, str]  # venue, ExecID, kind
_encode = msgspec.json.Encoder().encode


class Made(msgspec.Struct, frozen=True):
    """One report of a trade as its venue made it."""

    venue: str
    exec_id: str
    kind: str
    correlation_id: str
    last_qty: Decimal
    refers_to: str | None
    value: dict[str, str | None]

    @property
    def key(self) -> Key:
        """What it is known by."""
        return self.venue, self.exec_id, self.kind


class Order(msgspec.Struct):
    """One order: what the OrderAgent asked for, and what its venue did so far."""

    correlation_id: str
    msg_id: str
    venue: str
    symbol: str
    side: str
    order_qty: Decimal
    limit_price: Decimal | None
    cum_qty: Decimal = Decimal(0)
    live: dict[str, Decimal] = msgspec.field(default_factory=dict)
    claims: bool = True  # CumQty is said until something is busted or corrected


class Journal:
    """Everything that was made, by key and by order."""

    def __init__(self) -> None:
        self.reports: dict[Key, Made] = {}
        self.orders: dict[str, Order] = {}
        self.messages: set[tuple[str, str]] = set()  # routed messages: venue, msg_id
        self.snapshots: set[str] = set()
        self._number = 0

    def fill(self, order: Order, quantity: Decimal, price: Decimal, at_ns: int) -> Made:
        """Trade."""
        exec_id = self._next("E")
        order.live[exec_id] = quantity
        order.cum_qty += quantity
        claim = str(order.cum_qty) if order.claims else None
        return self._made(order, exec_id, "fill", quantity, price, at_ns, None, claim)

    def bust(self, order: Order, made: Made, at_ns: int) -> Made:
        """Take a fill back."""
        order.claims = False
        order.cum_qty -= order.live.pop(made.exec_id)
        price = Decimal(made.value["last_px"] or 0)
        return self._made(order, self._next("B"), "bust", made.last_qty, price, at_ns, made.exec_id, None)

    def correct(self, order: Order, made: Made, quantity: Decimal, at_ns: int) -> Made:
        """Say a fill's quantity anew."""
        order.claims = False
        order.cum_qty += quantity - order.live[made.exec_id]
        order.live[made.exec_id] = quantity
        price = Decimal(made.value["last_px"] or 0)
        return self._made(order, self._next("G"), "correct", quantity, price, at_ns, made.exec_id, None)

    def _next(self, letter: str) -> str:
        self._number += 1
        return f"{letter}{self._number}"

    def _made(
        self, order: Order, exec_id: str, kind: str, quantity: Decimal, price: Decimal, at_ns: int,
        refers_to: str | None, claim: str | None,
    ) -> Made:  # fmt: skip
        value = {
            "type": kind, "exec_id": exec_id, "exec_ref_id": refers_to, "cl_ord_id": order.msg_id,
            "account": "ACC", "symbol": order.symbol, "side": order.side, "last_qty": str(quantity),
            "last_px": str(price), "cum_qty": claim, "transact_time": format_utc(at_ns),
        }  # fmt: skip
        made = Made(order.venue, exec_id, kind, order.correlation_id, quantity, refers_to, value)
        self.reports[made.key] = made
        return made


def quantity_of(landed: Sequence[Made]) -> Decimal:
    """Give what the reports that have landed add up to, whatever came first."""
    fills = {m.exec_id: m.last_qty for m in landed if m.kind == "fill"}
    for made in landed:
        if made.kind == "correct" and made.refers_to in fills:
            fills[made.refers_to] = made.last_qty
    for made in landed:
        if made.kind == "bust" and made.refers_to is not None:
            fills.pop(made.refers_to, None)
    return sum(fills.values(), Decimal(0))


def body(reports: Sequence[Made]) -> bytes:
    """Give a REST body of reports."""
    return _encode({"fills": [made.value for made in reports]})


def frame(sequence: int, reports: Sequence[Made]) -> bytes:
    """Give a WebSocket frame of reports."""
    return _encode({"channel": "executions", "sequence": sequence, "data": [made.value for made in reports]})


def heartbeat(last: int) -> bytes:
    """Give a WebSocket heartbeat."""
    return _encode({"channel": "heartbeat", "last_sequence": last})
