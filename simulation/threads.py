"""Threads without threads: a blocking call runs on a stack of its own and gives the loop its turn where it waits.

``VirtualLoop.run_in_executor`` runs every call so; a simulated client waits by ``wait``, and which of them goes on
when is the loop's, and so the seed's, to say.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from simulation.loop import VirtualLoop


def start(loop: VirtualLoop, function: Callable[[], Any], result: asyncio.Future[Any]) -> None:
    """Run a function until it first waits; its value or error becomes the result."""

    def body() -> None:
        try:
            value = function()
        except Exception as error:  # noqa: BLE001  it is the caller's
            if not result.done():
                result.set_exception(error)
        else:
            if not result.done():
                result.set_result(value)

    stack = greenlet(body)
    stack.gr_context = copy_context()
    loop.stacks.append(stack)
    stack.switch()


def wait(loop: VirtualLoop, seconds: float, waiting: list[Callable[[], None]]) -> None:
    """Wait for a time, or until one calls what is put into ``waiting``."""
    stack = getcurrent()
    hub = stack.parent
    assert hub is not None, "only a thread can wait"
    future = loop.create_future()
    context = copy_context()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def go_on(_: object) -> None:
        stack.switch()

    future.add_done_callback(go_on, context=context)
    timer = loop.call_later(seconds, wake, context=context)
    waiting.append(wake)
    hub.switch()
    timer.cancel()
    if wake in waiting:
        waiting.remove(wake)
