"""The file of a day's report: a reader finds the old page or the new one, never half of one."""

from __future__ import annotations

import os
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from execution_assets.executions import CODE_VERSION as RULES
from execution_assets.report.facts import DayFacts, read_facts
from execution_assets.report.page import render

if TYPE_CHECKING:
    from datetime import date

    from execution_assets.resources import LedgerResource

NAME = "execution-report.html"


class Written(msgspec.Struct, frozen=True):
    """A page that was written: its digest is of its bytes."""

    path: Path
    facts: DayFacts
    digest: str
    changed: bool


def make_page(ledger: LedgerResource, day: date, slo_us: int) -> tuple[DayFacts, str]:
    """Read a day and give its facts with its page."""
    with ledger.reading() as connection:
        facts = read_facts(connection, day, slo_us)
    return facts, render(facts, code_version())


def write_page(ledger: LedgerResource, day: date, slo_us: int, path: Path) -> Written:
    """Make a day's page and write it to ``path``; a page that is as it was is left alone. Raises ``OSError``."""
    facts, page = make_page(ledger, day, slo_us)
    data = page.encode()
    changed = not path.exists() or path.read_bytes() != data
    if changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fresh.write_bytes(data)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return Written(path, facts, sha256(data).hexdigest(), changed)


def path_of(folder: Path, day: date) -> Path:
    """Give the place of a day's page, beside the analysts' Parquet by its name."""
    return folder / f"trade_date={day.isoformat()}" / NAME


def code_version() -> str:
    """Name the code that makes pages: the release, and the version of the rules that derive days."""
    try:
        release = version("execution-agent")
    except PackageNotFoundError:
        release = "not installed"
    return f"execution-agent {release}, rules {RULES}"
