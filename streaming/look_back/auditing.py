"""Watches whether we have what the venues say they told: audits, gaps that wait, and what persons ask for.

Every venue with a list of fills (``venues.*.look_back``) is audited every few minutes, and asked for the fills of
an order that waits for one, before that becomes a dead letter. It runs while this process holds the lease.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks
from ledger.db.completeness import Gap, Holdings, Request
from ledger.db.errors import LedgerUnavailableError
from ledger.domain.completeness import AuditReason, complete_to, next_window
from ledger.domain.times import NANOS, format_utc
from ledger.faultpoints import at
from streaming.look_back.asking import AskedOrder, LookBackError
from streaming.look_back.comparing import Comparison
from streaming.look_back.telling import NotLandedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    import asyncpg

    from ledger.domain.completeness import Audited, AuditPolicy
    from ledger.domain.decision import Decision
    from streaming.look_back.look_back import LookBack
    from streaming.look_back.telling import Teller
    from streaming.metrics import Metrics

LOOK_SECONDS = 1.0
RETRY_SECONDS = 5.0  # after a venue or the ledger could not be asked
GAPS_AT_ONCE, REQUESTS_AT_ONCE = 200, 20
ONE_BY_ONE = 3  # gaps that are asked for by order: of more the list by time is quicker
GAP_TRIES = 6  # with twice the distance each time: what is not listed by then will not be
OUT_NS = 30 * NANOS  # a feed that is out is first given the time to come back, or to fail over
_AWAY = (LedgerUnavailableError, NotLandedError, OSError)

log = structlog.get_logger()


class Auditing:
    """Runs the comparisons of ``look_backs`` by their ``policies``.

    ``gap_ns`` is how long a gap waits for its feed before the list is asked.
    ``venues`` are all of the settings: those without a list are measured by their feeds' word.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        teller: Teller,
        metrics: Metrics,
        look_backs: Mapping[str, LookBack],
        policies: Mapping[str, AuditPolicy],
        venues: tuple[str, ...],
        *,
        gap_ns: int,
        may_decide: asyncio.Event,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._connect = connect
        self._teller = teller
        self._metrics = metrics
        self._look_backs = look_backs
        for look_back in look_backs.values():
            look_back.write_down = teller.tell
        self._policies = policies
        self._venues = venues
        self._gap_ns = gap_ns
        self._may_decide = may_decide
        self._look_seconds = look_seconds
        self._audited: dict[str, int] = {}
        self._gaps: dict[str, list[Gap]] = {}
        self._asked: dict[tuple[str, int], Asked] = {}
        self._requests: dict[str, list[Request]] = defaultdict(list)
        self._hole_since: dict[str, int] = {}
        self._live_since: dict[str, int] = {}
        self.complete_to: dict[str, int | None] = {}

    def offer(self, decision: Decision) -> None:
        """Take note of a landed decision."""
        self._teller.offer(decision)

    def status(self) -> dict[str, str | None]:
        """Say of each venue up to when nothing is known to be missing."""
        return {venue: None if at is None else format_utc(at) for venue, at in self.complete_to.items()}

    async def run(self) -> None:
        """Watch until cancelled, whenever the lease is held."""
        try:
            while True:
                await self._may_decide.wait()
                try:
                    await self._session()
                except* _AWAY as errors:
                    log.warning("completeness is not watched", error=str(errors.exceptions[0]))
                await asyncio.sleep(self._look_seconds)
        finally:
            for look_back in self._look_backs.values():
                await look_back.aclose()

    async def _session(self) -> None:
        """Read where audits stand, and watch until the lease is lost."""
        async with self._holdings() as holdings:
            self._audited = await holdings.audited()
            self._asked.clear()
            self._hole_since.clear()
            self._live_since.clear()
            async with asyncio.TaskGroup() as group:
                watching = [
                    group.create_task(work(look_back), name=f"{name} {venue}")
                    for venue, look_back in self._look_backs.items()
                    for name, work in (("audits of", self._audit), ("gaps of", self._ask_for_gaps))
                ]
                while self._may_decide.is_set():
                    await self._look(holdings)
                    await asyncio.sleep(self._look_seconds)
                for task in watching:
                    task.cancel()

    async def _look(self, holdings: Holdings) -> None:
        """See what waits and what is asked for, and measure."""
        gaps: dict[str, list[Gap]] = defaultdict(list)
        for gap in await holdings.gaps(GAPS_AT_ONCE):
            gaps[gap.venue].append(gap)
        self._gaps = gaps
        waiting = {_key(gap) for found in gaps.values() for gap in found}
        self._asked = {key: asked for key, asked in self._asked.items() if key in waiting}
        self._requests.clear()
        for request in await holdings.open_requests(REQUESTS_AT_ONCE):
            if request.venue in self._look_backs:
                self._requests[request.venue].append(request)
            else:
                known = ", ".join(self._look_backs) or "none has"
                refusal = f"refused: {request.venue} has no look_back in the settings of the process ({known})"
                at("completeness.answering")
                await holdings.answer(request.request_id, refusal)
        self._measure()

    def _measure(self) -> None:
        now_ns = clocks.time_ns()
        for venue in self._venues:
            states = [state for feed, state in self._metrics.feed_states.items() if feed.startswith(f"{venue}.")]
            if "live" in states:
                self._hole_since.pop(venue, None)
                self._live_since.setdefault(venue, now_ns)
            else:
                self._live_since.pop(venue, None)
                self._hole_since.setdefault(venue, now_ns)
            gaps = [gap.since_ns for gap in self._gaps.get(venue, ())]
            policy = self._policies.get(venue)
            self.complete_to[venue] = at_ns = complete_to(
                now_ns,
                self._audited.get(venue),
                self._hole_since.get(venue),
                min(gaps, default=None),
                is_audited=policy is not None and policy.every_ns > 0,
            )
            if at_ns is not None:
                self._metrics.completeness_lag.labels(venue).set((now_ns - at_ns) / 1e9)

    async def _audit(self, look_back: LookBack) -> None:
        """Audit one venue when it is time, and answer what persons ask of it."""
        policy = self._policies[look_back.venue]
        while True:
            try:
                for request in self._requests.pop(look_back.venue, []):
                    await self._answer(look_back, request)
                while policy.every_ns and self._is_settled(look_back.venue, policy):
                    window = next_window(self._audited.get(look_back.venue), clocks.time_ns(), policy)
                    if window is None:
                        break
                    await self._compare(look_back, AuditReason.AUDIT, window)
                    self._audited[look_back.venue] = window[1]
            except (LookBackError, *_AWAY) as error:
                log.warning("audit failed", venue=look_back.venue, error=str(error), again_in=RETRY_SECONDS)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(self._look_seconds)

    def _is_settled(self, venue: str, policy: AuditPolicy) -> bool:
        """Whether the feed had the time to bring what it will: what it has begun to replay is not missing.

        A feed that does not come back is no reason to wait for ever.
        """
        now_ns = clocks.time_ns()
        live_ns, hole_ns = self._live_since.get(venue), self._hole_since.get(venue)
        if live_ns is not None:
            return now_ns - live_ns >= policy.grace_ns
        return hole_ns is not None and now_ns - hole_ns >= max(policy.every_ns, OUT_NS)

    async def _ask_for_gaps(self, look_back: LookBack) -> None:
        """Ask for the fills of orders that wait for one, each a few times; for many of late by time, at once."""
        span_ns = self._policies[look_back.venue].window_ns
        while True:
            now_ns = clocks.time_ns()
            due = [gap for gap in self._gaps.get(look_back.venue, ()) if self._is_due(gap, now_ns)]
            late = [gap for gap in due if now_ns - gap.routed_ns < span_ns]
            if len(late) > ONE_BY_ONE:
                since_ns = min(gap.routed_ns for gap in late) - NANOS
                await self._ask_for(look_back, (since_ns, now_ns), None)
                due = [gap for gap in due if gap not in late]
            for gap in due:
                order = AskedOrder(gap.symbol, gap.cl_ord_ids, gap.venue_order_ids)
                await self._ask_for(look_back, (gap.routed_ns - NANOS, now_ns), order)
            await asyncio.sleep(self._look_seconds)

    def _is_due(self, gap: Gap, now_ns: int) -> bool:
        """Whether a gap is to be asked for now: then that is noted, and the next time is later each time."""
        asked = self._asked.get(_key(gap)) or Asked(0, gap.since_ns + self._gap_ns)
        if asked.times >= GAP_TRIES or now_ns < asked.next_ns:
            return False
        self._asked[_key(gap)] = Asked(asked.times + 1, now_ns + (self._gap_ns << asked.times))
        return True

    async def _ask_for(self, look_back: LookBack, window: tuple[int, int], order: AskedOrder | None) -> None:
        try:
            await self._compare(look_back, AuditReason.ORDER, window, order)
        except (LookBackError, *_AWAY) as error:
            log.warning("gaps were not asked for", venue=look_back.venue, error=str(error))

    async def _answer(self, look_back: LookBack, request: Request) -> None:
        """Compare what a person asked for, window by window, and write down what it came to."""
        policy = self._policies[look_back.venue]
        total: Audited | None = None
        outcome = "done"
        try:
            for begin_ns in range(request.from_ns, request.until_ns, policy.window_ns):
                window = (begin_ns, min(begin_ns + policy.window_ns, request.until_ns))
                total = _sum(total, await self._compare(look_back, AuditReason.REQUEST, window))
        except LookBackError as error:
            outcome = f"failed: {error}"
        at("completeness.answering")
        async with self._holdings() as holdings:
            await holdings.answer(request.request_id, outcome, total)

    async def _compare(
        self,
        look_back: LookBack,
        reason: AuditReason,
        window: tuple[int, int],
        order: AskedOrder | None = None,
    ) -> Audited:
        async with self._holdings() as holdings:
            comparison = Comparison(look_back, holdings, self._teller, self._metrics, reason, window, order)
            audit = await comparison.run()
        if reason is not AuditReason.ORDER:
            self._metrics.completeness_unconfirmed.labels(look_back.venue).set(audit.unconfirmed)
        say = log.warning if audit.missing or audit.unconfirmed else log.info
        say(
            "compared with the venue's list",
            venue=look_back.venue,
            why=reason.value,
            since=format_utc(window[0]),
            until=format_utc(window[1]),
            theirs=audit.theirs,
            ours=audit.ours,
            missing=audit.missing,
            handed_in=audit.handed_in,
            unconfirmed=audit.unconfirmed,
        )
        return audit

    @asynccontextmanager
    async def _holdings(self) -> AsyncIterator[Holdings]:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            yield Holdings(connection)
        finally:
            connection.terminate()


class Asked(msgspec.Struct, frozen=True):
    """How often a gap was asked for, and when it is again."""

    times: int
    next_ns: int


def _key(gap: Gap) -> tuple[str, int]:
    return gap.correlation_id, gap.since_ns


def _sum(total: Audited | None, part: Audited) -> Audited:
    if total is None:
        return part
    return msgspec.structs.replace(
        part,
        from_ns=total.from_ns,
        theirs=total.theirs + part.theirs,
        ours=total.ours + part.ours,
        missing=total.missing + part.missing,
        handed_in=total.handed_in + part.handed_in,
        unconfirmed=total.unconfirmed + part.unconfirmed,
    )
