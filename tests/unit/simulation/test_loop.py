"""The simulated event loop: whose errors count that nobody has looked at."""

from __future__ import annotations

import asyncio
import gc
from contextvars import Context

import pytest

from simulation.loop import FATE, Fate, StuckError, VirtualLoop


async def failing() -> None:
    raise OSError("the broker is away")


def blocking() -> None:
    raise OSError("the broker is away")


def leave_an_error(what: str, *, killed: bool) -> None:
    """Let a process's task, or its thread, fail with nobody looking, and collect it."""
    loop, fate = VirtualLoop(), Fate("process 1")  # type: ignore[abstract]
    context = Context()
    context.run(FATE.set, fate)

    async def main() -> None:
        if what == "task":
            loop.create_task(failing(), context=context)
        else:
            context.run(loop.run_in_executor, None, blocking)
        await asyncio.sleep(0.1)
        if killed:
            loop.kill(fate)
        loop._tasks.clear()
        gc.collect()
        await asyncio.sleep(0.1)

    loop.run(main())


@pytest.mark.parametrize("what", ["task", "thread"])
def test_the_error_of_a_killed_process_is_nobodys(what: str) -> None:
    leave_an_error(what, killed=True)


@pytest.mark.parametrize("what", ["task", "thread"])
def test_an_error_that_a_living_process_does_not_look_at_ends_the_run(what: str) -> None:
    with pytest.raises(StuckError, match=r"exception was never retrieved: OSError\('the broker is away'\)"):
        leave_an_error(what, killed=False)
