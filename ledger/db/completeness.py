"""What the ledger holds of a venue's list of fills: asked by whoever compares the two."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.domain.completeness import FindingKind, Listed, Open, OpenFindings
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import date

    import asyncpg

    from ledger.domain.completeness import Audited
    from ledger.domain.records import ReportKind

_SQL = load_queries("completeness")
_AT_ONCE = 5_000
_DAY = timedelta(days=1)
_NOBODY = "00000000000000000000000000000000"


class Gap(msgspec.Struct, frozen=True):
    """An order that waits for a fill, since ``since_ns``."""

    correlation_id: str
    venue: str
    since_ns: int
    is_overdue: bool
    routed_ns: int
    symbol: str
    cl_ord_ids: tuple[str, ...]
    venue_order_ids: tuple[str, ...]


class Request(msgspec.Struct, frozen=True):
    """A person's wish to have a span of time compared."""

    request_id: int
    venue: str
    from_ns: int
    until_ns: int


class Holdings:
    """One connection's look at it. Every method raises ``LedgerUnavailableError`` when Postgres is away."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def known(self, report_ids: Collection[str], trade_dates: Collection[date]) -> set[str]:
        """Give those of the reports that have landed."""
        rows = await self._fetch("known", list(report_ids), list(trade_dates))
        return {row["report_id"].hex for row in rows}

    async def ours(
        self, venue: str, kinds: Collection[ReportKind], from_ns: int, until_ns: int, account: str | None
    ) -> AsyncIterator[list[Listed]]:
        """Give our reports of ``[from_ns, until_ns)`` of the venue's clock, some thousands at a time."""
        after: tuple[int, str] = (from_ns - 1, _NOBODY)
        days = (utc_date(from_ns) - _DAY, utc_date(until_ns) + _DAY)
        while True:
            rows = await self._fetch(
                "ours", venue, [str(kind) for kind in kinds], from_ns, until_ns, *days, account, *after, _AT_ONCE
            )
            if rows:
                yield [_listed(row) for row in rows]
            if len(rows) < _AT_ONCE:
                return
            after = rows[-1]["transact_ns"], rows[-1]["report_id"].hex

    async def audited(self) -> dict[str, int]:
        """Give the end of each venue's last audit, ns."""
        return {row["venue"]: row["until_ns"] for row in await self._fetch("audited")}

    async def open_findings(self) -> OpenFindings:
        """Give the findings that stand."""
        rows = await self._fetch("open_findings")
        found = [Open(row["finding_id"].hex, FindingKind(row["kind"]), row["venue"], _listed(row)) for row in rows]
        return {(one.kind, one.fill.report_id): one for one in found}

    async def gaps(self, limit: int) -> list[Gap]:
        """Give orders that wait for a fill which the venue counts, the longest first."""
        return [
            Gap(
                row["correlation_id"],
                row["venue"],
                row["since_ns"],
                row["is_overdue"],
                row["routed_ns"],
                row["symbol"],
                tuple(row["cl_ord_ids"]),
                tuple(row["venue_order_ids"]),
            )
            for row in await self._fetch("gaps", limit)
            if row["routed_ns"] is not None
        ]

    async def open_requests(self, limit: int) -> list[Request]:
        """Give what persons asked for and is not answered, in that order."""
        rows = await self._fetch("open_requests", limit)
        return [Request(row["request_id"], row["venue"], row["from_ns"], row["until_ns"]) for row in rows]

    async def answer(self, request_id: int, outcome: str, audit: Audited | None = None) -> None:
        """Write what became of a request."""
        figures = (None,) * 5
        if audit is not None:
            figures = (audit.theirs, audit.ours, audit.missing, audit.handed_in, audit.unconfirmed)  # type: ignore[assignment]
        await self._fetch("answer", request_id, outcome, *figures)

    async def _fetch(self, query: str, *arguments: object) -> Sequence[Any]:
        with explained("comparing with a venue's list"):
            return await self._connection.fetch(_SQL[query], *arguments)


def _listed(row: Any) -> Listed:
    return Listed(row["report_id"].hex, row["exec_id"], row["symbol"], row["transact_ns"], row["correlation_id"])
