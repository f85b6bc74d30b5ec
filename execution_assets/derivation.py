"""A day derived again from its landed facts, compared with the live rows, and the live rows corrected.

All of it is one REPEATABLE READ transaction: the facts and the live rows are of one moment, and a row that
the live process changes meanwhile makes Postgres refuse ours (40001) instead of losing theirs; then the day is
derived once more. Writes come last and are short, so the live process waits for milliseconds at most.
"""

from __future__ import annotations

from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy.exc import DBAPIError

from execution_assets.comparison import (
    Differences,
    differing,
)
from execution_assets.correction import Correction
from execution_assets.facts import SQL, Facts, book_for, read_facts, rows_of
from ledger.db.instruments import read_instruments
from ledger.db.rows import read_execution, read_metric
from ledger.domain.decide import decide, with_instruments
from ledger.domain.digest import execution_line, metric_line
from ledger.domain.records import BenchmarkKind, Execution, SlippageMetric

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from ledger.domain.decide import Policy

LIVE_KINDS = [str(kind) for kind in BenchmarkKind]  # what streaming measures; the day's own kinds are not compared
ATTEMPTS = 5  # a day under trade changes while it is derived, but rarely a row that differs
_REFUSED = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected

MetricKey = tuple[str, BenchmarkKind]


class Derivation(msgspec.Struct, frozen=True):
    """What a derivation found. ``execution_count`` and the digest are of the derived rows."""

    day: date
    report_count: int
    execution_count: int
    metric_count: int
    derived_digest: str
    live_digest: str
    differences: Differences
    high_water: int


def derive_day(
    engine: Engine, day: date, policy: Policy, *, correct: bool = True, log: Callable[[str], None] = lambda _: None
) -> Derivation:
    """Derive, compare, correct what differs, and record it; with ``correct=False`` only say what would change."""
    serial = engine.execution_options(isolation_level="REPEATABLE READ")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with serial.connect() as connection:
                derivation = _derive(connection, day, policy)
                if correct:
                    connection.commit()
                else:
                    connection.rollback()
                return derivation
        except DBAPIError as error:
            if attempt == ATTEMPTS or getattr(error.orig, "sqlstate", None) not in _REFUSED:
                raise
            log(f"{day}: the live process changed a row meanwhile; deriving again (attempt {attempt + 1})")
    raise AssertionError("the last attempt returns or raises")


def _derive(connection: Connection, day: date, settings: Policy) -> Derivation:
    policy = with_instruments(settings, read_instruments(connection))
    landed = connection.execute(SQL["high_water"], {"day": day}).one()
    live_digest = digest_of_day(connection, day)
    differences = Differences()
    correction = Correction(day)
    executions = metrics = 0
    for facts in read_facts(connection, day):
        counted = _derive_orders(connection, day, facts, policy, differences, correction)
        executions += counted[0]
        metrics += counted[1]
    _find_unsupported(connection, day, differences, correction)
    correction.write(connection)
    # Rows were compared one by one: where none differs the sets are equal, and so are their digests.
    derived_digest = digest_of_day(connection, day) if differences.count else live_digest
    connection.execute(SQL["forget_derivation"], {"day": day})
    connection.execute(
        SQL["record_derivation"],
        {
            "day": day,
            "derived_digest": derived_digest,
            "live_digest": live_digest,
            "execution_count": executions,
            "difference_count": differences.count,
            "differences": msgspec.json.encode(differences).decode(),
            "high_water": landed.high_water,
        },
    )
    return Derivation(
        day, landed.report_count, executions, metrics, derived_digest, live_digest, differences, landed.high_water
    )


def _derive_orders(
    connection: Connection,
    day: date,
    facts: Facts,
    policy: Policy,
    differences: Differences,
    correction: Correction,
) -> tuple[int, int]:
    decision = decide(
        book_for(connection, facts, policy.slippage.instruments),
        [*facts.intents, *facts.reports, *facts.resolutions],
        policy,
    )
    executions = {e.execution_id: e for e in decision.executions if e.trade_date == day}
    metrics: dict[MetricKey, SlippageMetric] = {
        (m.execution_id, m.kind): m for m in decision.metrics if m.trade_date == day
    }
    for was, now in differing(_live_executions(connection, day, list(executions)), executions):
        differences.add(was, now)
        if now is not None:
            correction.put_execution(
                now, decision.chains.get(now.execution_id), decision.withheld.get(now.execution_id)
            )
    for found, wanted in differing(_live_metrics(connection, day, list(executions)), metrics):
        differences.add(found, wanted)
        correction.replace_metric(found, wanted)
    return len(executions), len(metrics)


def _find_unsupported(connection: Connection, day: date, differences: Differences, correction: Correction) -> None:
    for row in rows_of(connection, "unsupported_executions", {"day": day}):
        execution = read_execution(row)
        differences.add(execution, None)
        correction.remove_execution(execution)
    for row in rows_of(connection, "unsupported_metrics", {"day": day, "kinds": LIVE_KINDS}):
        metric = read_metric(row)
        differences.add(metric, None)
        correction.replace_metric(metric, None)


def _live_executions(connection: Connection, day: date, ids: list[str]) -> dict[str, Execution]:
    rows = rows_of(connection, "live_executions", {"day": day, "ids": ids})
    found = (read_execution(row) for row in rows)
    return {e.execution_id: e for e in found}


def _live_metrics(connection: Connection, day: date, ids: list[str]) -> dict[MetricKey, SlippageMetric]:
    rows = rows_of(connection, "live_metrics", {"day": day, "ids": ids, "kinds": LIVE_KINDS})
    found = (read_metric(row) for row in rows)
    return {(m.execution_id, m.kind): m for m in found}


def digest_of_day(connection: Connection, day: date) -> str:
    """``ledger.domain.digest.digest_of`` of a day's live rows, streamed: the database sorts, memory stays flat.

    A line begins with the execution's id, so the order of ids (then kinds) is the order of lines.
    """
    hasher = sha256()
    for row in rows_of(connection, "executions_in_order", {"day": day}, stream=True):
        hasher.update(execution_line(read_execution(row)) + b"\n")
    for row in rows_of(connection, "metrics_in_order", {"day": day, "kinds": LIVE_KINDS}, stream=True):
        hasher.update(metric_line(read_metric(row)) + b"\n")
    return hasher.hexdigest()
