"""What a day's report is made of, read from the ledger in one view: sums and ranks, exact, by group."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ledger.db.sql import load_queries
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from sqlalchemy import Connection

SQL = load_queries("report")
BARS = 30  # of the histogram, at most, between its ends
HORIZONS = ("at the fill", "1 s", "10 s", "60 s", "5 min")


class Landed(msgspec.Struct, frozen=True):
    """Reports that landed, by what they tell."""

    fills: int = 0
    busts: int = 0
    corrects: int = 0
    venues: int = 0


class Executions(msgspec.Struct, frozen=True):
    """Executions as they stand; ``withdrawn``: voided by two persons, or superseded by their parts."""

    active: int = 0
    busted: int = 0
    withdrawn: int = 0
    orders: int = 0


class Derived(msgspec.Struct, frozen=True):
    """The last derivation; ``high_water``: when the newest report that it read was received, ns since 1970.

    ``beyond_before``: live figures that earlier derivations corrected by more than the tolerance.
    """

    derived_digest: str
    execution_count: int
    difference_count: int
    high_water: int
    beyond_before: int = 0


class Table(msgspec.Struct, frozen=True):
    """A derived table's day."""

    asset: str
    digest: str
    row_count: int


class Notional(msgspec.Struct, frozen=True):
    """What was traded in a currency; '' where the venue names none."""

    currency: str
    executions: int
    bought: Decimal
    sold: Decimal


class Fee(msgspec.Struct, frozen=True):
    """Fees in a currency; a rebate is negative."""

    currency: str
    fee: Decimal
    executions: int


class Spread(msgspec.Struct, frozen=True):
    """Slippage of a group: against the arrival mid, or the ``benchmark`` that it is named after.

    ``ranks``: at 1, 5, 25, 50, 75, 95, 99 %, None without any.
    """

    dimension: str
    name: str
    currency: str
    executions: int
    measured: int
    best_effort: int
    bps_sum: Decimal
    notional: Decimal
    bps_notional: Decimal
    ranks: list[Decimal | None] | None


class Bucket(msgspec.Struct, frozen=True):
    """Executions whose slippage is in one bar of the histogram; 0 and the last are open to their side."""

    kind: str
    bucket: int
    executions: int


class Horizon(msgspec.Struct, frozen=True):
    """A venue's slippage against the mid at each of ``HORIZONS``: how many are known, and their sum."""

    venue: str
    counts: list[int]
    sums: list[Decimal]


class Shortfall(msgspec.Struct, frozen=True):
    """Implementation shortfall of the orders of a currency."""

    currency: str
    orders: int
    measured: int
    best_effort: int
    paper: Decimal
    fees: Decimal
    delay: Decimal
    trading: Decimal
    opportunity: Decimal
    total: Decimal


class Reason(msgspec.Struct, frozen=True):
    """Why figures of a kind are best effort, or missing; several reasons of an order are joined by commas."""

    kind: str
    reason: str
    is_missing: bool
    figures: int
    of_all: int


class Venue(msgspec.Struct, frozen=True):
    """How a venue served the day (``execution.venue_quality``)."""

    venue: str
    reports: int
    latency_p50_us: int | None
    latency_p95_us: int | None
    latency_p99_us: int | None
    slo_us: int
    within_slo: int
    orders_claimed: int
    orders_complete: int
    gaps_open: int
    pending: int
    duplicates: int
    dead_letters: int
    breaks: int
    halts: int
    halted_seconds: int
    audits: int
    audit_missing: int


class Commit(msgspec.Struct, frozen=True):
    """How long a venue's reports took from received to landed, in microseconds."""

    venue: str
    reports: int
    p50_us: int
    p95_us: int
    p99_us: int


class Letters(msgspec.Struct, frozen=True):
    """Dead letters of the day."""

    reason: str
    letters: int
    waiting: int


class BreakAge(msgspec.Struct, frozen=True):
    """Breaks of a kind that stood on the day, in one bucket of age."""

    kind: str
    age: str
    breaks: int
    open: int


class OpenBreak(msgspec.Struct, frozen=True):
    """A break that was open when the day ended."""

    kind: str
    venue: str
    symbol: str
    correlation_id: str
    ours: str
    theirs: str
    owner: str
    age_seconds: int


class CheckOutcome(msgspec.Struct, frozen=True):
    """What a check found when it last looked; ``of_digest`` names the derivation that it judged."""

    asset: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    row_count: int
    failing: int
    findings: list[tuple[str, str]]
    skipped: str | None
    description: str
    remedy: str
    of_digest: str | None


class DayFacts(msgspec.Struct, frozen=True):
    """All that is known of a day. ``low`` and ``high`` are the histogram's ends, ``bars`` are between them.

    ``must_pass`` names the checks without which a day is not to be used, whether they have looked at it or not.
    """

    day: date
    landed: Landed = Landed()
    executions: Executions = Executions()
    derived: Derived | None = None
    tables: list[Table] = []
    notionals: list[Notional] = []
    fees: list[Fee] = []
    spreads: list[Spread] = []
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    bars: int = 0
    histogram: list[Bucket] = []
    horizons: list[Horizon] = []
    shortfalls: list[Shortfall] = []
    reasons: list[Reason] = []
    venues: list[Venue] = []
    commits: list[Commit] = []
    letters: list[Letters] = []
    break_ages: list[BreakAge] = []
    open_breaks: list[OpenBreak] = []
    outcomes: list[CheckOutcome] = []
    must_pass: list[str] = []


Kind = TypeVar("Kind")


def read_facts(connection: Connection, day: date, slo_us: int) -> DayFacts:
    """Read a day; ``connection`` is of one view (``LedgerResource.reading``). A day without anything is empty."""
    start = day_start(day.year, day.month, day.day)
    from execution_assets.checks import CHECKS  # noqa: PLC0415  Dagster's definitions: 1-2 s

    given = {"day": day, "start_ns": start, "end_ns": start + 86_400 * NANOS, "limit_us": slo_us}

    def rows(query: str, kind: type[Kind], **more: object) -> list[Kind]:
        driver: Any = connection.connection.driver_connection
        cursor = driver.execute(query, {**given, **more})
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return msgspec.convert(found, list[kind])  # type: ignore[valid-type]

    spreads = [*rows(SQL["spreads"], Spread), *rows(SQL["benchmarks"], Spread)]
    low, high, bars = histogram_bounds(spreads)
    return DayFacts(
        day,
        landed=rows(SQL["landed"], Landed)[0],
        executions=rows(SQL["executions"], Executions)[0],
        derived=next(iter(rows(SQL["derivation"], Derived)), None),
        tables=rows(SQL["derivations"], Table),
        notionals=rows(SQL["notionals"], Notional),
        fees=rows(SQL["fees"], Fee),
        spreads=spreads,
        low=low,
        high=high,
        bars=bars,
        histogram=rows(SQL["histogram"], Bucket, low=low, high=high, count=bars) if bars else [],
        horizons=rows(SQL["horizons"], Horizon),
        shortfalls=rows(SQL["shortfalls"], Shortfall),
        reasons=rows(SQL["reasons"], Reason),
        venues=rows(SQL["venues"], Venue),
        commits=rows(load_queries("checks")["latencies"], Commit),
        letters=rows(SQL["letters"], Letters),
        break_ages=rows(SQL["break_ages"], BreakAge),
        open_breaks=rows(SQL["oldest_breaks"], OpenBreak),
        outcomes=rows(SQL["outcomes"], CheckOutcome),
        must_pass=sorted(spec.name for check in CHECKS for spec in check.check_specs if spec.blocking),
    )


def histogram_bounds(spreads: list[Spread]) -> tuple[Decimal, Decimal, int]:
    """Give ends that hold all but the outermost 1 % on each side, and how many bars are between them.

    Bars are 1, 2 or 5 times a power of ten bps wide, so ends and zero are on their borders. None where nothing was
    measured.
    """
    whole = next((s for s in spreads if s.dimension == "all"), None)
    ranks = [] if whole is None else [rank for rank in whole.ranks or [] if rank is not None]
    if not ranks:
        return Decimal(0), Decimal(0), 0
    wanted = max((max(ranks) - min(ranks)) / (BARS - 2), Decimal("0.01"))
    power = Decimal(1).scaleb(wanted.adjusted())
    width = next(power * step for step in (1, 2, 5, 10) if power * step >= wanted)
    low = (min(ranks) / width).to_integral_value("ROUND_FLOOR")
    high = (max(ranks) / width).to_integral_value("ROUND_FLOOR") + 1
    return low * width, high * width, int(high - low)
