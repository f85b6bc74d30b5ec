"""A deterministic event loop: virtual time, no threads, and processes in it that can be killed and paused.

What runs next depends on the seed alone: callbacks in the order in which they were scheduled, timers by their
time, then by that order. A callback takes two microseconds; when none is ready, time leaps to the next timer.

A callback belongs to the process in whose context it was scheduled. A killed process never runs again, at
whatever await it stood: no ``finally``, as with SIGKILL. A paused one (SIGSTOP) runs late what it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, greenlet

from simulation.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

EPOCH_NS = 1_790_000_000 * 1_000_000_000  # 2026-09-21, a Monday; any will do
_STUCK_STEPS = 500_000
_STEP_SECONDS = 2e-6  # of a callback: loops that wait for the clock would turn in circles if it stood still


class StuckError(Exception):
    """Callbacks go on for ever without the clock moving."""


class Fate:
    """One process of the operating system: it runs, is paused, or is dead."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.steps_left: int | None = None  # so many more callbacks, then it is killed
        self.missed: list[asyncio.Handle] = []
        self.on_death: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name


FATE: ContextVar[Fate | None] = ContextVar("FATE", default=None)


class _Task(asyncio.Task[Any]):
    """A task that knows its process: when memory is collected its context is gone."""

    fate: Fate | None = None


class _Future(asyncio.Future[Any]):
    """A future that knows its process."""

    fate: Fate | None = None


class VirtualLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that the streaming core uses."""

    def __init__(self) -> None:
        self._now = 0.0
        self._number = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 500
        self.stacks: list[greenlet] = []
        self.steps = 0
        self._failure: Exception | None = None
        self.over = False

    def time(self) -> float:
        """Seconds since the run began."""
        return self._now

    def time_ns(self) -> int:
        """The same as a UTC time."""
        return EPOCH_NS + round(self._now * 1e9)

    def leap(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as a suspended machine does: what is due then runs once, late."""
        self._now += seconds

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run until ``main`` is done; raises what it raised."""
        asyncio._set_running_loop(self)  # noqa: SLF001  what every event loop does
        try:
            task = self.create_task(main)
            while not task.done() and self._failure is None:
                self._step()
            if self._failure is not None:
                raise self._failure
            task.result()
        finally:
            self._bury()
            asyncio._set_running_loop(None)  # noqa: SLF001

    def _step(self) -> None:
        if not self._ready:
            self._turn()
        handle = self._ready.popleft()
        if handle._cancelled:  # noqa: SLF001  as asyncio's own loop looks
            return
        fate: Fate | None = handle._context.get(FATE)  # type: ignore[attr-defined]  # noqa: SLF001
        if fate is not None and not self._may_run(fate, handle):
            return
        self.steps += 1
        self._now += _STEP_SECONDS
        if self.steps > _STUCK_STEPS:
            raise StuckError(f"{self.steps} callbacks in one run: something turns in a circle: {handle}")
        handle._run()  # noqa: SLF001

    def _may_run(self, fate: Fate, handle: asyncio.Handle) -> bool:
        if not fate.alive:
            return False
        if fate.paused:
            fate.missed.append(handle)
            return False
        if fate.steps_left is not None:
            fate.steps_left -= 1
            if fate.steps_left < 0:
                self.kill(fate)
                return False
        return True

    def _turn(self) -> None:
        """Go to the next timer's time."""
        while self._timers and self._timers[0][2]._cancelled:  # noqa: SLF001
            heapq.heappop(self._timers)
        if not self._timers:
            raise StuckError("nothing is left to run")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])

    def kill(self, fate: Fate) -> None:
        """SIGKILL."""
        fate.alive = False
        fate.missed.clear()
        for told in fate.on_death:
            told()

    def resume(self, fate: Fate) -> None:
        """SIGCONT."""
        fate.paused = False
        self._ready.extend(fate.missed)
        fate.missed.clear()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback after those that are ready."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread."""
        return self.call_soon(callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        future = _Future(loop=self)
        future.fate = FATE.get()
        return future

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Make a task; it is kept, so that nothing depends on when memory is collected."""
        task = _Task(coro, loop=self, name=name or "task", context=context)
        task.fate = FATE.get() if context is None else context.get(FATE)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  killed is not forgotten
        if len(self._tasks) > self._prune_at:
            self._tasks = [kept for kept in self._tasks if not kept.done()]
            self.stacks = [kept for kept in self.stacks if not kept.dead]
            self._prune_at = 2 * len(self._tasks) + 500
        self._tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a blocking call on a stack of its own (``simulation.threads``)."""
        del executor
        result = self.create_future()
        self.call_later(0.001, start, self, lambda: func(*args), result)
        return result

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback failed, or an exception was never looked at: the run says so.

        Unless who would have looked was killed: the system looks at no thread's error after SIGKILL.
        """
        fate: Fate | None = getattr(context.get("future") or context.get("task"), "fate", None)
        if fate is not None and not fate.alive:
            return
        self.fail(StuckError(f"{context.get('message')}: {context.get('exception')!r}"))

    def fail(self, error: Exception) -> None:
        """End the run here."""
        if self._failure is None and not self.over:
            self._failure = error

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Do the same."""
        self.call_exception_handler(context)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Always."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _bury(self) -> None:
        """End what is left, in the order of its making: memory that is collected later must not run anything."""
        self.over = True
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            if not task.done():
                with contextlib.suppress(BaseException):
                    coro = task.get_coro()
                    assert coro is not None
                    coro.close()
            elif not task.cancelled():
                task.exception()  # looked at
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()
        for stack in self.stacks:
            if not stack.dead:
                stack.throw(GreenletExit)
        self.stacks.clear()


_OUTSIDE = Context()


def outside() -> Context:
    """Give the context that belongs to no process: a server's, the network's."""
    return _OUTSIDE
