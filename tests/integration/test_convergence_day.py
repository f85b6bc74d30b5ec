"""The same worlds through Postgres and Dagster's derivation: nothing differs, and the digest is that of memory."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING

import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from execution_assets.derivation import derive_day
from ledger.domain.decide import Fact, Policy
from ledger.domain.digest import digest_of
from ledger.domain.records import Snapshot, Verdict
from ledger.domain.times import utc_date
from tests.integration.database import connected, emptied
from tests.integration.test_reading import Live, forgetful
from tests.unit.domain.facts import SECOND, T0, bust, intent, report, resolution, snapshot
from tests.unit.domain.worlds import DAY, Ledger, split, worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = int(os.environ.get("CONVERGENCE_EXAMPLES", "300")) // 20  # `make nightly` asks for 500
DAYS = [utc_date(T0), utc_date(T0 + DAY)]


async def land(url: str, facts: Sequence[Fact], rng: random.Random) -> Ledger:
    """Land a world in batches, with a rejection of every break that can be rejected; the same in memory."""
    prices: list[Fact] = [fact for fact in facts if isinstance(fact, Snapshot)]
    rest: list[Fact] = [fact for fact in facts if not isinstance(fact, Snapshot)]
    rng.shuffle(rest)
    ledger = Ledger()
    async with connected(url) as connection:
        await emptied(connection)
        live = Live(connection, forgetful)
        for batch in [prices, *split(rest, rng)]:
            await live.land(batch)
            ledger.land(batch)
        known = [b for b in ledger.breaks.values() if b.correlation_id in ledger.orders]
        for found in sorted(known, key=lambda b: b.break_id):
            if ledger.breaks.get(found.break_id) == found:  # another one's rejection may have ended it
                await live.land([resolution(found, Verdict.REJECT)])
                ledger.land([resolution(found, Verdict.REJECT)])
    return ledger


def assert_derived_alike(url: str, ledger: Ledger) -> None:
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        for day in DAYS:
            derivation = derive_day(engine, day, Policy(), correct=False)
            executions = [e for e in ledger.executions.values() if e.trade_date == day]
            metrics = [m for m in ledger.metrics.values() if m.trade_date == day]
            assert derivation.differences.count == 0, derivation.differences
            assert derivation.derived_digest == derivation.live_digest == digest_of(executions, metrics)
            assert (derivation.execution_count, derivation.metric_count) == (len(executions), len(metrics))
    finally:
        engine.dispose()


def check_world(url: str, facts: Sequence[Fact], rng: random.Random) -> None:
    assert_derived_alike(url, asyncio.run(land(url, facts, rng)))


def test_a_derived_day_is_the_landed_day(ledger_url: str) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 100, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate],
    )  # fmt: skip
    @given(worlds(), st.randoms(use_true_random=False))
    def check(facts: list[Fact], rng: random.Random) -> None:
        check_world(ledger_url, facts, rng)

    check()


def test_a_bust_of_an_exec_id_that_was_used_on_two_days_is_derived_as_it_was_landed(ledger_url: str) -> None:
    facts = [
        snapshot("S1", "99", "101"),
        intent(),
        report("1"),
        report("1", at=T0 + DAY),
        bust("B", "1", at=T0 + DAY + SECOND),
    ]
    check_world(ledger_url, facts, random.Random(0))
