"""The simulation's Postgres against a real one: the same landings leave the same rows or are refused."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import simulation.landing
from ledger.db.desk import Answers, VerdictAnswer
from ledger.db.landing import Landing, _answers, _changes, _inserts
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.errors import Defect
from ledger.domain.identity import dead_letter_id
from ledger.domain.records import DeadLetter, ExecType, Overdue, PendingReason, Position, ReportKind, Waiting
from simulation.world import SCALES, simulate
from tests.conftest import fresh_database
from tests.integration.two_ledgers import (
    MemoryLedger,
    RealLedger,
    Step,
    comparable,
    land,
    land_all,
    on_both,
    refusal,
)
from tests.unit.domain.facts import SECOND, T0, bust, correct, intent, order_report, report, resolution, snapshot
from tests.unit.domain.worlds import split, worlds

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from ledger.domain.decision import Decision
    from ledger.domain.records import Captured
    from operations.embedded import Endpoints
    from tests.integration.two_ledgers import Rows

SEEDS = (3, 17, 42)
AT = Position("ALPHA.fix", "S1", "created-1", 7)
BEHIND = Position("ALPHA.fix", "S1", "created-1", 6)
NEXT = Position("ALPHA.fix", "S1", "created-1", 8)
OTHER = Position("ALPHA.ws", "S2", "created-1", 1)
ANEW = Position("ALPHA.fix", "S1", "created-2", 1)
WRITER = "writer"


def letter(raw: bytes) -> DeadLetter:
    defect = Defect("malformed", "message", "{", "JSON is required", "Send it again.")
    return DeadLetter(dead_letter_id("ALPHA", raw), "ALPHA", "ALPHA.fix", defect, raw, T0)


class Desk:
    """Decides batch after batch, as a lander does."""

    def __init__(self) -> None:
        self.book = Book()
        self.steps: list[Step] = []

    def take(self, *facts: Fact, at: tuple[Position, ...] = (), answers: Answers | None = None) -> Decision:
        decision = decide(self.book, facts, Policy())
        self.steps.append((copy.deepcopy(decision), at, answers))
        self.book.apply(decision)
        return decision


def late(captured: Captured, reason: PendingReason, correlation_id: str | None) -> Waiting:
    return Waiting(captured.report.report_id, reason, correlation_id, captured)


def every_kind_of_change() -> list[Step]:
    """Landings that together have every key that the simulated ``execution.land`` knows."""
    desk = Desk()
    desk.take(snapshot("S1", "99", "101", T0 - 1), intent("C1", "M1", qty="3", limit="101.5"), at=(AT,))
    desk.take(report("E1", qty="1", px="100.25"), report("E2", qty="2", px="100.75"), at=(AT,))
    desk.take(report("E1", qty="1", px="100.25"), report("E1", qty="1", px="100.25", feed="ALPHA.ws"), at=(ANEW,))
    desk.take(correct("G1", "E1", qty="2", px="101"), snapshot("S2", "98", "100", T0 + 1))
    desk.take(bust("B1", "E2"), report("E4", cl_ord_id="nobody"), report("E4", cl_ord_id="nobody", px="9"))
    lone, unknown = bust("B9", "E9"), report("E4", cl_ord_id="nobody")
    desk.take(lone, letter(b"{"), at=(AT, OTHER))
    waiting = (late(lone, PendingReason.REFERENCE, "C1"), late(unknown, PendingReason.INTENT, None))
    desk.take(Overdue(T0 + 3600 * SECOND, waiting))
    desk.take(report("E9"), intent("C4", "nobody"))
    held = desk.take(intent("C2", "M2", qty="1"), report("E5", cl_ord_id="M2", qty="2", px="7"))
    (overfill,) = (found for found in held.breaks if found.correlation_id == "C2")
    verdict = resolution(overfill)
    answer = VerdictAnswer(verdict.resolution_id, overfill.break_id, (1, 2), "applied", None)
    desk.take(verdict, answers=Answers([answer]))
    desk.take(intent("C3", "M3", qty="5"), report("E6", cl_ord_id="M3", qty="2", px="7"))
    total = {"cl_ord_id": "M3", "cum": "2", "avg": "7", "at": T0 + 9 * SECOND}
    desk.take(order_report(ExecType.ORDER_STATUS, venue_order_id="V3", **total))  # type: ignore[arg-type]
    desk.take(report("B5", kind=ReportKind.BUST, ref="E5", cl_ord_id="M2"), *(report(f"F{n}") for n in range(200)))
    return desk.steps


def keys_of(steps: Iterable[Step]) -> set[str]:
    found: set[str] = set()
    for decision, positions, answers in steps:
        found |= _changes(decision, positions).keys() | (_answers(answers).keys() if answers else set())
        found |= {table for table, (_, records) in _inserts(decision).items() if records}
    return found


def same_rows(found: tuple[tuple[Any, Rows], tuple[Any, Rows]]) -> tuple[list[str], Rows]:
    """Assert that both sides came to the same, and give it."""
    (real, real_rows), (memory, memory_rows) = found
    assert real == memory
    wanted, actual = comparable(real_rows), comparable(memory_rows)
    for name, rows in wanted.items():
        assert actual[name] == rows, name
    return real, wanted


def both(url: str, steps: list[Step]) -> tuple[list[str], Rows]:
    async def script(ledger: RealLedger | MemoryLedger) -> tuple[list[str], Rows]:
        return await land_all(ledger, steps), await ledger.rows()

    return same_rows(on_both(url, script))


def test_every_kind_of_change_leaves_the_same_rows(ledger_url: str) -> None:
    steps = every_kind_of_change()
    assert simulation.landing._KNOWN - keys_of(steps) == set(), "every key of the simulated landing is tried"
    outcomes, rows = both(ledger_url, steps)
    assert set(outcomes) == {"landed"}
    assert [row["position"] for row in rows["feed_positions"]] == [7, 1]
    assert {row["ended_how"] for row in rows["breaks"]} >= {None, "release", "facts"}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_simulated_run_lands_leaves_the_same_rows(
    ledger_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its landings in the order in which they were asked for: kills, lost commits and redone batches included."""
    steps: list[Step] = []
    landing = Landing.land

    async def recorded(self: Landing, decision: Any, positions: Any = (), answers: Any = None) -> None:
        positions = tuple(positions)
        steps.append((copy.deepcopy(decision), positions, answers))
        await landing(self, decision, positions, answers)

    with monkeypatch.context() as patch:
        patch.setattr(Landing, "land", recorded)
        assert simulate(seed, SCALES["middle"]).violation is None
    outcomes, rows = both(ledger_url, steps)
    assert outcomes.count("landed") > 10
    assert all(rows[name] for name in ("fills", "executions", "slippage_metrics", "audit_events"))


def test_a_world_of_facts_in_any_order_leaves_the_same_rows(
    endpoints: Endpoints,
    _ledger_template: str,  # noqa: PT019  its name is needed
) -> None:
    @settings(max_examples=3, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.lists(worlds(), min_size=8, max_size=8), st.randoms(use_true_random=False))
    def compare(several: list[list[Fact]], rng: random.Random) -> None:
        facts = [fact for world in several for fact in world]
        rng.shuffle(facts)
        desk = Desk()
        for batch in split(facts, rng):
            desk.take(*batch)
        with fresh_database(endpoints, template=_ledger_template) as name:
            both(endpoints.postgres_url(name), desk.steps)

    compare()


def test_the_same_landings_are_refused_and_leave_nothing(ledger_url: str) -> None:
    fills: list[Fact] = [intent(), report("E1")]
    many: list[Fact] = [*(report(f"E{n}", cl_ord_id="X") for n in range(2, 200)), report("E1")]
    first, second = [decide(Book(), facts, Policy()) for facts in (fills, many)]
    other = decide(Book(), [intent("C2", "M2")], Policy())

    async def script(ledger: RealLedger | MemoryLedger) -> tuple[list[str], Rows]:
        landing = Landing(await ledger.connect())
        steps: list[Step] = [
            (first, (AT,), None), (first, (AT,), None), (second, (AT,), None), (other, (BEHIND,), None),
            (other, (OTHER, BEHIND), None), (other, (ANEW,), None),
        ]  # fmt: skip
        return [await land(landing, step) for step in steps], await ledger.rows()

    outcomes, rows = same_rows(on_both(ledger_url, script))
    conflict, back = "LandingConflictError", "PositionWentBackError"
    assert outcomes == ["landed", conflict, conflict, back, back, "landed"]
    assert (len(rows["fills"]), len(rows["orders"]), len(rows["feed_positions"])) == (1, 2, 1)


def test_a_deposed_writer_is_refused_the_same(ledger_url: str) -> None:
    small = decide(Book(), [intent()], Policy())
    large = decide(Book(), [intent(), *(report(f"E{n}") for n in range(200))], Policy())

    async def script(ledger: RealLedger | MemoryLedger) -> tuple[list[Any], Rows]:
        sessions = [await ledger.connect() for _ in range(3)]
        deposed, landing, third = map(Landing, sessions)
        found: list[Any] = [await deposed.take_lease(WRITER, 30)]
        found.append(await refusal(landing.take_lease(WRITER)))
        await ledger.release_locks(sessions[0])
        found.append(await landing.take_lease(WRITER, 0.05))
        found += [await land(deposed, (decision, (AT,), None)) for decision in (small, large)]
        found.append(await land(landing, (small, (AT,), None)))
        await asyncio.sleep(0.1)
        while isinstance(token := await refusal(third.take_lease(WRITER)), str):  # noqa: ASYNC110  it ends who is silent
            await asyncio.sleep(0.02)
        found.append(token)
        found.append(await land(landing, (large, (), None)))
        return found, await ledger.rows()

    found, rows = same_rows(on_both(ledger_url, script))
    lost = "LeaseLostError"
    assert found == [1, lost, 2, lost, lost, "landed", 3, "LedgerUnavailableError"]
    assert (len(rows["orders"]), len(rows["fills"])) == (1, 0)


def test_a_commit_whose_answer_is_lost_has_happened(ledger_url: str) -> None:
    first, second = [decide(Book(), facts, Policy()) for facts in ([intent()], [report("E1", cl_ord_id="X")])]

    async def script(ledger: RealLedger | MemoryLedger) -> tuple[list[str], Rows]:
        found: list[str] = []
        async with ledger.answer_lost() as (session, run):
            landing = Landing(session)
            found.append(await land(landing, (first, (AT,), None)))  # the days' partitions are made by it
            found.append(str(await refusal(run(landing.land(second, (NEXT,))))))
            assert not landing.is_open
        again = Landing(await ledger.connect())
        found += [await land(again, step) for step in ((second, (NEXT,), None), (first, (AT,), None))]
        return found, await ledger.rows()

    found, rows = same_rows(on_both(ledger_url, script))
    assert found == ["landed", "LedgerUnavailableError", "LandingConflictError", "LandingConflictError"]
    assert [row["position"] for row in rows["feed_positions"]] == [NEXT.value]


def test_a_difference_would_be_seen(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation.landing, "_update_executions", lambda *_: None)
    with pytest.raises(AssertionError):
        both(ledger_url, every_kind_of_change())
