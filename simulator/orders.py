"""Orders as a venue keeps them, and what it says of them. Pure: times are ns since the start of the run."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

Side = Literal["buy", "sell"]
Liquidity = Literal["maker", "taker"]

AVERAGE_PLACES = Decimal("1e-8")
TAKER_FEE = Decimal("0.0004")
MAKER_FEE = Decimal("-0.00005")  # a rebate: the consumer has to keep the sign


class Snapshot(msgspec.Struct, frozen=True):
    """Best bid and ask at a time, and what was traded since the symbol's one before (None: of the first)."""

    at: int
    snapshot_id: str
    symbol: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    traded_qty: Decimal | None
    traded_notional: Decimal | None


class Tape:
    """What a market traded in one symbol since its last snapshot. Before the first snapshot nobody counted."""

    def __init__(self) -> None:
        self._qty = self._notional = Decimal(0)
        self._counts = False

    def count(self, qty: Decimal, notional: Decimal) -> None:
        """Count trades."""
        self._qty += qty
        self._notional += notional

    def take(self) -> tuple[Decimal, Decimal] | tuple[None, None]:
        """Give quantity and notional for the snapshot that is made now, and begin anew."""
        traded = (self._qty, self._notional) if self._counts else (None, None)
        self._qty = self._notional = Decimal(0)
        self._counts = True
        return traded


class Intent(msgspec.Struct, frozen=True):
    """A routed order message, acknowledged by its venue at ``at``."""

    at: int
    correlation_id: str
    msg_id: str
    action: Literal["new", "replace"]
    orig_msg_id: str | None
    venue: str
    account: str
    symbol: str
    side: Side
    order_qty: Decimal
    limit_price: Decimal
    decision_price: Decimal
    currency: str
    venue_order_id: str


class Report(msgspec.Struct, frozen=True):
    """What a venue says: a fill, bust, correct, or an order state (kind ``status``)."""

    at: int
    kind: Literal["fill", "bust", "correct", "status"]
    exec_type: str
    ord_status: str
    exec_id: str
    exec_ref_id: str | None
    orig_cl_ord_id: str | None
    last_qty: Decimal
    last_px: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    avg_px: Decimal
    fee: Decimal
    liquidity: Liquidity | None
    intent: Intent
    more_to_come: bool
    """Further fills of this order are planned."""
    request_id: str = ""
    """Of an answer: the question's."""


Event = Snapshot | Intent | Report


def order_status(known: Intent | Report, at: int, exec_id: str, request_id: str) -> Report:
    """What a venue answers to the question for an order: its state, by what was last said of it."""
    if isinstance(known, Intent):
        intent, said = known, ("0", Decimal(0), known.order_qty, Decimal(0))
    else:
        intent, said = known.intent, (known.ord_status, known.cum_qty, known.leaves_qty, known.avg_px)
    ord_status, cum_qty, leaves_qty, avg_px = said
    return Report(
        at=at,
        kind="status",
        exec_type="I",
        ord_status=ord_status,
        exec_id=exec_id,
        exec_ref_id=None,
        orig_cl_ord_id=None,
        last_qty=Decimal(0),
        last_px=Decimal(0),
        cum_qty=cum_qty,
        leaves_qty=leaves_qty,
        avg_px=avg_px,
        fee=Decimal(0),
        liquidity=None,
        intent=intent,
        more_to_come=False,
        request_id=request_id,
    )


class Identifiers:
    """Identifiers that no other run of this state directory gives out."""

    def __init__(self, tag: str, run: int) -> None:
        self._prefix = f"{tag}.{run}"
        self._given: dict[str, int] = {}

    def next(self, series: str) -> str:
        """The next identifier of a series (orders, messages, a venue's executions, snapshots)."""
        number = self._given[series] = self._given.get(series, 0) + 1
        return f"{series}-{self._prefix}-{number:06d}"


class Trade(msgspec.Struct):
    """One fill through its corrections: ``exec_id`` is the last of its chain."""

    exec_id: str
    qty: Decimal
    px: Decimal
    liquidity: Liquidity
    busted: bool = False


class Order:
    """One order and its replace chain at its venue."""

    def __init__(self, intent: Intent, identifiers: Identifiers) -> None:
        self.intent = intent
        self.routed_at = intent.at
        self.cum_qty = Decimal(0)
        self.notional = Decimal(0)
        self.canceled = False
        self._identifiers = identifiers

    @property
    def leaves_qty(self) -> Decimal:
        """What can still be filled."""
        return Decimal(0) if self.canceled else self.intent.order_qty - self.cum_qty

    def status(self) -> str:
        """OrdStatus(39) by the precedence of FIX 4.4 appendix D."""
        if self.leaves_qty == 0 and self.cum_qty == self.intent.order_qty:
            return "2"
        if self.canceled:
            return "4"
        return "1" if self.cum_qty > 0 else "0"

    def fill(
        self, at: int, qty: Decimal, px: Decimal, liquidity: Liquidity, *, more: bool
    ) -> tuple[Report, Trade]:
        """A trade of ``qty`` at ``px``: within the order's quantity and limit."""
        if not 0 < qty <= self.leaves_qty:
            raise ValueError(f"{self.intent.msg_id}: fill of {qty} with {self.leaves_qty} open")
        limit = self.intent.limit_price
        if (px > limit) if self.intent.side == "buy" else (px < limit):
            raise ValueError(f"{self.intent.msg_id}: {self.intent.side} at {px} beyond the limit {limit}")
        self.cum_qty += qty
        self.notional += qty * px
        trade = Trade(self._exec_id(), qty, px, liquidity)
        return self._report(at, "fill", "F", trade, None, more=more), trade

    def bust(self, at: int, trade: Trade) -> Report:
        """The venue takes a trade back. Its quantity is not filled again, so no arrival order overfills."""
        self.cum_qty -= trade.qty
        self.notional -= trade.qty * trade.px
        reference, trade.exec_id, trade.busted = trade.exec_id, self._exec_id(), True
        return self._report(at, "bust", "H", trade, reference)

    def correct(self, at: int, trade: Trade, qty: Decimal, px: Decimal) -> Report:
        """The venue restates a trade; a later correction refers to this one's ExecID."""
        self.cum_qty += qty - trade.qty
        self.notional += qty * px - trade.qty * trade.px
        reference, trade.exec_id = trade.exec_id, self._exec_id()
        trade.qty, trade.px = qty, px
        return self._report(at, "correct", "G", trade, reference)

    def acknowledge(self, at: int) -> Report:
        """The order state New."""
        return self._state(at, "0", None)

    def cancel(self, at: int) -> Report:
        """The rest is withdrawn."""
        self.canceled = True
        return self._state(at, "4", None)

    def replace(self, at: int, order_qty: Decimal, limit_price: Decimal) -> tuple[Intent, Report]:
        """A cancel/replace: later fills carry the new ClOrdID, the venue's order id stays."""
        before = self.intent
        self.intent = msgspec.structs.replace(
            before,
            at=at,
            msg_id=self._identifiers.next("M"),
            action="replace",
            orig_msg_id=before.msg_id,
            order_qty=order_qty,
            limit_price=limit_price,
        )
        return self.intent, self._state(at, "5", before.msg_id)

    def _exec_id(self) -> str:
        return self._identifiers.next(self.intent.venue)

    def _average(self) -> Decimal:
        return (self.notional / self.cum_qty).quantize(AVERAGE_PLACES) if self.cum_qty else Decimal(0)

    def _report(
        self,
        at: int,
        kind: Literal["fill", "bust", "correct"],
        exec_type: str,
        trade: Trade,
        reference: str | None,
        *,
        more: bool = False,
    ) -> Report:
        rate = MAKER_FEE if trade.liquidity == "maker" else TAKER_FEE
        return Report(
            at=at,
            kind=kind,
            exec_type=exec_type,
            ord_status=self.status(),
            exec_id=trade.exec_id,
            exec_ref_id=reference,
            orig_cl_ord_id=None,
            last_qty=trade.qty,
            last_px=trade.px,
            cum_qty=self.cum_qty,
            leaves_qty=self.leaves_qty,
            avg_px=self._average(),
            fee=(trade.qty * trade.px * rate).quantize(AVERAGE_PLACES),
            liquidity=trade.liquidity,
            intent=self.intent,
            more_to_come=more,
        )

    def _state(self, at: int, exec_type: str, orig_cl_ord_id: str | None) -> Report:
        return Report(
            at=at,
            kind="status",
            exec_type=exec_type,
            ord_status=self.status(),
            exec_id=self._exec_id(),
            exec_ref_id=None,
            orig_cl_ord_id=orig_cl_ord_id,
            last_qty=Decimal(0),
            last_px=Decimal(0),
            cum_qty=self.cum_qty,
            leaves_qty=self.leaves_qty,
            avg_px=self._average(),
            fee=Decimal(0),
            liquidity=None,
            intent=self.intent,
            more_to_come=False,
        )
