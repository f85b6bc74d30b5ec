"""The facts and what is derived from them: frozen records, decimals exact, times in UTC nanoseconds."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from ledger.domain.errors import Defect


class Side(StrEnum):
    """Side(54), as far as money is concerned."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell: positive slippage is a cost on either side."""
        return 1 if self is Side.BUY else -1


class Action(StrEnum):
    """What a routed message asks of the venue."""

    NEW = "new"
    REPLACE = "replace"
    CANCEL = "cancel"


class ReportKind(StrEnum):
    """ExecType(150) as far as quantity is concerned: Trade F, Trade Cancel H, Trade Correct G."""

    FILL = "fill"
    BUST = "bust"
    CORRECT = "correct"


class Liquidity(StrEnum):
    """LastLiquidityInd(851): added or removed."""

    MAKER = "maker"
    TAKER = "taker"


class OrderIntent(msgspec.Struct, frozen=True):
    """An acknowledged routed order message (``order.intent.route.v1``). ``routed_ns`` is the arrival time."""

    correlation_id: str
    msg_id: str
    action: Action
    orig_msg_id: str | None
    venue: str
    account: str
    symbol: str
    side: Side
    order_qty: Decimal
    limit_price: Decimal | None
    decision_price: Decimal | None
    currency: str | None
    routed_ns: int
    venue_order_id: str | None


class FillReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue said about a trade. ``report_id`` is its identity, ``content`` the digest of what it says.

    ``cum_qty``, ``leaves_qty`` and ``avg_px`` are the venue's claims: compared, never believed. The
    ``last_qty`` of a bust is what the venue wrote there and moves nothing: a bust takes back its execution.
    """

    report_id: str
    content: str
    venue: str
    account: str
    symbol: str
    trade_date: date
    exec_id: str
    kind: ReportKind
    exec_ref_id: str | None
    cl_ord_id: str | None
    venue_order_id: str | None
    correlation_id: str | None
    side: Side
    last_qty: Decimal
    last_px: Decimal
    cum_qty: Decimal | None
    leaves_qty: Decimal | None
    avg_px: Decimal | None
    currency: str | None
    fee: Decimal | None
    fee_currency: str | None
    liquidity: Liquidity | None
    transact_ns: int


class Snapshot(msgspec.Struct, frozen=True):
    """MarketDataAgent's best bid and ask at a time (``market.data.snapshot.v1``)."""

    snapshot_id: str
    symbol: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal | None
    ask_size: Decimal | None
    at_ns: int


class Position(msgspec.Struct, frozen=True):
    """Where a feed stands: FIX MsgSeqNum, Kafka offset, venue sequence.

    ``incarnation`` names the numbering: a broker's cluster id, a FIX session's creation. In another
    incarnation the numbers start over.
    """

    feed: str
    stream: str
    incarnation: str
    value: int


class Captured(msgspec.Struct, frozen=True):
    """A report with how it came: its feed, its raw bytes, when its first byte was ours."""

    report: FillReport
    feed: str
    raw: bytes
    received_ns: int


class DeadLetter(msgspec.Struct, frozen=True):
    """An input that is not a fact, kept whole: nothing is dropped."""

    dead_letter_id: str
    source: str
    feed: str
    defect: Defect
    raw: bytes
    received_ns: int


class ExecutionStatus(StrEnum):
    """Whether the execution counts."""

    ACTIVE = "active"
    BUSTED = "busted"


class Execution(msgspec.Struct, frozen=True):
    """A fill tied to its order, as it stands after every bust and correct that refers to it.

    ``execution_id`` is the report id of the fill; ``exec_id`` the venue's ExecID of it; ``last_exec_id`` the
    ExecID of the last report of its chain.
    """

    execution_id: str
    correlation_id: str
    msg_id: str
    venue: str
    account: str
    symbol: str
    side: Side
    trade_date: date
    exec_id: str
    last_exec_id: str
    status: ExecutionStatus
    last_qty: Decimal
    last_px: Decimal
    currency: str | None
    fee: Decimal | None
    fee_currency: str | None
    liquidity: Liquidity | None
    transact_ns: int


class BenchmarkKind(StrEnum):
    """What a slippage is measured against."""

    ARRIVAL_MID = "arrival_mid"
    DECISION_PRICE = "decision_price"
    FILL_MID = "fill_mid"


class Quality(StrEnum):
    """Whether the benchmark is what its kind says, or the best that was at hand."""

    EXACT = "exact"
    BEST_EFFORT = "best_effort"


class SlippageMetric(msgspec.Struct, frozen=True):
    """One slippage of one execution in bps, positive = cost; ``bps`` is None when there is no benchmark."""

    execution_id: str
    trade_date: date
    kind: BenchmarkKind
    bps: Decimal | None
    benchmark: Decimal | None
    benchmark_ns: int | None
    snapshot_id: str | None
    quality: Quality
    quality_reason: str | None


class PendingReason(StrEnum):
    """What a pending report waits for."""

    INTENT = "awaiting_intent"
    REFERENCE = "awaiting_reference"


class BreakKind(StrEnum):
    """How reports and order disagree."""

    SYMBOL_DIFFERS = "symbol_differs"
    SIDE_DIFFERS = "side_differs"
    ACCOUNT_DIFFERS = "account_differs"
    CURRENCY_DIFFERS = "currency_differs"
    CORRELATION_CONFLICT = "correlation_conflict"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    OVERFILL = "overfill"
    PRICE_BEYOND_LIMIT = "price_beyond_limit"


class Break(msgspec.Struct, frozen=True):
    """A disagreement with both sides' values. ``report_id`` is None where it is about the whole order."""

    break_id: str
    correlation_id: str
    kind: BreakKind
    report_id: str | None
    ours: str
    theirs: str


class AuditEvent(msgspec.Struct, frozen=True):
    """One decision, with the bytes that are stored, published and proven. ``key`` is the correlation id."""

    event_id: str
    event_type: str
    key: str
    body: bytes
