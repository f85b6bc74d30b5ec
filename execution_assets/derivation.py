"""A day derived again from its landed facts, compared with the live rows, and the live rows corrected.

All of it is one REPEATABLE READ transaction: the facts and the live rows are of one moment, and a row that
the live process changes meanwhile makes Postgres refuse ours (40001) instead of losing theirs; then the day is
derived once more. Writes come last and are short, so the live process waits for milliseconds at most. A large day
is derived by several processes at once, which read by the snapshot of that transaction.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from execution_assets.comparison import Differences
from execution_assets.correction import Correction, write_corrections
from execution_assets.facts import SQL, rows_of
from execution_assets.processes import few_collections, shares_for, start_others
from execution_assets.progress import Progress
from execution_assets.serial import in_one_transaction
from ledger.db.instruments import read_instruments
from ledger.domain.decide import with_instruments
from ledger.domain.digest import digest_of_entries
from ledger.domain.records import BenchmarkKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

    from execution_assets.shares import ShareResult
    from ledger.domain.decide import Policy

LIVE_KINDS = [str(kind) for kind in BenchmarkKind]  # what streaming measures; the day's own kinds are not compared


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
    return in_one_transaction(
        engine,
        day,
        lambda connection: derive_in(connection, day, policy, log, correct=correct),
        correct=correct,
        log=log,
    )


def derive_in(
    connection: Connection,
    day: date,
    settings: Policy,
    log: Callable[[str], None],
    *,
    correct: bool,
    stage: Callable[[Path], None] | None = None,
) -> Derivation:
    """Derive a day in the caller's transaction; where rows differ ``stage`` hears in which folder they are."""
    from execution_assets.shares import entries_of, find_unsupported  # noqa: PLC0415  numpy and pyarrow: 0.3 s

    policy = with_instruments(settings, read_instruments(connection))
    landed = connection.execute(SQL["high_water"], {"day": day}).one()
    with TemporaryDirectory(prefix="execution-agent-") as name:
        folder = Path(name)
        found = _derive_shares(connection, day, policy, folder, landed.report_count, log)
        counts = next(rows_of(connection, "live_counts", {"day": day, "kinds": LIVE_KINDS}))
        if (counts["execution_count"], counts["metric_count"]) != (found.live_executions, found.live_metrics):
            with Correction(folder, "unsupported") as correction:
                find_unsupported(connection, day, found, correction)
        if correct:
            write_corrections(connection, day, folder)
        elif stage is not None and found.differences.count:
            stage(folder)
    derived_digest = digest_of_entries(entries_of(found.derived))
    live_digest = digest_of_entries(entries_of(found.live))
    if correct:
        last = next(rows_of(connection, "derivation", {"day": day}), None)
        if last is not None:
            before = msgspec.json.decode(last["differences"], type=Differences)
            found.differences.beyond_before = before.beyond + before.beyond_before
        connection.execute(SQL["forget_derivation"], {"day": day})
        connection.execute(
            SQL["record_derivation"],
            {
                "day": day,
                "derived_digest": derived_digest,
                "live_digest": live_digest,
                "execution_count": found.executions,
                "difference_count": found.differences.count,
                "differences": msgspec.json.encode(found.differences).decode(),
                "high_water": landed.high_water,
            },
        )
        if found.differences.count:
            connection.execute(
                SQL["tell_correction"],
                {
                    "day": day,
                    "executions": found.differences.executions,
                    "slippages": found.differences.slippages,
                    "live_digest": live_digest,
                    "derived_digest": derived_digest,
                },
            )
    return Derivation(
        day,
        landed.report_count,
        found.executions,
        found.metrics,
        derived_digest,
        live_digest,
        found.differences,
        landed.high_water,
    )


def _derive_shares(
    connection: Connection, day: date, policy: Policy, folder: Path, reports: int, log: Callable[[str], None]
) -> ShareResult:
    from execution_assets.shares import ShareResult, derive_share  # noqa: PLC0415

    shares = shares_for(reports)
    progress = Progress(f"{day}: reports", -(-reports // shares), log, time.monotonic)
    with ExitStack() as stack:
        others = start_others("executions", connection, day, policy, folder, shares, stack, ShareResult)
        with Correction(folder, "share-0") as correction, few_collections():
            found = derive_share(
                connection, day, policy, correction, share=0, shares=shares, tell=progress.advance
            )
        for result in others:
            found.take(result())
    return found


def digest_of_day(connection: Connection, day: date) -> str:
    """``ledger.domain.digest.digest_of`` of a day's live rows, by Postgres."""
    rows = rows_of(connection, "live_entries", {"day": day, "kinds": LIVE_KINDS, "ids": None}, stream=True)
    return digest_of_entries(bytes(row["entry"]) for row in rows)
