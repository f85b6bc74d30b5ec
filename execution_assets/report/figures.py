"""What a day's report shows, worked out of its facts: pure, and exact until it is written or drawn."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from execution_assets.report.facts import Shortfall
from ledger.domain.ageing import Age
from ledger.domain.numbers import TEN_THOUSAND, ZERO, exact_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from execution_assets.report.facts import BreakAge, CheckOutcome, DayFacts, Horizon, Spread

MOST_SYMBOLS = 15  # of the picture; the table has them all
_WIDE = Context(prec=120, rounding=ROUND_HALF_EVEN)  # sums of a day: larger than one product


class Group(msgspec.Struct, frozen=True):
    """Slippage of a group in bps. ``ranks``: at 5, 25, 50, 75, 95 %; () and None where nothing was measured."""

    label: str
    currency: str
    executions: int
    measured: int
    best_effort: int
    mean: Decimal | None
    weighted: Decimal | None
    ranks: tuple[Decimal, ...]
    notional: Decimal


class Curve(msgspec.Struct, frozen=True):
    """The mean slippage of a venue at each horizon; None where nothing was measured."""

    venue: str
    means: tuple[Decimal | None, ...]
    counts: tuple[int, ...]


class Cost(msgspec.Struct, frozen=True):
    """Implementation shortfall of a currency; ``bps`` of what the orders were worth at their decision."""

    facts: Shortfall
    bps: dict[str, Decimal]


class State(StrEnum):
    """How a check stands."""

    BLOCKS = "blocks"
    FAILED = "failed"
    WARNS = "warns"
    OLD = "out of date"
    SKIPPED = "not judged"
    PASSED = "passed"


def mean(total: Decimal, count: int) -> Decimal | None:
    """Divide, once; None where there is nothing to divide by."""
    return exact_ratio(total, Decimal(count)) if count else None


def groups(facts: DayFacts, dimension: str) -> list[Group]:
    """Give the groups of ``venue``, ``symbol``, ``hour`` or ``all`` in their order; symbols by what was traded."""
    found = [_group(spread) for spread in facts.spreads if spread.dimension == dimension]
    if dimension == "symbol":
        # notionals of different currencies do not compare: the number of executions does
        found.sort(key=lambda g: (-g.executions, g.label, g.currency))
    return found


def _group(spread: Spread) -> Group:
    ranks = tuple(rank for rank in (spread.ranks or [])[1:-1] if rank is not None)
    # of several currencies (an hour, the day) there is no common weight
    weighs = bool(spread.currency) and _WIDE.compare(spread.notional, ZERO) != 0
    return Group(
        spread.name,
        spread.currency,
        spread.executions,
        spread.measured,
        spread.best_effort,
        mean(spread.bps_sum, spread.measured),
        exact_ratio(spread.bps_notional, spread.notional) if weighs else None,
        ranks,
        spread.notional,
    )


def curves(horizons: Sequence[Horizon]) -> list[Curve]:
    """Give each venue's mean slippage at each horizon, where there is any."""
    found = [
        Curve(h.venue, tuple(mean(s, n) for s, n in zip(h.sums, h.counts, strict=True)), tuple(h.counts))
        for h in horizons
    ]
    return [curve for curve in found if any(curve.counts)]


def costs(facts: DayFacts) -> list[Cost]:
    """Give the shortfall of each currency in which it is known of an order."""
    return [
        Cost(
            one,
            {
                name: exact_ratio(_WIDE.multiply(getattr(one, name), TEN_THOUSAND), one.paper)
                for name in ("delay", "trading", "opportunity", "fees", "total")
            }
            if one.paper
            else {},
        )
        for one in facts.shortfalls
    ]


def ages(found: Sequence[BreakAge]) -> list[tuple[str, dict[str, int]]]:
    """Give, by kind of break, how many there were in each bucket of age; the kinds with most first."""
    kinds: dict[str, dict[str, int]] = {}
    for one in found:
        kinds.setdefault(one.kind, dict.fromkeys(map(str, Age), 0))[one.age] += one.breaks
    return sorted(kinds.items(), key=lambda item: (-sum(item[1].values()), item[0]))


def state_of(outcome: CheckOutcome, digest: str | None) -> State:
    """Say how a check stands; ``digest`` is of the last derivation."""
    if outcome.blocking and not outcome.passed:
        return State.BLOCKS  # until it passes: another derivation alone puts nothing right
    if outcome.of_digest != digest:
        return State.OLD
    if not outcome.passed:
        return State.WARNS if outcome.severity == "WARN" else State.FAILED
    return State.SKIPPED if outcome.skipped else State.PASSED


def states(facts: DayFacts) -> list[tuple[State, CheckOutcome]]:
    """Give the checks with how they stand, the worst first."""
    digest = None if facts.derived is None else facts.derived.derived_digest
    found = [(state_of(outcome, digest), outcome) for outcome in facts.outcomes]
    order = list(State)
    return sorted(found, key=lambda f: (order.index(f[0]), f[1].asset, f[1].check_name))


def unjudged(facts: DayFacts) -> list[str]:
    """Name the checks that must pass and have not looked at the day."""
    looked = {outcome.check_name for outcome in facts.outcomes}
    return [name for name in facts.must_pass if name not in looked]


def open_breaks(facts: DayFacts) -> int:
    """Count the breaks that were open when the day ended."""
    return sum(one.open for one in facts.break_ages)


def complete(facts: DayFacts) -> tuple[int, int]:
    """Give the orders whose CumQty is ours, of those of which a venue claims one."""
    return sum(v.orders_complete for v in facts.venues), sum(v.orders_claimed for v in facts.venues)


def digest_of_day(facts: DayFacts) -> str:
    """Give one digest for all that was derived of the day: equal digests are equal rows of every table."""
    lines = [f"{table.asset} {table.digest}" for table in facts.tables]
    if facts.derived is not None:
        lines.append(f"executions {facts.derived.derived_digest}")
    return sha256("\n".join(sorted(lines)).encode()).hexdigest() if lines else ""


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Add up, without losing a digit."""
    found = ZERO
    for number in numbers:
        found = _WIDE.add(found, number)
    return found
