"""What is here of a span of a venue's time: each fill once, whatever its feeds said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.db.completeness import Holdings
from ledger.domain.records import ReportKind
from tests.integration.database import connected
from tests.integration.test_dagster_day import Streaming
from tests.unit.domain.facts import SECOND, T0, intent, report

if TYPE_CHECKING:
    from ledger.domain.records import Captured

MICROSECOND = 1_000


def worded(captured: Captured, at_ns: int, content: str) -> Captured:
    """The same report as another feed words it."""
    told = msgspec.structs.replace(captured.report, transact_ns=at_ns, content=content)
    return msgspec.structs.replace(captured, report=told)


async def test_a_fill_in_two_wordings_counts_once_and_in_one_window(ledger_url: str) -> None:
    nanosecond = report("E1", qty="1", px="100", at=T0 + SECOND + 123_456_789)
    microsecond = worded(nanosecond, T0 + SECOND + 123_456_000, "c" * 32)
    other = report("E2", qty="1", px="100", at=T0 + 2 * SECOND)
    await Streaming(ledger_url)._land([intent("C1", "M1", qty="10"), nanosecond, other])
    await Streaming(ledger_url)._land([microsecond])
    async with connected(ledger_url) as connection:
        wordings = await connection.fetchval("SELECT count(*) FROM execution.fills")
        assert wordings == 3, "both wordings are kept"

        async def ours(from_ns: int, until_ns: int) -> list[str]:
            chunks = Holdings(connection).ours(nanosecond.report.venue, [ReportKind.FILL], from_ns, until_ns, None)
            return [fill.exec_id async for chunk in chunks for fill in chunk]

        assert await ours(T0, T0 + 3 * SECOND) == ["E1", "E2"]
        cut = T0 + SECOND + 123_456_500  # between the two wordings
        assert (await ours(T0, cut), await ours(cut, T0 + 3 * SECOND)) == (["E1"], ["E2"])
