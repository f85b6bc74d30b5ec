"""One comparison of a venue's list with ours: what is missing is written down, handed in and seen to land."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ledger import clocks
from ledger.domain.completeness import Audited, AuditReason, Listed, Missing, unlisted
from ledger.domain.identity import identify
from ledger.domain.times import NANOS, utc_date
from ledger.faultpoints import at
from streaming.look_back.asking import LookBackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.db.completeness import Holdings
    from streaming.look_back.asking import AskedOrder
    from streaming.look_back.look_back import Found, LookBack
    from streaming.look_back.telling import Teller
    from streaming.metrics import Metrics

MARGIN_NS = NANOS  # lists may cut times: both sides are asked so much wider than what is judged
MAX_LISTED = 2_000_000
MAX_UNLISTED = 1_000  # told at once; the count is always right


class Comparison:
    """Of one venue over ``[from_ns, until_ns)``, or of the fills of one ``order``.

    Where gaps wait (``AuditReason.ORDER``) only what is missing here is looked at, the newest too.
    """

    def __init__(
        self,
        look_back: LookBack,
        holdings: Holdings,
        teller: Teller,
        metrics: Metrics,
        reason: AuditReason,
        window: tuple[int, int],
        order: AskedOrder | None = None,
    ) -> None:
        self._only_missing = reason is AuditReason.ORDER
        self._look_back = look_back
        self._holdings = holdings
        self._teller = teller
        self._metrics = metrics
        self._reason = reason
        self._from_ns, self._until_ns = window
        self._order = order
        self._at_ns = clocks.time_ns()
        self._audit_id = identify("audit", look_back.venue, reason, *map(str, window), str(self._at_ns))
        self._told = 0
        self.absent: list[Listed] = []
        """What was missing, the first thousand."""
        self._theirs: set[bytes] = set()
        self._listed = self._missing = self._handed_in = 0

    async def run(self, *, dry: bool = False) -> Audited:
        """Compare; ``dry`` hands nothing in and writes nothing down.

        Raises ``LookBackError``, ``LedgerUnavailableError``, ``NotLandedError``: what was begun may then be begun
        again, which changes nothing.
        """
        pages = self._look_back.pages(self._from_ns - MARGIN_NS, self._until_ns + MARGIN_NS, self._order)
        async for page in pages:
            self._note(page)
            await self._take(page, dry=dry)
        ours, extra = (0, []) if self._only_missing else await self._ours()
        audit = Audited(
            self._token(),
            self._audit_id,
            self._look_back.venue,
            self._reason,
            self._from_ns,
            self._until_ns,
            clocks.time_ns(),
            self._listed,
            ours,
            self._missing,
            self._handed_in,
            len(extra),
            tuple(extra[:MAX_UNLISTED]),
            () if dry else await self._present(),
        )
        if not dry:
            at("completeness.compared")
        if not dry and (self._missing or not self._only_missing):
            await self._teller.tell(audit)
        return audit

    def _note(self, page: Sequence[Found]) -> None:
        for found in page:
            for fill in found.fills:
                self._theirs.add(bytes.fromhex(fill.report_id))
                self._listed += self._only_missing or self._from_ns <= fill.transact_ns < self._until_ns
        if len(self._theirs) > MAX_LISTED:
            raise LookBackError(
                f"{self._look_back.venue} lists more than {MAX_LISTED} fills in one window: lower "
                "look_back.window_seconds"
            )

    async def _take(self, page: Sequence[Found], *, dry: bool) -> None:
        absent = await self._look_back.absent(self._judged(page), self._holdings.known)
        if not absent:
            return
        if dry:
            self._count(absent)
            return
        async with self._look_back.turn:  # another comparison may be about to hand in the same
            await self._teller.tell(self._missing_of(()))  # what had come when the list was made has landed now
            absent = await self._look_back.absent(absent, self._holdings.known)
            fills = self._count(absent)
            if fills:
                self._metrics.completeness_missing.labels(self._look_back.venue).inc(len(fills))
                await self._teller.tell(self._missing_of(fills))
                at("completeness.missing")
            outcome = await self._look_back.hand_in(absent)
        self._handed_in += outcome.landed + outcome.duplicates  # a duplicate: the feed was quicker after all

    def _count(self, absent: Sequence[Found]) -> list[Listed]:
        fills = [fill for found in absent for fill in found.fills]
        self._missing += len(fills)
        self.absent += fills[: MAX_UNLISTED - len(self.absent)]
        return fills

    def _judged(self, page: Sequence[Found]) -> list[Found]:
        """Leave out what is newer than the window: it may be on its way."""
        if self._only_missing:
            return list(page)
        return [
            found
            for found in page
            if not found.fills or any(fill.transact_ns < self._until_ns for fill in found.fills)
        ]

    async def _ours(self) -> tuple[int, list[Listed]]:
        """Count our fills of the window, and name those that the venue does not list."""
        count = 0
        extra: list[Listed] = []
        look_back = self._look_back
        chunks = self._holdings.ours(
            look_back.venue, look_back.lister.kinds, self._from_ns, self._until_ns, look_back.account
        )
        async for chunk in chunks:
            count += len(chunk)
            extra += unlisted(self._theirs, chunk, look_back.covers)
        return count, extra

    async def _present(self) -> tuple[str, ...]:
        """Give the standing findings that this settles: the venue lists the fill, and we have it."""
        standing = [
            found.fill
            for found in (await self._holdings.open_findings()).values()
            if found.venue == self._look_back.venue and bytes.fromhex(found.fill.report_id) in self._theirs
        ]
        days = {utc_date(fill.transact_ns) + timedelta(days=off) for fill in standing for off in (-1, 0, 1)}
        return tuple(sorted(await self._holdings.known({fill.report_id for fill in standing}, days)))

    def _missing_of(self, fills: Sequence[Listed]) -> Missing:
        venue = self._look_back.venue
        states = {feed: state for feed, state in self._metrics.feed_states.items() if feed.startswith(f"{venue}.")}
        return Missing(
            self._token(),
            self._audit_id,
            venue,
            self._reason,
            self._from_ns,
            self._until_ns,
            clocks.time_ns(),
            ", ".join(f"{feed} {state}" for feed, state in sorted(states.items())),
            "live" in states.values(),
            tuple(fills),
        )

    def _token(self) -> str:
        self._told += 1
        return identify("told", self._audit_id, str(self._told))
