"""A large day worked on by several processes at once, which all read one moment of the ledger.

The day's own transaction exports its snapshot; each other process reads by it, writes nothing to the ledger,
leaves rows that differ in files and hands its counts back. It ends with the day, however that ends.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from ledger.domain.tolerances import Grace, Tolerances

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from sqlalchemy import Connection

    from ledger.domain.decide import Policy

ROWS_A_PROCESS = 100_000  # below it the start of another process (1 s) is not worth it
PROCESSES = max(1, min(4, os.cpu_count() or 1))

Result = TypeVar("Result")


class ShareError(RuntimeError):
    """A process that derives a share of a day failed; its last line says why. Nothing was changed."""


class Job(msgspec.Struct, frozen=True):
    """What a process of its own needs to work on a share of a day."""

    task: Literal["executions", "finals"]
    url: str
    snapshot: str
    day: date
    share: int
    shares: int
    folder: str
    stale_after_ns: int
    price: Literal["mid", "microprice"]
    tolerances: dict[str, Tolerances]
    grace: Grace


def shares_for(rows: int) -> int:
    """Say into how many shares a day of so many rows is divided."""
    return max(1, min(PROCESSES, -(-rows // ROWS_A_PROCESS)))


def start_others(
    task: Literal["executions", "finals"],
    connection: Connection,
    day: date,
    policy: Policy,
    folder: Path,
    shares: int,
    stack: ExitStack,
    kind: type[Result],
) -> list[Callable[[], Result]]:
    """Start a process for each share but the first; each of what is given waits for its result."""
    if shares == 1:
        return []
    snapshot = str(connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
    url = connection.engine.url.render_as_string(hide_password=False)
    rules = policy.slippage
    jobs = [
        Job(
            task, url, snapshot, day, share, shares, str(folder), rules.stale_after_ns, rules.price,
            dict(policy.tolerances), policy.grace,
        )
        for share in range(1, shares)
    ]  # fmt: skip
    return [stack.enter_context(_process(job, folder, kind)) for job in jobs]


@contextmanager
def _process(job: Job, folder: Path, kind: type[Result]) -> Iterator[Callable[[], Result]]:
    said = folder / f"share-{job.share}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "execution_assets.shares"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended already: its result says why
        process.stdin.write(msgspec.json.encode(job))  # the URL has a password: no argument, which others may read
        process.stdin.close()

    def result() -> Result:
        assert process.stdout is not None
        told = process.stdout.read()
        if process.wait() != 0:
            last = said.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise ShareError(
                f"{job.day}: share {job.share + 1} of {job.shares} failed: {''.join(last) or process.returncode}"
            )
        return msgspec.msgpack.decode(told, type=kind)

    try:
        yield result
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def few_collections() -> Iterator[None]:
    """Look for cycles rarely: a chunk makes half a million objects, none of them in one."""
    known = gc.get_threshold()
    gc.set_threshold(500_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*known)
