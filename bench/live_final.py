"""``make live-final``: how far live slippage is from final slippage on captured markets.

Each file is played in the order in which it was received: quotes are the snapshots (at the exchange's time where
the stream has it, else when they came), trades are fills of orders made for them, in three kinds of instrument
with fees in quote, base and a third currency. ``decide`` takes them in small batches, as the process does under
load, so a quote that came after a trade of a later time is late. Then all is measured with all quotes known.

Exit 1 where a live figure is more than 2 bps from the final one once late quotes were taken in.
Example: ``python -m bench.live_final ../shared/data/*.gz``
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table

from bench.captured import Arrived, instruments, read_market
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.fees import fee_bps
from ledger.domain.numbers import EXACT, ZERO
from ledger.domain.records import Execution, OrderIntent, Quality, SlippageMetric, Snapshot
from ledger.domain.slippage import SlippagePolicy, measure
from ledger.domain.snapshots import SnapshotBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.records import BenchmarkKind

BATCH_NS = 5_000_000  # one commit under load
TOLERANCE_BPS = Decimal(2)
DATA = Path(__file__).parents[2] / "shared" / "data"

Key = tuple[str, "BenchmarkKind"]


class Played(msgspec.Struct):
    """What the live rules made of a market: each figure as first published and as it stands at the end."""

    first: dict[Key, SlippageMetric] = msgspec.field(default_factory=dict)
    last: dict[Key, SlippageMetric] = msgspec.field(default_factory=dict)
    executions: dict[str, Execution] = msgspec.field(default_factory=dict)
    restated: int = 0


class Compared(msgspec.Struct):
    """Live against final: counts of figures, and the greatest differences in bps."""

    figures: int = 0
    best_effort: Counter[str] = msgspec.field(default_factory=Counter)
    equal_at_first: int = 0
    equal_at_last: int = 0
    worst_at_first: Decimal = ZERO
    worst_at_last: Decimal = ZERO
    fees_apart: int = 0


def play(arrived: Sequence[Arrived], policy: Policy) -> Played:
    """Decide everything in the order of arrival."""
    book, known, played = Book(instruments=policy.slippage.instruments), SnapshotBook(limit=1 << 60), Played()
    for _, batch in groupby(arrived, key=lambda one: one.at_ns // BATCH_NS):
        facts: list[Fact] = [one.fact for one in batch]
        for symbol, at_ns in book.uncovered(facts):  # as the process asks Postgres for what memory has dropped
            book.snapshots.anchor(symbol, at_ns, known.at_or_before(symbol, at_ns))
        decision = decide(book, facts, policy)
        book.apply(decision)
        known.add(decision.snapshots)
        for execution in (*decision.executions, *decision.executions_changed):
            played.executions[execution.execution_id] = execution
        for metric in decision.metrics:
            played.first[metric.execution_id, metric.kind] = metric
            played.last[metric.execution_id, metric.kind] = metric
        for metric in decision.metrics_changed:
            played.last[metric.execution_id, metric.kind] = metric
            played.restated += 1
    return played


def compare(played: Played, arrived: Iterable[Arrived], policy: Policy) -> Compared:
    """Measure every execution again with all snapshots known, and compare."""
    facts = [one.fact for one in arrived]
    known = SnapshotBook(limit=1 << 60)
    known.add(sorted((f for f in facts if isinstance(f, Snapshot)), key=lambda s: (s.at_ns, s.snapshot_id)))
    roots = {f.correlation_id: f for f in facts if isinstance(f, OrderIntent)}
    found = Compared()
    for execution in played.executions.values():
        found.fees_apart += execution.fee_bps != fee_bps(execution, policy.slippage.instruments)
        for final in measure(execution, roots[execution.correlation_id], known, policy.slippage):
            key = (final.execution_id, final.kind)
            found.figures += 1
            if final.quality is Quality.BEST_EFFORT:
                found.best_effort[final.quality_reason or ""] += 1
            found.equal_at_first += played.first.get(key) == final
            found.equal_at_last += played.last.get(key) == final
            found.worst_at_first = max(found.worst_at_first, apart(played.first.get(key), final))
            found.worst_at_last = max(found.worst_at_last, apart(played.last.get(key), final))
    return found


def apart(live: SlippageMetric | None, final: SlippageMetric) -> Decimal:
    """Give the bps between two figures; endless where one of them is missing."""
    ours = None if live is None else live.bps
    if ours is None or final.bps is None:
        return ZERO if ours is final.bps else Decimal("Infinity")
    return abs(EXACT.subtract(ours, final.bps))


def main() -> int:
    """Play all files against both prices; exit 1 when a figure stays more than 2 bps away."""
    parser = argparse.ArgumentParser(prog="python -m bench.live_final", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help=f"captured markets (default: {DATA}/*.gz)")
    files = parser.parse_args().files or sorted(DATA.glob("*.gz"))
    if not files:
        print(f"no captured market in {DATA}: name files", file=sys.stderr)
        return 2
    table = Table(title="slippage: live against final, in figures and bps", title_justify="left")
    columns = ("file", "price", "fills", "figures", "best effort", "equal when published", "worst", "restated")
    for name in (*columns, "equal at last", "worst at last"):
        table.add_column(name, justify="left" if name in {"file", "price"} else "right")
    failed = False
    for file in files:
        arrived = read_market(file)
        for price in ("mid", "microprice"):
            policy = Policy(SlippagePolicy(price=price, instruments=instruments()))
            played = play(arrived, policy)
            found = compare(played, arrived, policy)
            failed |= found.worst_at_last > TOLERANCE_BPS or found.fees_apart > 0
            table.add_row(
                file.name.partition(".")[0],
                price,
                f"{len(played.executions):,}",
                f"{found.figures:,}",
                ", ".join(f"{n:,} {reason}" for reason, n in found.best_effort.items()) or "0",
                f"{found.equal_at_first:,}",
                f"{found.worst_at_first:.4f}",
                f"{played.restated:,}",
                f"{found.equal_at_last:,}",
                f"{found.worst_at_last:.4f}",
            )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
