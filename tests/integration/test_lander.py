"""The lander on a real Postgres: nothing is answered before its commit, and trouble costs nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest

from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.errors import DefectError
from streaming.arrivals import Inbox
from streaming.decoding import decode_arrival
from streaming.errors import StreamingError
from streaming.lander import Lander
from streaming.metrics import Metrics
from streaming.venues import canonical
from tests.integration.arrivals import VENUE, fill, fill_message, fills, intent, intent_value, snapshot
from tests.integration.database import connected, row_counts, terminate_sessions, until
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ledger.domain.decision import Decision
    from streaming.arrivals import Arrival, Outcome
    from streaming.venues.decoded import Decoded


class BuggyDecoderError(Exception):
    pass


def decode(venue: str, raw: bytes) -> Decoded:
    """The canonical format, from a module that lets something through which Postgres cannot store."""
    if b"BUG" in raw:
        raise BuggyDecoderError
    decoded = canonical.decode(venue, raw)
    decoded.reports = [
        (msgspec.structs.replace(r, account="\x00") if r.exec_id.startswith("POISON") else r, raw)
        for r, raw in decoded.reports
    ]
    return decoded


class World:
    def __init__(self, url: str, watching: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.watching = watching
        self.inbox = Inbox()
        self.metrics = Metrics()
        self.decisions: list[Decision] = []

    async def connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.url, timeout=10)

    def lander(self, *, batch_limit: int = 1000, ahead_from: int = 1) -> Lander:
        lander = Lander(
            self.connect, self.inbox, {VENUE: decode}, self.metrics,
            writer="writer", policy=Policy(), batch_limit=batch_limit, ahead_from=ahead_from,
        )  # fmt: skip
        lander.on_landed.append(self.decisions.append)
        return lander

    @asynccontextmanager
    async def landing(self, **options: Any) -> AsyncIterator[Lander]:
        lander = self.lander(**options)
        task = asyncio.create_task(lander.run())
        try:
            yield lander
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def land(self, lander: Lander, *arrivals: Arrival) -> None:
        await self.inbox.put(arrivals)
        await until(lambda: lander.is_idle)

    async def elsewhere(self, *arrivals: Arrival) -> None:
        """Another writer's process lands the same facts."""
        facts = [fact for arrival in arrivals for fact in decode_arrival(arrival, {VENUE: decode}).facts]
        async with connected(self.url) as other:
            book = Book()
            wanted, _ = await Reader(other).complete(book, facts)
            await Landing(other).land(decide(book, wanted, Policy()))

    async def exec_ids(self) -> list[str]:
        return [row[0] for row in await self.watching.fetch("SELECT exec_id FROM execution.executions ORDER BY 1")]


@pytest.fixture
async def world(ledger_url: str) -> AsyncIterator[World]:
    async with connected(ledger_url) as watching:
        yield World(ledger_url, watching)


class Answers:
    """What each caller was told, and how often."""

    def __init__(self) -> None:
        self.told: dict[str, list[Outcome]] = {}

    def to(self, caller: str) -> Callable[[Outcome], None]:
        return lambda outcome: self.told.setdefault(caller, []).append(outcome)

    def counts(self, caller: str) -> tuple[int, int, int, int]:
        (outcome,) = self.told[caller]
        return outcome.landed, outcome.duplicates, outcome.pending, len(outcome.dead_letters)


async def test_nobody_is_answered_before_the_commit(world: World) -> None:
    answers = Answers()
    async with world.landing() as lander:
        await world.land(lander, intent())
        lock = world.watching.transaction()
        await lock.start()
        await world.watching.execute("LOCK execution.audit_events IN SHARE MODE")  # the last table written
        await world.inbox.put([fill("E1", done=answers.to("caller"))])
        while not await world.watching.fetchval(  # noqa: ASYNC110  Postgres has no event for it
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)
        assert not answers.told
        assert len(world.decisions) == 1
        assert not lander.is_idle
        await lock.rollback()
        await until(lambda: lander.is_idle)
    assert answers.counts("caller") == (1, 0, 0, 0)
    assert await world.exec_ids() == ["E1"]


async def test_outcomes_say_what_each_message_became(world: World) -> None:
    answers = Answers()
    mixed = fills(
        fill_message("E3"), {"type": "fill"}, fill_message("E1"), fill_message("E4", "M9"),
        done=answers.to("mixed"),
    )  # fmt: skip
    async with world.landing() as lander:
        await world.land(
            lander,
            intent(),
            fill("E1", done=answers.to("first")),
            fill("E1", done=answers.to("again in the batch")),
            fill("E2", "nobody", done=answers.to("waits")),
            mixed,
        )
        await world.land(lander, fill("E2", "nobody", done=answers.to("waits, again")))
        await world.land(lander, msgspec.structs.replace(mixed, done=answers.to("mixed, again")))
    assert answers.counts("first") == (1, 0, 0, 0)
    assert answers.counts("again in the batch") == (0, 1, 0, 0)
    assert answers.counts("waits") == (1, 0, 1, 0)
    assert answers.counts("waits, again") == (0, 1, 0, 0)
    assert answers.counts("mixed") == (2, 1, 1, 1)
    assert answers.counts("mixed, again") == (0, 3, 0, 1)
    (letter,) = answers.told["mixed"][0].dead_letters
    assert await world.watching.fetchval("SELECT dead_letter_id FROM execution.dead_letters") is not None
    assert letter == answers.told["mixed, again"][0].dead_letters[0]
    assert (await row_counts(world.watching))["dead_letters"] == 1


async def test_rows_of_another_writer_are_recognised_as_duplicates(world: World) -> None:
    answers = Answers()
    now = time.time_ns()
    theirs = [intent("C2", "M2"), fill("E2", "M2"), fill("E3", "M7"), snapshot("S1", now), snapshot("S2")]
    async with world.landing() as lander:
        await world.land(lander, intent(), fill("E1"), snapshot("S0", now - SECOND))
        await world.elsewhere(*theirs)
        again = [msgspec.structs.replace(a, done=answers.to(str(n))) for n, a in enumerate(theirs)]
        await world.land(lander, *again, fill("E4", done=answers.to("new")), fill("E5", "M2"))
    assert answers.counts("new") == (1, 0, 0, 0)
    assert [answers.counts(str(n)) for n in (1, 2)] == [(0, 1, 0, 0)] * 2
    assert await world.exec_ids() == ["E1", "E2", "E4", "E5"]
    assert (await row_counts(world.watching))["benchmark_snapshots"] == 3
    assert world.metrics.duplicates == {"order-intents": 1, "ALPHA.rest": 2, "market-data": 2}


async def test_a_snapshot_id_that_is_used_again_later_the_same_day_stops_nothing(world: World) -> None:
    midnight = time.time_ns() // (86_400 * SECOND) * 86_400 * SECOND
    async with world.landing() as lander:
        await world.land(lander, snapshot("S1", midnight + 1))
        await world.land(lander, *(snapshot("S1", midnight + 86_400 * SECOND - n) for n in (3, 2, 1)), intent())
        await world.land(lander, fill("E1"))
    assert await world.exec_ids() == ["E1"]
    assert (await row_counts(world.watching))["benchmark_snapshots"] == 1


class Shifted:
    """The process's clock."""

    days = 0

    @classmethod
    def time_ns(cls) -> int:
        return time.time_ns() + cls.days * 86_400 * SECOND


@pytest.mark.parametrize("days", [[-1, 0], [0, 1], [-3, -1, 0], [-9, 0, 5]])
async def test_no_midnight_stops_the_landing(
    world: World, monkeypatch: pytest.MonkeyPatch, days: list[int]
) -> None:
    """Events are dated by the server's clock: of the process's clock before midnight, and long after it."""
    monkeypatch.setattr("ledger.clocks.time_ns", Shifted.time_ns)
    ahead = [time.time_ns() + number * 86_400 * SECOND for number in (1, 4, 9)]
    for number, day in enumerate(days):
        monkeypatch.setattr(Shifted, "days", day)
        async with world.landing() as lander:
            await world.land(lander, intent(), fill(f"E{number}"))
            await world.land(lander, *(snapshot(f"S{number} {at}", at) for at in ahead))
    assert len(await world.exec_ids()) == len(days)
    assert (await row_counts(world.watching))["benchmark_snapshots"] == 3 * len(days)


async def test_the_next_days_have_their_partitions_long_before_they_begin(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.clocks.time_ns", Shifted.time_ns)
    today = datetime.now(UTC).date()

    async def ahead() -> set[int]:
        names = await world.watching.fetch(
            "SELECT right(relname, 8) FROM pg_class WHERE relname ~ '^audit_events_[0-9]{8}$' AND relkind = 'r'"
        )
        made = {datetime.strptime(name[0], "%Y%m%d").date() for name in names}  # noqa: DTZ007  a day has no zone
        return {(day - today).days for day in made if day >= today}

    async with world.landing() as lander:
        await world.land(lander, intent())
        assert await ahead() == {0, 1, 2, 3}
        monkeypatch.setattr(Shifted, "days", 2)
        await world.land(lander, fill("E1"))
        assert await ahead() == {0, 1, 2, 3}
        monkeypatch.setattr(Shifted, "days", 3)
        await world.land(lander, fill("E2"))
        assert await ahead() == {0, 1, 2, 3, 4, 5, 6}


async def test_a_conflicting_intent_that_is_sent_again_stops_nothing(world: World) -> None:
    async with world.landing() as lander:
        await world.land(lander, intent())
        for _ in range(2):
            await world.land(lander, intent(order_qty="7"))
        await world.land(lander, fill("E1"))
    assert await world.exec_ids() == ["E1"]
    assert (await row_counts(world.watching))["dead_letters"] == 1


async def test_a_value_that_postgres_refuses_is_a_dead_letter_and_its_neighbours_land(world: World) -> None:
    answers = Answers()
    batch = [intent()]
    for number in range(40):
        name = f"POISON{number}" if number in {0, 17, 39} else f"E{number:02}"
        batch.append(fill(name, position=number, done=answers.to(name)))
    async with world.landing() as lander:
        await world.land(lander, *batch)
    assert await world.exec_ids() == sorted(name for name in answers.told if name.startswith("E"))
    assert {name: answers.counts(name) for name in answers.told} == {
        name: (0, 0, 0, 1) if name.startswith("POISON") else (1, 0, 0, 0) for name in answers.told
    }
    assert len(answers.told) == 40
    letters = await world.watching.fetch("SELECT * FROM execution.dead_letters ORDER BY received_ns")
    assert {letter["reason"] for letter in letters} == {"ledger_refused"}
    assert {letter["raw"] for letter in letters} == {batch[n + 1].raw for n in (0, 17, 39)}
    (position,) = (await Reader(world.watching).positions()).values()
    assert position.value == 39


@pytest.mark.parametrize("batch_limit", [1, 1000])
async def test_an_identity_of_two_orders_is_a_dead_letter_and_its_neighbours_land(
    world: World, batch_limit: int
) -> None:
    answers = Answers()

    def told(exec_id: str, msg_id: str, position: int) -> Arrival:
        return fill(exec_id, msg_id, position=position, done=answers.to(f"{exec_id} of {msg_id}"))

    by_venue = fill_message("E3", venue_order_id="V9")
    waiting = {**by_venue, "cl_ord_id": None}
    async with world.landing(batch_limit=batch_limit) as lander:
        await world.land(lander, intent("C1", "M1"), intent("C2", "M2"), fill("E1"), fills(waiting))
        for start in (0, 6):  # and as a venue sends them again
            answers.told.clear()
            await world.land(
                lander, told("E0", "M1", start), told("E1", "M2", start + 1), told("E2", "M2", start + 2),
                told("E2", "M1", start + 3), fills(by_venue, position=start + 4), told("E4", "M1", start + 5),
            )  # fmt: skip
    assert answers.counts("E1 of M2") == answers.counts("E2 of M1") == (0, 0, 0, 1)
    assert answers.counts("E0 of M1") == answers.counts("E2 of M2") == answers.counts("E4 of M1") == (0, 1, 0, 0)
    assert await world.exec_ids() == ["E0", "E1", "E2", "E3", "E4"]
    letters = await world.watching.fetch("SELECT reason, rule FROM execution.dead_letters")
    assert [letter["reason"] for letter in letters] == ["ledger_refused"] * 2
    assert all("landed for another order or under another reference" in letter["rule"] for letter in letters)
    (position,) = (await Reader(world.watching).positions()).values()
    assert position.value == 11


async def test_a_snapshot_id_of_two_symbols_stops_nothing(world: World) -> None:
    now = time.time_ns()
    async with world.landing() as lander:
        await world.land(lander, intent(), snapshot("S1", now), snapshot("S1", now, symbol="ETHUSDT"), fill("E1"))
    assert await world.exec_ids() == ["E1"]
    assert (await row_counts(world.watching))["benchmark_snapshots"] == 1


async def test_after_a_conflict_and_a_refusal_the_book_at_hand_is_the_fresh_one(world: World) -> None:
    async with world.landing() as lander:
        await world.land(lander, intent(), intent("C2", "M2"), fill("E1"))
        await world.elsewhere(fill("E2"))
        await world.land(lander, fill("E2"), fill("E1", "M2"))
    assert await world.exec_ids() == ["E1", "E2"]
    reloads = world.metrics.registry.get_sample_value("execution_recoveries_total", {"part": "conflict"})
    assert reloads == 3 + 3, "of the batch and of the one that conflicts, none of the other"
    assert (await row_counts(world.watching))["dead_letters"] == 1


async def test_nobody_is_answered_twice_when_the_connection_goes_between_the_halves(world: World) -> None:
    """Half of a batch is committed and answered, then the session ends: only the other half is landed again."""
    answers = Answers()
    names = ["E1", "E2", "E3", "POISON"]
    async with world.landing() as lander:
        await world.land(lander, intent())
        terminated = asyncio.Event()

        def end_session(decision: Decision) -> None:
            if decision.fills and not terminated.is_set():
                terminated.set()
                lander.ready.clear()
                ending.append(asyncio.create_task(terminate_sessions(world.watching)))

        ending: list[asyncio.Task[int]] = []
        lander.on_landed.append(end_session)
        await world.inbox.put([fill(name, done=answers.to(name)) for name in names])
        await until(lambda: terminated.is_set() and lander.is_idle)
        await ending[0]
    assert await world.exec_ids() == ["E1", "E2", "E3"]
    assert {name: len(told) for name, told in answers.told.items()} == dict.fromkeys(names, 1)


async def test_everything_lands_once_while_sessions_are_terminated(world: World) -> None:
    answers = Answers()
    rng = random.Random(7)
    total = 1500
    async with world.landing(batch_limit=50) as lander:
        await world.inbox.put([intent()])

        async def feed() -> None:
            for number in range(total):
                name = f"E{number:05}"
                await world.inbox.put([fill(name, position=number, done=answers.to(name))])
                if number % 25 == 0:
                    await asyncio.sleep(0.04)

        feeding = asyncio.create_task(feed())
        ended = 0
        while not feeding.done():
            await asyncio.sleep(rng.uniform(0.0, 0.15))
            ended += await terminate_sessions(world.watching)
        await feeding
        await until(lambda: lander.is_idle and len(answers.told) == total)
    assert ended > 2
    assert await world.exec_ids() == [f"E{number:05}" for number in range(total)]
    assert Counter(len(told) for told in answers.told.values()) == {1: total}
    events = await world.watching.fetch("SELECT event_id, count(*) FROM execution.audit_events GROUP BY 1")
    assert Counter(row["count"] for row in events) == {1: total}


async def test_an_idle_lander_notices_that_its_session_has_ended(world: World) -> None:
    lost = asyncio.Event()
    lander = world.lander()

    async def on_lost() -> None:
        assert not lander.ready.is_set()
        lost.set()

    lander.on_lost = on_lost
    task = asyncio.create_task(lander.run())
    await until(lander.ready.is_set)
    await asyncio.sleep(0.2)
    assert await terminate_sessions(world.watching) == 1
    await asyncio.wait_for(lost.wait(), 1.0)
    await until(lander.ready.is_set)
    task.cancel()


async def test_an_idle_lander_asks_whether_a_server_that_says_nothing_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.lander._GRACE_SECONDS", 0.1)
    monkeypatch.setattr("streaming.lander._ANSWER_SECONDS", 0.3)
    lander = world.lander()
    task = asyncio.create_task(lander.run())
    await until(lander.ready.is_set)
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    (pid,) = [row[0] for row in await world.watching.fetch(others)]
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: not lander.ready.is_set(), 3)
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lander.ready.is_set)
    task.cancel()


async def test_what_streams_brought_is_forgotten_and_what_a_caller_waits_for_is_kept(world: World) -> None:
    answers = Answers()
    async with connected(world.url) as holder:
        await Landing(holder).take_lease("writer")
        async with world.landing(batch_limit=2) as lander:
            await world.inbox.put(
                [intent(), fill("E1"), fill("E2"), fill("E3", done=answers.to("E3")), fill("E4"), fill("E5")]
            )
            await until(lambda: len(world.inbox) == 2)  # two batches are decoded, the rest waits
            lander.forget_streams()
            await world.inbox.put([fill("E6")])
            await holder.close()
            await until(lambda: lander.ready.is_set() and lander.is_idle)
    assert answers.counts("E3") == (1, 0, 1, 0)
    kept = await world.watching.fetch("SELECT exec_id FROM execution.fills ORDER BY 1")
    assert [row["exec_id"] for row in kept] == ["E3", "E6"]


async def test_the_gauges_begin_with_what_postgres_holds_and_are_never_negative(world: World) -> None:
    def gauges() -> tuple[float | None, float | None]:
        value = world.metrics.registry.get_sample_value
        return value("execution_pending"), value("execution_breaks_open")

    async with world.landing() as lander:
        wrong = fills(fill_message("E1", account="OTHER"))
        await world.land(lander, intent(), wrong, fill("E2", "M7"), fill("E3", "M7"))
        assert gauges() == (2, 1)
    world.metrics = Metrics()
    async with world.landing() as lander:
        await until(lander.ready.is_set)
        assert gauges() == (2, 1)
        await world.land(lander, intent("C7", "M7"))
        assert gauges() == (0, 1)
    world.metrics.move_open(-1, -5)
    assert gauges() == (0, 0)


async def test_a_standby_waits_for_the_lease_and_goes_on_when_the_writer_ends(world: World) -> None:
    async with connected(world.url) as holder:
        await Landing(holder).take_lease("writer")
        async with world.landing() as standby:
            await world.elsewhere(intent(), fill("E1"))
            await world.inbox.put([fill("E1"), fill("E2")])
            await asyncio.sleep(0.3)
            assert not standby.ready.is_set()
            assert await world.exec_ids() == ["E1"]
            await holder.close()
            await until(lambda: standby.ready.is_set() and standby.is_idle)
    assert await world.exec_ids() == ["E1", "E2"]


async def test_a_standby_whose_session_ends_while_it_waits_still_takes_over(world: World) -> None:
    async with connected(world.url) as holder:
        await Landing(holder).take_lease("writer")
        async with world.landing() as standby:
            await asyncio.sleep(0.3)
            others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
            keep = [holder.get_server_pid(), world.watching.get_server_pid()]
            assert await terminate_sessions(
                world.watching, [r[0] for r in await world.watching.fetch(others, keep)]
            )
            await asyncio.sleep(0.8)
            assert not standby.ready.is_set()
            await holder.close()
            await until(standby.ready.is_set)
            await world.land(standby, intent(), fill("E1"))
    assert await world.exec_ids() == ["E1"]


async def test_a_bug_in_a_decoder_fails_loudly(world: World) -> None:
    lander = world.lander()
    task = asyncio.create_task(lander.run())
    await until(lander.ready.is_set)
    await world.inbox.put([fill("BUG")])
    async with asyncio.timeout(10):
        with pytest.raises(StreamingError) as raised:
            await task
    assert isinstance(raised.value.__cause__, BuggyDecoderError)


async def test_what_is_being_decoded_is_not_idle(world: World) -> None:
    lander = world.lander()
    await world.inbox.put([fill(f"E{number}") for number in range(200)])
    decoding = asyncio.create_task(lander._decode())
    while len(world.inbox):
        assert not lander.is_idle
        await asyncio.sleep(0)
    for _ in range(20):
        assert not lander.is_idle
        await asyncio.sleep(0)
    decoding.cancel()


@pytest.mark.parametrize("raw", [b"\x00", intent_value(symbol="BTC\x00"), intent_value(msg_id="\x1b[2J")])
async def test_a_message_with_nul_or_control_bytes_is_a_dead_letter_of_its_own_reason(
    world: World, raw: bytes
) -> None:
    async with world.landing() as lander:
        await world.land(lander, msgspec.structs.replace(intent(), raw=raw))
    (letter,) = await world.watching.fetch("SELECT * FROM execution.dead_letters")
    assert letter["reason"] in {"malformed", "bad_text"}
    assert letter["value"].isprintable()
    assert letter["raw"] == raw


def test_a_defect_error_is_not_a_value_error() -> None:
    """``ValueError`` means that the driver refuses a value: the two must not be mistaken."""
    assert not issubclass(DefectError, ValueError)


def test_the_clock_of_these_tests_is_within_reach_of_day_partitions() -> None:
    assert abs(time.time_ns() - T0) < 400 * 86_400 * SECOND
