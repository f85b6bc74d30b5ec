"""A share of a day's orders derived and compared: what one connection does, in this process or in one of its own.

``python -m execution_assets.shares`` reads a ``Job`` on standard input and writes its ``ShareResult`` to standard
output. It reads by the snapshot that the day's transaction has exported, so all shares are of one moment, and
writes nothing to the ledger: the day's transaction does.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import NullPool, create_engine, text

from execution_assets.comparison import Differences, differing
from execution_assets.correction import Correction
from execution_assets.facts import Facts, book_for, driver_sql, read_facts, rows_of
from execution_assets.finals import FinalsResult, derive_finals_share
from execution_assets.market import DayMarket
from execution_assets.processes import Job, few_collections
from ledger.db.instruments import read_instruments
from ledger.db.rows import read_execution, read_metric
from ledger.domain.decide import Policy, decide, with_instruments
from ledger.domain.digest import ENTRY_BYTES, entry_of
from ledger.domain.records import BenchmarkKind, Execution, SlippageMetric
from ledger.domain.slippage import SlippagePolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from sqlalchemy import Connection

LIVE_KINDS = [str(kind) for kind in BenchmarkKind]  # what streaming measures; the day's own kinds are not compared

# Executions compared at once. Ids are spread over the whole index: of 5,000 at a time each cost Postgres 54 us, of
# 20,000 28 us, of 40,000 17 us; 20,000 are some 60 MB here.
COMPARED_EXECUTIONS = 20_000

MetricKey = tuple[str, BenchmarkKind]


class ShareResult(msgspec.Struct):
    """What a share amounts to. ``derived`` and ``live`` are entries of ``ledger.domain.digest``, unsorted."""

    executions: int = 0
    metrics: int = 0
    live_executions: int = 0
    live_metrics: int = 0
    derived: bytearray = msgspec.field(default_factory=bytearray)
    live: bytearray = msgspec.field(default_factory=bytearray)
    differences: Differences = msgspec.field(default_factory=Differences)

    def take(self, other: ShareResult) -> None:
        """Add another share."""
        self.executions += other.executions
        self.metrics += other.metrics
        self.live_executions += other.live_executions
        self.live_metrics += other.live_metrics
        self.derived += other.derived
        self.live += other.live
        self.differences.take(other.differences)


class Derived(msgspec.Struct):
    """What was derived and is to be compared: by execution."""

    executions: dict[str, Execution] = {}
    metrics: dict[str, list[SlippageMetric]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    withheld: dict[str, tuple[str, ...]] = {}


def derive_share(
    connection: Connection,
    day: date,
    policy: Policy,
    correction: Correction,
    *,
    share: int = 0,
    shares: int = 1,
    tell: Callable[[int], None] = lambda _: None,
) -> ShareResult:
    """Derive the orders of a share, compare them with the live rows, and collect what must be corrected.

    ``tell`` hears how many reports were decided after every chunk.
    """
    found = ShareResult()
    market = DayMarket(connection, day)
    quiet = msgspec.structs.replace(policy, silent=True)
    derived = Derived()
    for facts in read_facts(connection, day, share, shares):
        _derive_orders(day, facts, market, quiet, derived)
        tell(len(facts.reports))
        if len(derived.executions) >= COMPARED_EXECUTIONS:
            _compare(connection, day, derived, found, correction)
            derived = Derived()
    if derived.executions:
        _compare(connection, day, derived, found, correction)
    return found


def _derive_orders(day: date, facts: Facts, market: DayMarket, policy: Policy, derived: Derived) -> None:
    book = book_for(market, facts, policy.slippage.instruments)
    decision = decide(book, [*facts.intents, *facts.reports, *facts.resolutions], policy)
    derived.executions.update((e.execution_id, e) for e in decision.executions if e.trade_date == day)
    for metric in decision.metrics:
        if metric.trade_date == day:
            derived.metrics.setdefault(metric.execution_id, []).append(metric)
    derived.chains.update(decision.chains)
    derived.withheld.update(decision.withheld)


def _compare(
    connection: Connection, day: date, derived: Derived, found: ShareResult, correction: Correction
) -> None:
    executions, metrics = derived.executions, derived.metrics
    found.executions += len(executions)
    found.metrics += sum(map(len, metrics.values()))
    live = live_entries(connection, day, found, list(executions))
    unequal: list[str] = []
    for name, execution in executions.items():
        entry = entry_of(name, execution, metrics.get(name, ()))
        found.derived += entry
        if live.get(name) != entry:
            unequal.append(name)
    if not unequal:
        return
    ours = {name: executions[name] for name in unequal}
    for was, now in differing(_live_executions(connection, day, unequal), ours):
        found.differences.add(was, now)
        if now is not None:
            chain, withheld = derived.chains.get(now.execution_id), derived.withheld.get(now.execution_id)
            correction.put_execution(now, chain, withheld)
    measured = {(m.execution_id, m.kind): m for name in unequal for m in metrics.get(name, ())}
    for known, wanted in differing(_live_metrics(connection, day, unequal), measured):
        found.differences.add(known, wanted)
        correction.replace_metric(known, wanted)


def live_entries(connection: Connection, day: date, found: ShareResult, ids: list[str] | None) -> dict[str, bytes]:
    """Ask for the entries of live rows by id, and count them; ``ids`` None: of the whole day."""
    entries: dict[str, bytes] = {}
    # the driver itself, and an array as text: row by name and id by id both take longer than Postgres does
    asked = None if ids is None else f"{{{','.join(ids)}}}"
    driver: Any = connection.connection.driver_connection
    cursor = driver.execute(
        driver_sql("live_entries"), {"day": day, "kinds": LIVE_KINDS, "ids": asked}, binary=True
    )
    for entry, is_execution, metric_count in cursor:
        entries[entry[:16].hex()] = entry
        found.live += entry
        found.live_executions += is_execution
        found.live_metrics += metric_count
    return entries


def find_unsupported(connection: Connection, day: date, found: ShareResult, correction: Correction) -> None:
    """Take up the live rows that no landed fill stands behind."""
    executions = {
        e.execution_id: e for e in map(read_execution, rows_of(connection, "unsupported_executions", {"day": day}))
    }
    for execution in executions.values():
        found.differences.add(execution, None)
        correction.remove_execution(execution)
    ids = set(executions)
    for metric in map(read_metric, rows_of(connection, "unsupported_metrics", {"day": day, "kinds": LIVE_KINDS})):
        found.differences.add(metric, None)
        correction.replace_metric(metric, None)
        ids.add(metric.execution_id)
    if ids:
        live_entries(connection, day, found, sorted(ids))


def _live_executions(connection: Connection, day: date, ids: list[str]) -> dict[str, Execution]:
    rows = rows_of(connection, "live_executions", {"day": day, "ids": ids})
    return {e.execution_id: e for e in map(read_execution, rows)}


def _live_metrics(connection: Connection, day: date, ids: list[str]) -> dict[MetricKey, SlippageMetric]:
    rows = rows_of(connection, "live_metrics", {"day": day, "ids": ids, "kinds": LIVE_KINDS})
    return {(m.execution_id, m.kind): m for m in map(read_metric, rows)}


def entries_of(joined: Iterable[int]) -> list[bytes]:
    """Take entries that were joined apart."""
    whole = bytes(joined)
    return [whole[start : start + ENTRY_BYTES] for start in range(0, len(whole), ENTRY_BYTES)]


def main() -> None:
    """Derive the share that standard input asks for."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    folder = Path(job.folder)
    found: ShareResult | FinalsResult
    engine = create_engine(job.url, poolclass=NullPool).execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection, few_collections():
        # an identifier that Postgres made, in a statement that takes no parameters
        connection.execute(text(f"SET TRANSACTION SNAPSHOT '{job.snapshot}'"))
        rules = Policy(SlippagePolicy(job.stale_after_ns, job.price), job.tolerances, job.grace)
        policy = with_instruments(rules, read_instruments(connection))
        if job.task == "executions":
            with Correction(folder, f"share-{job.share}") as correction:
                found = derive_share(connection, job.day, policy, correction, share=job.share, shares=job.shares)
        else:
            found = derive_finals_share(connection, job.day, policy, folder, share=job.share, shares=job.shares)
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))


if __name__ == "__main__":
    main()
