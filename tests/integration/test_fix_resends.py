"""What was missed is asked for in pieces that the venue allows; what it passes over is said."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from simulator.config import VenueConfig
from simulator.fix_acceptor import FixVenue
from simulator.journal import Journal
from simulator.records import ReportRow
from simulator.venue import Delivery
from tests.integration.fix_acceptor import fill
from tests.integration.test_fix_feed import acceptor, feed, numbers, sequences

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.domain.sequence_gaps import GapFilled
    from streaming.arrivals import Arrival
    from tests.integration.test_fix_feed import Acceptor

LIMIT = 2_500  # CME Globex


async def asked(venue: Acceptor) -> list[tuple[int, int]]:
    pairs = (one.split("-") for one in (await venue.say("asked")).split())
    return [(int(first), int(last)) for first, last in pairs]


async def test_ten_thousand_missed_messages_come_in_pieces_of_the_limit(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 10000")
        async with feed(tmp_path / "store", venue.port, resend_limit=LIMIT) as running:
            taken = await running.take(10_000)
            await venue.say("burst 10001 3")
            taken += await running.take(3)
            assert numbers(taken) == list(range(1, 10_004))
            assert sequences(taken) == sorted(set(sequences(taken)))
        ranges = await asked(venue)
        assert len(ranges) in {4, 5}, ranges  # 10,000 reports and what the session itself said
        assert all(last - first + 1 == LIMIT for first, last in ranges)
        assert all(later[0] > earlier[0] for earlier, later in pairwise(ranges))


async def test_live_messages_between_the_pieces_come_in_their_turn(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 3000")
        async with feed(tmp_path / "store", venue.port, resend_limit=200) as running:
            sending = asyncio.create_task(venue.say("burst 3001 2000"))
            taken = await running.take(5_000)
            await sending
            assert numbers(taken) == list(range(1, 5_001))
            assert sequences(taken) == sorted(set(sequences(taken)))


async def test_an_engine_that_is_killed_in_the_middle_of_a_piece_goes_on_from_what_was_taken(
    tmp_path: Path,
) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 6000")
        async with feed(tmp_path / "store", venue.port, resend_limit=LIMIT) as running:
            taken: list[Arrival] = []
            while len(taken) < LIMIT + 500:
                taken += await running.inbox.take(100)
            assert running.feed.engine_pid is not None
            os.kill(running.feed.engine_pid, signal.SIGKILL)
            taken += await running.take(6_000 - len(taken))
            assert numbers(taken) == list(range(1, 6_001))
            assert sequences(taken) == sorted(set(sequences(taken)))
        assert all(last - first + 1 == LIMIT for first, last in await asked(venue))


async def test_a_venue_that_gives_less_than_was_asked_for_is_asked_again(tmp_path: Path) -> None:
    """Without it the engine waits for good: it has asked."""
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 30")
        await venue.say("gives 20")
        async with feed(tmp_path / "store", venue.port) as running:
            taken = await running.take(20)
            assert running.feed.gap_since_ns is not None
            assert running.feed.gap_since_ns >= taken[-1].received_ns
            taken += await running.take(10)
            assert numbers(taken) == list(range(1, 31))
            await venue.say("burst 31 1")
            await running.take(1)
            await running.until(lambda: running.feed.gap_since_ns is None)
        assert [last for _, last in await asked(venue)] == [0, 0]


@pytest.mark.parametrize("limit", [100, 0])
async def test_a_venue_that_refuses_too_large_a_request(tmp_path: Path, limit: int) -> None:
    """The practice venue has 350 reports and gives 100 at once; a session that asks for all is told why not."""
    journal = Journal(tmp_path / "venue", "T")
    config = VenueConfig("VENUE", "fix", target_comp_id="AGENT", resend_limit=100)
    venue = FixVenue(config, journal)
    for number in range(350):
        names = (f"E{number}", "C1", "M1", "buy", "ACME", "1", "100", "", "")
        row = ReportRow(0, "VENUE", 1, "fill", *names, "", fill(number).removeprefix("35=8\x01").encode())
        venue.take([Delivery(journal.add_report(row))])
    journal.commit()
    await venue.start()
    port = int(venue.address.rpartition(":")[2])
    async with feed(tmp_path / "store", port, resend_limit=limit) as running:
        if limit:
            taken = await running.take(350)
            assert sequences(taken) == list(range(1, 351))
            assert running.feed.counters["refused"] == 0
        else:
            await running.until(lambda: running.feed.counters["refused"] > 0)
            assert len(running.inbox) == 0
    await venue.stop()
    journal.close()


async def test_a_gap_is_told_when_it_is_filled_with_what_was_passed_over(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 5")
        told: list[GapFilled] = []
        async with feed(tmp_path / "store", venue.port) as running:
            running.feed.on_filled = told.append
            await running.take(5)
            await venue.say("burst 6 1")  # what is not sent again shows that nothing is missing before it
            await running.take(1)
            await running.until(lambda: len(told) == 1)
            await venue.say("lose 30")
            await venue.say("burst 7 1")
            (last,) = sequences(await running.take(1))
            await running.until(lambda: any(gap.last == last - 1 for gap in told))
        gap = next(gap for gap in told if gap.last == last - 1)
        assert gap.passed_over == ((gap.first, gap.last),)
        assert gap.last - gap.first + 1 == 30
        assert gap.since_ns <= gap.at_ns


async def test_what_is_passed_over_in_the_middle_of_a_resend_is_told_before_its_end(tmp_path: Path) -> None:
    """The feed may stop there, and what was passed over is not asked for again."""
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 10")
        await venue.say("lose 5")
        await venue.say("burst 11 30")
        await venue.say("gives 30")  # of 45 numbers: the last ones keep the gap open
        told: list[GapFilled] = []
        async with feed(tmp_path / "store", venue.port, told=told) as running:
            await running.take(25)
            passed = [gap for gap in told if gap.last - gap.first + 1 == 5]
            assert [gap.passed_over for gap in passed] == [((gap.first, gap.last),) for gap in passed]
            assert len(passed) == 1
            assert running.feed.gap_since_ns is not None, "the gap is open"


async def test_a_gap_that_is_open_when_the_venue_starts_its_numbers_over_is_told_as_lost(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 30")
        await venue.say("gives 20")
        told: list[GapFilled] = []
        heard: list[GapFilled | None] = []
        async with feed(tmp_path / "store", venue.port) as running:
            running.feed.on_filled = told.append
            running.feed.on_renumbered = lambda lost, _: heard.append(lost)
            before = await running.take(20)
            await venue.say("renumber")
            await running.until(lambda: running.feed.counters["resets"] == 1)
            await venue.say("burst 31 3")
            taken = await running.take(3)
            assert numbers(taken) == [31, 32, 33]
        (lost,) = [gap for gap in told if gap.is_lost]
        assert heard == [lost]
        assert lost.first == sequences(before)[-1] + 1
        assert [gap for gap in told if gap.at_ns > lost.at_ns and gap.first >= lost.first] == []


async def test_what_the_venue_passes_over_is_said_and_counted(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        await venue.say("burst 1 5")
        gaps: list[tuple[int, int]] = []
        async with feed(tmp_path / "store", venue.port) as running:
            running.feed.on_gap = lambda first, last, _: gaps.append((first, last))
            taken = await running.take(5)
            before = list(gaps)
            await venue.say("lose 30")
            await venue.say("burst 6 1")
            taken += await running.take(1)
            assert numbers(taken) == [1, 2, 3, 4, 5, 6]
            (gap,) = [found for found in gaps if found not in before]
            assert (gap[1] - gap[0] + 1, gap[1] + 1) == (30, sequences(taken)[-1])
            assert running.feed.counters["gaps_filled"] == sum(last - first + 1 for first, last in gaps)
