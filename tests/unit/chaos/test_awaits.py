"""A process that is armed with an await dies there: at each of its three moments, however deep it lies."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from chaos.awaits import MOMENTS, ROOT, VARIABLE, AwaitFault, Moment, Site, sites_of

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """\
import asyncio
import contextlib


async def turn(name):
    print(f"{name} asked", flush=True)
    await asyncio.sleep(0.02)
    print(f"{name} answered", flush=True)


async def pages():
    for name in ("first", "second"):
        await turn(
            name
        )
        yield name


@contextlib.asynccontextmanager
async def opened():
    await turn("open")
    yield
    await turn("close")


class Reader:
    async def read(self):
        async for page in pages():
            print(f"{page} read", flush=True)
        async with opened():
            print("within", flush=True)
        return [name async for name in pages()]


async def main():
    reading = asyncio.create_task(Reader().read())
    await asyncio.wait({reading})
    print(reading.result(), flush=True)
"""
RUN = """\
import os, sys, asyncio, uvloop
from chaos.awaits import armed, watched
sys.path.insert(0, sys.argv[1])
import program
fault = armed(os.environ)
with asyncio.Runner(loop_factory=lambda: watched(uvloop.new_event_loop, fault)) as runner:
    runner.run(program.main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def site_at(program: Path, text: str) -> Site:
    line = 1 + next(number for number, line in enumerate(PROGRAM.splitlines()) if text in line)
    [site] = [site for site in sites_of(program) if site.first == line]
    return site


def run(program: Path, fault: AwaitFault) -> subprocess.CompletedProcess[str]:
    environment = {VARIABLE: msgspec.json.encode(fault).decode(), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, str(program.parent)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_all_awaits_of_a_module_are_found(program: Path) -> None:
    found = {(site.first, site.last, site.function) for site in sites_of(program)}
    lines = PROGRAM.splitlines()
    assert {lines[first - 1].strip() for first, _, _ in found} == {
        "await asyncio.sleep(0.02)", "await turn(", 'await turn("open")', 'await turn("close")',
        "async for page in pages():", "async with opened():", "return [name async for name in pages()]",
        "await asyncio.wait({reading})",
    }  # fmt: skip
    assert (13, 15, "pages") in found
    assert {function for *_, function in found} == {"turn", "pages", "opened", "Reader.read", "main"}


PAGE = ["first asked", "first answered", "first read"]
PAGES = [*PAGE, "second asked", "second answered", "second read"]
OPENED = ["open asked", "open answered", "within", "close asked"]


@pytest.mark.parametrize(
    ("text", "moment", "passes", "said"),
    [
        ("asyncio.sleep", "before", 1, ["first asked"]),
        ("asyncio.sleep", "after", 1, ["first asked"]),
        ("asyncio.sleep", "after", 2, [*PAGE, "second asked"]),
        ("await turn(", "during", 2, [*PAGE, "second asked"]),
        ("async with opened", "before", 2, [*PAGES, *OPENED]),
        ("name async for", "before", 1, [*PAGES, *OPENED, "close answered", "first asked"]),
    ],
)
def test_it_dies_where_it_is_told_to(
    program: Path, text: str, moment: Moment, passes: int, said: list[str]
) -> None:
    fault = AwaitFault(site_at(program, text), moment, passes, 60.0)
    done = run(program, fault)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stderr == f"{fault.words}\n"
    assert done.stdout.splitlines() == said


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_first_pass_after_its_time_will_do(program: Path, moment: Moment) -> None:
    done = run(program, AwaitFault(site_at(program, "asyncio.wait("), moment, 99, 0.0))
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_is_not_reached_kills_nobody(program: Path) -> None:
    done = run(program, AwaitFault(site_at(program, "asyncio.sleep"), "before", 99, 60.0))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("['first', 'second']\n")
