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


# Names: a member of an enumeration takes ten times as long to look up, and every fill asks (Python 3.11).
FILL, BUST, CORRECT = ReportKind.FILL, ReportKind.BUST, ReportKind.CORRECT


class Liquidity(StrEnum):
    """LastLiquidityInd(851): added or removed."""

    MAKER = "maker"
    TAKER = "taker"


class ExecType(StrEnum):
    """ExecType(150) of a report that moves no quantity, by its FIX 5.0SP2 name without blanks.

    ``CANCEL_REJECT`` stands for the message OrderCancelReject (35=9), which has no ExecType.
    """

    NEW = "New"
    DONE_FOR_DAY = "DoneForDay"
    CANCELED = "Canceled"
    REPLACED = "Replaced"
    PENDING_CANCEL = "PendingCancel"
    STOPPED = "Stopped"
    REJECTED = "Rejected"
    SUSPENDED = "Suspended"
    PENDING_NEW = "PendingNew"
    CALCULATED = "Calculated"
    EXPIRED = "Expired"
    RESTATED = "Restated"
    PENDING_REPLACE = "PendingReplace"
    ORDER_STATUS = "OrderStatus"
    TRIGGERED = "Triggered"
    CANCEL_REJECT = "CancelReject"


class OrdStatus(StrEnum):
    """OrdStatus(39) by its FIX name without blanks."""

    NEW = "New"
    PARTIALLY_FILLED = "PartiallyFilled"
    FILLED = "Filled"
    DONE_FOR_DAY = "DoneForDay"
    CANCELED = "Canceled"
    REPLACED = "Replaced"
    PENDING_CANCEL = "PendingCancel"
    STOPPED = "Stopped"
    REJECTED = "Rejected"
    SUSPENDED = "Suspended"
    PENDING_NEW = "PendingNew"
    CALCULATED = "Calculated"
    EXPIRED = "Expired"
    ACCEPTED_FOR_BIDDING = "AcceptedForBidding"
    PENDING_REPLACE = "PendingReplace"


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
    ``account`` is "" where the venue does not say. ``part_of`` is the ExecID of the report that this is a part of,
    where a venue reports one execution whole and split (FIX 5.0SP2, FillsGrp). ``trade_report_id`` is
    TradeReportID(571), by which a trade capture names the report beside its ExecID.
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
    part_of: str | None = None
    trade_report_id: str | None = None


class OrderReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue said of an order that moves no quantity: accepted, canceled, replaced, restated, its status.

    ``report_id`` is the digest of all it says, so the same words again are the same report and two contents of one
    identity cannot be. ``orig_cl_ord_id`` is OrigClOrdID(41). ``order_qty`` and ``limit_price`` are the order's as
    of this report, ``reason`` the venue's text or code for it. ``account`` and ``symbol`` are "" and ``side`` is
    None where the message does not say (an OrderCancelReject has none of them).
    """

    report_id: str
    venue: str
    account: str
    symbol: str
    trade_date: date
    exec_id: str | None
    exec_type: ExecType
    ord_status: OrdStatus | None
    cl_ord_id: str | None
    orig_cl_ord_id: str | None
    venue_order_id: str | None
    correlation_id: str | None
    side: Side | None
    order_qty: Decimal | None
    limit_price: Decimal | None
    cum_qty: Decimal | None
    leaves_qty: Decimal | None
    avg_px: Decimal | None
    reason: str | None
    transact_ns: int


Report = FillReport | OrderReport


class Snapshot(msgspec.Struct, frozen=True):
    """MarketDataAgent's best bid and ask at a time (``market.data.snapshot.v1``).

    ``traded_qty`` and ``traded_notional`` (in quote currency) are what the market traded in the symbol since its
    snapshot before: both or neither, zero where nothing traded, None where the sender does not know.
    """

    snapshot_id: str
    symbol: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal | None
    ask_size: Decimal | None
    at_ns: int
    traded_qty: Decimal | None = None
    traded_notional: Decimal | None = None


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
    """A report of a trade with how it came: its feed, its raw bytes, when its first byte was ours."""

    report: FillReport
    feed: str
    raw: bytes
    received_ns: int


class CapturedOrder(msgspec.Struct, frozen=True):
    """A report of an order's state with how it came."""

    report: OrderReport
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
    """Whether the execution counts; only an active one does.

    ``BUSTED``: the venue took it back. ``VOIDED``: two persons did (``breaks reject``). ``SUPERSEDED``: the venue
    reported it once more in parts, which count instead.
    """

    ACTIVE = "active"
    BUSTED = "busted"
    VOIDED = "voided"
    SUPERSEDED = "superseded"


ACTIVE, BUSTED = ExecutionStatus.ACTIVE, ExecutionStatus.BUSTED


class Execution(msgspec.Struct, frozen=True):
    """A fill tied to its order, as it stands after every bust and correct that refers to it.

    ``execution_id`` is the report id of the fill; ``exec_id`` the venue's ExecID of it; ``last_exec_id`` the
    ExecID of the last report of its chain. ``match_rule`` names how it was matched where it is not one fill, one
    execution: ``one_to_many`` on each part of a split report, ``many_to_one`` on the whole that parts supersede.
    ``fee_bps`` is the fee over the notional, positive = cost, where both are in one currency.
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
    match_rule: str | None = None
    fee_bps: Decimal | None = None


class BenchmarkKind(StrEnum):
    """What a slippage is measured against; ``FEE``: the rate that a fee in a third currency is measured at."""

    ARRIVAL_MID = "arrival_mid"
    DECISION_PRICE = "decision_price"
    FEE = "fee"
    FILL_MID = "fill_mid"


class Quality(StrEnum):
    """Whether the benchmark is what its kind says, or the best that was at hand."""

    EXACT = "exact"
    BEST_EFFORT = "best_effort"


class SlippageMetric(msgspec.Struct, frozen=True):
    """One slippage of one execution in bps, positive = cost; ``bps`` is None when there is no benchmark.

    Of kind ``FEE`` it is the fee over the notional, and the benchmark is the mid of the pair that is the rate.
    """

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
    GAP = "awaiting_gap"


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
    CUM_QTY_DIFFERS = "cum_qty_differs"
    AVG_PX_DIFFERS = "avg_px_differs"
    SPLIT_DIFFERS = "split_differs"
    VOIDED_CORRECTED = "voided_corrected"
    UNKNOWN_ORDER = "unknown_order"


class Break(msgspec.Struct, frozen=True):
    """A disagreement with both sides' values. ``report_id`` is None where it is about the whole order."""

    break_id: str
    correlation_id: str
    kind: BreakKind
    report_id: str | None
    ours: str
    theirs: str


class Verdict(StrEnum):
    """What two persons decide of a break."""

    RELEASE = "release"
    REJECT = "reject"


class Resolution(msgspec.Struct, frozen=True):
    """Two persons' verdict on a break as it stood (``ours``, ``theirs``): with other values it is open again.

    ``voids`` names what a rejection takes out, as (report id, content); the rules fill it in when they take the
    resolution up, so that it stays what it was whatever comes later.
    """

    resolution_id: str
    break_id: str
    correlation_id: str
    verdict: Verdict
    ours: str
    theirs: str
    requested_by: str
    approved_by: str
    reason: str
    at_ns: int
    voids: tuple[tuple[str, str], ...] = ()


class Waiting(msgspec.Struct, frozen=True):
    """A pending row whose grace time is over, and the report behind it: of a gap the one that claims more.

    ``correlation_id`` is None while the order is not known.
    """

    row_id: str
    reason: PendingReason
    correlation_id: str | None
    captured: Captured | CapturedOrder


class Overdue(msgspec.Struct, frozen=True):
    """The clock as a fact: at ``now_ns`` these reports have waited longer than their grace time."""

    now_ns: int
    waiting: tuple[Waiting, ...]


class AuditEvent(msgspec.Struct, frozen=True):
    """One decision, with the bytes that are stored, published and proven. ``key`` is the correlation id."""

    event_id: str
    event_type: str
    key: str
    body: bytes
