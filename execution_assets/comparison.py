"""Derived rows against live rows: pure. A difference is kept as it was found, before anything is corrected."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ledger.domain.numbers import EXACT, ZERO, text
from ledger.domain.records import Execution, Quality, SlippageMetric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The differences kept of a day: enough to find the cause, small enough for one row (a difference is 0.3 kB)
SAMPLE_LIMIT = 10_000
TOLERANCE_BPS = Decimal(2)  # live and final figure of one execution (docs/architecture.md)

Figure = Execution | SlippageMetric
Key = TypeVar("Key")
Row = TypeVar("Row")


class Found(StrEnum):
    """What is wrong with the live row."""

    MISSING = "missing"
    DIFFERS = "differs"
    UNSUPPORTED = "unsupported"


class Difference(msgspec.Struct, frozen=True):
    """One row that differs. ``fields``: name -> (live, derived), for ``differs`` only the unequal ones."""

    execution_id: str
    kind: str | None  # of the slippage; None: the execution itself
    found: Found
    fields: dict[str, tuple[str | None, str | None]]


class Differences(msgspec.Struct):
    """A day's differences: counted all, kept up to ``SAMPLE_LIMIT``. ``found`` counts by table and ``Found``.

    ``beyond`` counts the figures that ``said_apart`` has something to say of, kept or not; ``beyond_before``
    those of the day's earlier derivations, which have been corrected since.
    """

    executions: int = 0
    slippages: int = 0
    worst_bps: Decimal = ZERO
    sample: list[Difference] = msgspec.field(default_factory=list)
    found: dict[str, int] = msgspec.field(default_factory=dict)
    beyond: int = 0
    beyond_before: int = 0

    @property
    def count(self) -> int:
        """How many rows differ."""
        return self.executions + self.slippages

    def add(self, live: Figure | None, derived: Figure | None) -> None:
        """Take up one row that differs."""
        shown = derived or live
        assert shown is not None, "a difference has a side"
        if isinstance(shown, Execution):
            self.executions += 1
            kind = None
        else:
            self.slippages += 1
            kind = str(shown.kind)
            self.worst_bps = max(self.worst_bps, _bps_apart(live, derived))
        found = Found.MISSING if live is None else Found.UNSUPPORTED if derived is None else Found.DIFFERS
        name = f"{'executions' if kind is None else 'slippage_metrics'}.{found}"
        self.found[name] = self.found.get(name, 0) + 1
        self.beyond += _is_beyond(live, derived)
        if len(self.sample) < SAMPLE_LIMIT:
            self.sample.append(Difference(shown.execution_id, kind, found, _fields(live, derived)))

    def take(self, other: Differences) -> None:
        """Add the differences of another share of the day."""
        self.executions += other.executions
        self.slippages += other.slippages
        self.worst_bps = max(self.worst_bps, other.worst_bps)
        self.beyond += other.beyond
        self.sample += other.sample[: SAMPLE_LIMIT - len(self.sample)]
        for name, count in other.found.items():
            self.found[name] = self.found.get(name, 0) + count


def differing(live: Mapping[Key, Row], derived: Mapping[Key, Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Pair the rows that are not equal; numbers are compared by value."""
    for key, row in derived.items():
        known = live.get(key)
        if known != row:
            yield known, row
    for key, known in live.items():
        if key not in derived:
            yield known, None


def said_apart(live: Decimal | None, final: Decimal | None) -> str | None:
    """Say how far a live and a final figure in bps are apart, where that is more than the tolerance."""
    if live is None or final is None:
        said = ["none" if figure is None else trimmed(figure) for figure in (live, final)]
        return None if live == final else f"live {said[0]}, final {said[1]}"
    distance = abs(EXACT.subtract(live, final))
    if distance <= TOLERANCE_BPS:
        return None
    return f"live {trimmed(live)}, final {trimmed(final)}: {trimmed(distance)} bps apart"


def trimmed(value: Decimal) -> str:
    """Plain decimal notation without the zeros that a column's scale adds."""
    return text(EXACT.normalize(value))


def _is_beyond(live: Figure | None, derived: Figure | None) -> bool:
    sides = [side for side in (live, derived) if side is not None]
    # something is promised of a figure that is exact, live or in the end; a fee needs no benchmark
    if not any(isinstance(side, Execution) or side.quality == Quality.EXACT for side in sides):
        return False
    return said_apart(_bps_of(live), _bps_of(derived)) is not None


def _bps_of(row: Figure | None) -> Decimal | None:
    return row.fee_bps if isinstance(row, Execution) else None if row is None else row.bps


def _bps_apart(live: Figure | None, derived: Figure | None) -> Decimal:
    if not isinstance(live, SlippageMetric) or not isinstance(derived, SlippageMetric):
        return ZERO
    if live.bps is None or derived.bps is None:
        return ZERO
    return abs(EXACT.subtract(live.bps, derived.bps))


def _fields(live: Figure | None, derived: Figure | None) -> dict[str, tuple[str | None, str | None]]:
    ours, theirs = _values(derived), _values(live)
    return {
        name: (_shown(theirs.get(name)), _shown(ours.get(name)))
        for name in (ours or theirs)
        if theirs.get(name) != ours.get(name)
    }


def _values(row: Figure | None) -> dict[str, Any]:
    return {} if row is None else msgspec.structs.asdict(row)


def _shown(value: object) -> str | None:
    if value is None:
        return None
    return text(value) if isinstance(value, Decimal) else str(value)
