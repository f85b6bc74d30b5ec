"""Where a streaming process stands, on demand: SIGUSR1 has it write its tasks and threads to its log."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

BEGIN, END = "-- where the tasks stand", "-- end of tasks"


def tell_when_asked() -> None:
    """Answer SIGUSR1."""
    signal.signal(signal.SIGUSR1, _tell)


def _tell(_: int, frame: FrameType | None) -> None:
    del frame
    lines = [BEGIN]
    loop = asyncio._get_running_loop()  # noqa: SLF001  None outside of it, where the public one raises
    for task in sorted(asyncio.all_tasks(loop), key=asyncio.Task.get_name) if loop is not None else ():
        stack = task.get_stack(limit=1)
        where = f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else "?"
        lines.append(f"   {task.get_name()}: {where} {_innermost(task)}")
    os.write(2, ("\n".join([*lines, END]) + "\n").encode())
    faulthandler.dump_traceback(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)


def _innermost(task: asyncio.Task[object]) -> str:
    """Follow the awaits to the one that waits."""
    awaited: object = task.get_coro()
    place = ""
    for _ in range(50):
        frame = getattr(awaited, "cr_frame", None)
        if frame is None:
            break
        place = f"< {frame.f_code.co_qualname}:{frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None)
    return place
