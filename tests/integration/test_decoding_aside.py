"""The child that decodes large batches: what it says is what this process would, and nothing hangs on it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streaming.decoding_aside import SMALLEST_BATCH, DecodingChild
from streaming.venues import canonical
from tests.integration.arrivals import VENUE, fill, fills, intent, snapshot
from tests.integration.database import until
from tests.integration.test_lander import World, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from streaming.arrivals import Arrival
    from streaming.venues.decoded import Decoded

__all__ = ["world"]  # a fixture

FORMATS = {VENUE: ("canonical", "")}
ROOT = Path(__file__).parents[2]
_PARENT = """
import asyncio, sys
from streaming.decoding_aside import DecodingChild
from tests.integration.test_decoding_aside import FORMATS, batch, started
async def main():
    child = DecodingChild(FORMATS)
    await started(child)
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def batch(first: int = 0) -> list[Arrival]:
    """As many reports as a child is asked for, with what is none between them."""
    made = [fill(f"E{first + n}") for n in range(SMALLEST_BATCH)]
    return [intent(), *made, fills({"type": "fill"}), snapshot("S1")]


async def started(child: DecodingChild) -> None:
    assert await child.decode(batch()) == {}, "the first batch does not wait for it"
    await until(lambda: child.pid is not None)


def in_this_process(arrivals: list[Arrival]) -> dict[int, Decoded]:
    return {n: canonical.decode(VENUE, a.raw) for n, a in enumerate(arrivals) if a.venue is not None}


@asynccontextmanager
async def child_of(**options: float) -> AsyncIterator[DecodingChild]:
    child = DecodingChild(FORMATS, **options)
    try:
        yield child
    finally:
        await child.close()


def is_gone(pid: int) -> Callable[[], bool]:
    def look() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    return look


async def test_it_says_what_this_process_would(caplog: pytest.LogCaptureFixture) -> None:
    async with child_of() as child:
        await started(child)
        for _ in range(3):
            arrivals = batch()
            found = await child.decode(arrivals)
            assert repr(found) == repr(in_this_process(arrivals))
        pid = child.pid
    assert pid is not None
    assert is_gone(pid)()


async def test_a_small_batch_does_not_start_it() -> None:
    async with child_of() as child:
        assert await child.decode(batch()[: SMALLEST_BATCH - 1]) == {}
        await asyncio.sleep(0.1)
        assert child.pid is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_dies_or_hangs_is_given_up_and_another_started(number: int) -> None:
    async with child_of(answer_seconds=0.5) as child:
        await started(child)
        first = child.pid
        assert first is not None
        os.kill(first, number)
        assert await child.decode(batch()) == {}
        assert child.pid is None
        await until(is_gone(first))
        async with asyncio.timeout(60):
            while child.pid is None:
                await child.decode(batch())
                await asyncio.sleep(0.05)
        assert child.pid != first
        assert len(await child.decode(batch())) == SMALLEST_BATCH + 1


async def test_it_ends_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pid = 0
    while not pid:
        line = (await parent.stdout.readline()).decode()
        assert line, "it ended before it told"
        pid = int(line) if line.strip().isdigit() else 0
    assert not is_gone(pid)()
    parent.kill()
    await parent.wait()
    await until(is_gone(pid))


async def test_a_backlog_lands_the_same_while_children_die(world: World) -> None:
    """Every batch comes to the same, whoever decoded it; a decoder's bug is the parent's to fail with."""
    lander = world.lander(batch_limit=SMALLEST_BATCH + 50)
    async with child_of() as child:
        lander._decoding_child = child
        landing = asyncio.create_task(lander.run())
        await world.land(lander, intent())
        await world.inbox.put([fill(f"E{n:04}") for n in range(500)])
        await until(lambda: lander.is_idle and child.pid is not None)
        assert child.pid is not None
        await world.inbox.put([fill(f"E{n:04}") for n in range(400, 900)])
        await until(lambda: lander.is_idle)
        os.kill(child.pid, signal.SIGKILL)
        await world.inbox.put([fill(f"E{n:04}") for n in range(900, 1400)])
        await until(lambda: lander.is_idle)
        landing.cancel()
        await asyncio.wait({landing})
    assert await world.exec_ids() == [f"E{n:04}" for n in range(1400)]
    assert world.metrics.duplicates == {"ALPHA.rest": 100}
