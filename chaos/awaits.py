"""Every await of the streaming process as a place to die at: found in its source, watched in its tasks.

Named fault points lie where something of ours is written, sent or answered. This is the rest, and needs no list
by hand: ``sites`` reads all ``await``, ``async for`` and ``async with`` from the source, and a life that is armed
with one has each of its tasks' coroutines wrapped, so that it is seen when the task is suspended there and when it
goes on. A life that is not armed so has nothing wrapped.

Three moments of an await: ``before``, it is suspended, and what it asked for need not have left the process;
``during``, a turn of the event loop later; ``after``, it goes on, and nothing was done with the answer. An await
that does not suspend is none of these: nothing can happen there that could not happen on the line before.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import os
import signal
import time
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from types import AsyncGeneratorType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

L = TypeVar("L", bound=asyncio.AbstractEventLoop)
Moment = Literal["before", "during", "after"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
VARIABLE = "CHAOS_AWAIT"
ROOT = Path(__file__).parents[1]
_DEEPEST = 60  # awaits within awaits


class Site(msgspec.Struct, frozen=True, order=True):
    """Where something is awaited: lines of a file under the project's folder."""

    path: str
    first: int
    last: int
    function: str

    @property
    def name(self) -> str:
        """As the table and the log say it."""
        return f"await {self.path}:{self.first} {self.function}"


class AwaitFault(msgspec.Struct, frozen=True):
    """Die at the ``passes``-th pass of a site's moment, or at the first one after ``seconds``."""

    site: Site
    moment: Moment
    passes: int
    seconds: float

    @property
    def words(self) -> str:
        """What the process says last."""
        return f"{self.site.name}, {self.moment}: SIGKILL"


@cache
def sites() -> tuple[Site, ...]:
    """Give every await of the modules that run in the streaming process; several of one line are one."""
    sources = [*(ROOT / "streaming").rglob("*.py"), *(ROOT / "ledger" / "db").glob("*.py")]
    found = {(s.path, s.first): s for source in sorted(sources) for s in sites_of(source)}
    return tuple(sorted(found.values()))


def sites_of(source: Path) -> Iterator[Site]:
    """Give the awaits of one module; of one that is not the project's, with its whole path."""
    path = source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else source.as_posix()
    yield from _within(ast.parse(source.read_text("utf-8")), path, "")


def _within(node: ast.AST, path: str, function: str) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inner = function
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = f"{function}.{child.name}" if function else child.name
        lines = _lines(child)
        if lines is not None:
            yield Site(path, *lines, inner)
        yield from _within(child, path, inner)


def _lines(node: ast.AST) -> tuple[int, int] | None:
    """Give the lines that a frame is at while it waits here."""
    match node:
        case ast.Await():
            return node.lineno, node.end_lineno or node.lineno
        case ast.AsyncFor():
            return node.lineno, node.iter.end_lineno or node.lineno
        case ast.AsyncWith():
            return node.lineno, node.items[-1].context_expr.end_lineno or node.lineno
        case ast.comprehension(is_async=1):
            return node.target.lineno, node.iter.end_lineno or node.target.lineno
    return None


def armed(environment: Mapping[str, str]) -> AwaitFault | None:
    """Read what a life is armed with."""
    text = environment.get(VARIABLE)
    return msgspec.json.decode(text, type=AwaitFault) if text else None


def watched(make_loop: Callable[[], L], fault: AwaitFault) -> L:
    """Make an event loop all of whose tasks are watched."""
    loop = make_loop()
    watch = _Watch(fault, loop)

    def make_task(
        loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any
    ) -> asyncio.Task[Any]:  # typeshed has no better word for what a task factory is given
        return asyncio.Task(_Watched(coroutine, watch), loop=loop, **named)

    loop.set_task_factory(make_task)
    return loop


class _Watch:
    """Counts the passes of one site."""

    def __init__(self, fault: AwaitFault, loop: asyncio.AbstractEventLoop) -> None:
        self._fault, self._loop = fault, loop
        self._file = str(ROOT / fault.site.path)
        self._left = fault.passes
        self._due = time.monotonic() + fault.seconds

    def is_there(self, coroutine: object) -> bool:
        site = self._fault.site
        return any(
            frame.f_code.co_filename == self._file and site.first <= frame.f_lineno <= site.last
            for frame in frames(coroutine)
        )

    def passed(self, moment: Moment) -> None:
        if moment == "after":
            if self._fault.moment == "after":
                self._count(self._die)
        elif self._fault.moment == "before":
            self._count(self._die)
        elif self._fault.moment == "during":
            self._count(lambda: self._loop.call_later(0.0, self._die))

    def _count(self, then: Callable[[], object]) -> None:
        self._left -= 1
        if self._left == 0 or time.monotonic() >= self._due:
            then()

    def _die(self) -> None:
        os.write(2, f"{self._fault.words}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


class _Watched(Coroutine[Any, Any, Any]):
    """A task's coroutine, looked at whenever it stops and goes on."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watch: _Watch) -> None:
        self._coroutine, self._watch = coroutine, watch
        self._waits = False

    def send(self, value: Any) -> Any:
        self._goes_on()
        asked = self._coroutine.send(value)
        self._stops()
        return asked

    def throw(self, error: Any, value: Any = None, traceback: TracebackType | None = None) -> Any:
        self._goes_on()
        if value is None and traceback is None:
            asked = self._coroutine.throw(error)
        else:
            asked = self._coroutine.throw(error, value, traceback)
        self._stops()
        return asked

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # cr_frame and its like: who looks where tasks stand sees ours

    def _goes_on(self) -> None:
        if self._waits:
            self._watch.passed("after")

    def _stops(self) -> None:
        self._waits = self._watch.is_there(self._coroutine)
        if self._waits:
            self._watch.passed("before")


def frames(awaited: object) -> Iterator[FrameType]:
    """Give the frames of a suspended coroutine, the outermost first, through whatever it awaits."""
    for _ in range(_DEEPEST):
        if awaited is None:
            return
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:
            awaited = _wrapped(awaited)


def _wrapped(awaited: object) -> object:
    """Give what is inside of an ``anext`` or of a coroutine's own iterator: neither names it."""
    if isinstance(awaited, asyncio.Future):
        return None
    inside = [held for held in gc.get_referents(awaited) if isinstance(held, (AsyncGeneratorType, Coroutine))]
    return inside[0] if inside else None
