"""The final figures of a day: worked out in shares, written where they differ, their digests kept."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from execution_assets.facts import SQL, rows_of
from execution_assets.processes import few_collections, shares_for, start_others
from execution_assets.progress import Progress
from execution_assets.serial import in_one_transaction
from ledger.db.instruments import read_instruments
from ledger.domain.decide import with_instruments

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from sqlalchemy import Connection, Engine

    from execution_assets.sheets import Changes
    from ledger.domain.decide import Policy


def derive_finals(
    engine: Engine, day: date, policy: Policy, *, correct: bool = True, log: Callable[[str], None] = lambda _: None
) -> list[Changes]:
    """Work out a day's final figures and write what differs; with ``correct=False`` only say what would change.

    Gives the changes of ``slippage_finals`` and ``order_costs``. Raises ``ShareError``.
    """
    if correct:
        # before the day's transaction: a new partition's lock would keep the other processes out until its end
        with engine.begin() as connection:
            connection.execute(SQL["ensure_partitions"], {"day": day})
    return in_one_transaction(
        engine,
        day,
        lambda connection: finals_in(connection, day, policy, log, correct=correct),
        correct=correct,
        log=log,
    )


def finals_in(
    connection: Connection, day: date, settings: Policy, log: Callable[[str], None], *, correct: bool
) -> list[Changes]:
    """Work out a day's final figures in the caller's transaction, and write what differs if ``correct``."""
    from execution_assets.finals import (  # noqa: PLC0415  numpy and pyarrow: 0.3 s
        COSTS,
        FINALS,
        FinalsResult,
        derive_finals_share,
    )
    from execution_assets.sheets import settle  # noqa: PLC0415

    policy = with_instruments(settings, read_instruments(connection))
    live = next(rows_of(connection, "live_counts", {"day": day, "kinds": []}))["execution_count"]
    # other processes do not see the temporary tables of a dry run
    shares = 1 if connection.get_execution_options().get("ledger") else shares_for(live)
    progress = Progress(f"{day}: final figures", -(-live // shares), log, time.monotonic)
    with TemporaryDirectory(prefix="execution-agent-") as name, ExitStack() as stack:
        folder = Path(name)
        others = start_others("finals", connection, day, policy, folder, shares, stack, FinalsResult)
        with few_collections():
            found = derive_finals_share(
                connection, day, policy, folder, share=0, shares=shares, tell=progress.advance
            )
        for result in others:
            found.take(result())
        changes = [
            settle(
                FINALS, connection, day, found.finals, bytes(found.final_entries), found.finals_matched, folder,
                write=correct,
            ),
            settle(
                COSTS, connection, day, found.costs, bytes(found.cost_entries), found.costs_matched, folder,
                write=correct,
            ),
        ]  # fmt: skip
    if correct:
        for change in changes:
            record(connection, day, change)
    return changes


def record(connection: Connection, day: date, change: Changes) -> None:
    """Keep the digest of a table's day, and how much this derivation changed."""
    connection.execute(SQL["forget_derived"], {"day": day, "asset": change.asset})
    connection.execute(
        SQL["record_derived"],
        {
            "asset": change.asset,
            "day": day,
            "digest": change.digest,
            "rows": change.rows,
            "changed": change.added + change.changed,
            "removed": change.removed,
        },
    )
