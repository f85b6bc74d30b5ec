"""Halts venues that confirm late or fall silent, and resumes them: what was measured becomes a landed fact.

It looks at what has landed, never before, ten times a second. A decision goes into the inbox like whatever venues
say; the landing transaction writes its row and its event, and only then it is in force here, in Redis and for the
agents that read ``execution.control.halt.v1``. At the start the ledger says who is halted.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from ledger import clocks
from ledger.db.reading import Reader
from ledger.domain.controls import CLOCK_OFF, CLOCK_RIGHT, Controls, StandingHalt, standing_of
from ledger.domain.failover import LIVE, RECOVERING
from ledger.domain.halts import HaltCause, HaltPolicy, Hearing, Watch, clock_decision, halt_decision, seconds
from ledger.domain.records import FILL, Action, ExecType
from ledger.domain.times import format_utc
from ledger.faultpoints import at
from streaming.feeds.desk import control_arrival
from streaming.watching import LandedWatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    import asyncpg

    from ledger.domain.controls import Control, ControlRows
    from ledger.domain.decision import Decision
    from ledger.domain.records import Report
    from streaming.arrivals import Inbox
    from streaming.metrics import Metrics

_AGAIN_SECONDS = 5.0  # a decision that has not landed by then went with a session that ended
_UNHEARD_LIMIT = 50_000  # orders of which nothing was heard yet: of more the newest count
# OrderStatus repeats what was said before, with the time of then
_UNTIMED = frozenset({ExecType.ORDER_STATUS, ExecType.CANCEL_REJECT})
_TO_DO = (
    "trading there stops; ask the venue, look at its feed; it resumes by itself when it is well, "
    "or: execution-agent halts resume {0} --reason TEXT"
)
_TO_DO_BY_HAND = "trading there stops until a person resumes it: execution-agent halts resume {0} --reason TEXT"
_TO_DO_CLOCK = (
    "a negative figure is a clock ahead of ours, else it is behind or confirms everything late: ask the venue, "
    "and look at our own clock"
)

log = structlog.get_logger()


class Halting(LandedWatch):
    """Watches the venues of ``policies`` while this process holds the lease.

    ``feeds`` names the feed that each venue is counted on, ``open_since`` says since when it has an open order.
    ``standing`` are the halted venues, as landed; ``on_change`` is called with them when they may have changed.
    """

    look_seconds = 0.1
    what = "venues"

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        inbox: Inbox,
        metrics: Metrics,
        policies: Mapping[str, HaltPolicy],
        feeds: Mapping[str, str],
        open_since: Callable[[str], int | None],
        *,
        may_decide: asyncio.Event,
    ) -> None:
        super().__init__(connect, may_decide)
        self._inbox = inbox
        self._metrics = metrics
        self._policies = policies
        self._feeds = feeds
        self._open_since = open_since
        self._controls = Controls()
        self._watches: dict[str, Watch] = {}
        self._heard: dict[str, int] = {}
        self._unheard: dict[tuple[str, str | None], int] = {}
        self._sent: dict[tuple[str, str], float] = {}
        self.on_change: Callable[[Mapping[str, StandingHalt]], None] | None = None

    @property
    def standing(self) -> Mapping[str, StandingHalt]:
        """Give the halted venues."""
        return self._controls.halts

    async def _begin(self, connection: asyncpg.Connection[Any]) -> bool:
        """Read what stands."""
        self._controls = await Reader(connection).controls()
        now_ns = clocks.time_ns()
        self._watches = {venue: Watch(policy, now_ns) for venue, policy in self._policies.items()}
        self._heard = dict(self._metrics.received)
        self._unheard.clear()
        self._sent.clear()
        for standing in self._controls.halts.values():
            log.warning("venue is halted", venue=standing.venue, **_said(standing))
        self._changed()
        return True

    async def _look(self) -> None:
        """Decide; a decision is on its way until it has landed."""
        now_ns, is_behind = clocks.time_ns(), self._inbox.is_behind()
        for venue, watch in self._watches.items():
            if is_behind:
                watch.fall_behind(now_ns)
            received = self._metrics.received.get(venue, 0)
            if received != self._heard.get(venue):
                self._heard[venue] = received
                watch.hear(now_ns)
            self._decide(venue, watch, now_ns)

    def _decide(self, venue: str, watch: Watch, now_ns: int) -> None:
        standing = self._controls.halts.get(venue)
        figures = watch.figures(now_ns, standing, self._hearing(venue), open_since_ns=self._open_since(venue))
        self._measure(venue, watch)
        self._send("halt", halt_decision(venue, standing, figures, watch.policy))
        offset, is_off = watch.clock.offset_ns, venue in self._controls.alerts
        self._send("clock", clock_decision(venue, offset, watch.policy.skew_ns, now_ns, is_off=is_off))

    def _hearing(self, venue: str) -> Hearing:
        states = {f: s for f, s in self._metrics.feed_states.items() if f.startswith(f"{venue}.")}
        if not states:
            return Hearing.OFF
        if states.get(self._feeds[venue]) == LIVE:
            return Hearing.UP
        return Hearing.PART if {LIVE, RECOVERING} & {*states.values()} else Hearing.DEAF

    def _send(self, what: str, control: Control | None) -> None:
        if control is None:
            return
        now, key = clocks.monotonic(), (control.venue, what)
        if now - self._sent.get(key, -_AGAIN_SECONDS) >= _AGAIN_SECONDS:
            self._sent[key] = now
            at("halting.decided")
            self._inbox.put_first(control_arrival(control))

    def _take(self, decision: Decision) -> None:
        """Feed the windows with what a landed decision holds."""
        for intent in decision.intents:
            if intent.action is Action.NEW and intent.venue in self._watches:
                self._unheard[intent.venue, intent.msg_id] = intent.routed_ns
        for captured in decision.order_reports:
            if captured.report.exec_type not in _UNTIMED:
                self._confirm(captured.report, captured.received_ns)
        for fill in decision.fills:
            if fill.report.kind is FILL:
                self._confirm(fill.report, fill.received_ns)
        self._note_unheard(decision)
        if decision.controls is not None:
            self._take_controls(decision.controls)

    def _confirm(self, report: Report, received_ns: int) -> None:
        watch = self._watches.get(report.venue)
        if watch is not None:
            routed_ns = self._unheard.pop((report.venue, report.cl_ord_id), None)
            watch.confirm(report.transact_ns, received_ns, routed_ns)

    def _note_unheard(self, decision: Decision) -> None:
        """Forget the new orders that were heard of before their intent, and the oldest of too many."""
        for intent in decision.intents:
            order = decision.orders.get(intent.correlation_id)
            if order is not None and (order.reports or order.order_reports):
                self._unheard.pop((intent.venue, intent.msg_id), None)
        for oldest in list(islice(self._unheard, max(0, len(self._unheard) - _UNHEARD_LIMIT))):
            del self._unheard[oldest]

    def _take_controls(self, rows: ControlRows) -> None:
        if rows.halts or rows.halts_ended:
            at("halting.landed")
        before = dict(self._controls.halts)
        self._controls.apply(rows)
        now_ns = clocks.time_ns()
        for venue, watch in self._watches.items():
            if before.get(venue) != self._controls.halts.get(venue):
                watch.change(now_ns)
                self._sent.pop((venue, "halt"), None)
        for venue in [*(a.venue for a in rows.alerts), *(a.venue for a in rows.alerts_ended)]:
            self._sent.pop((venue, "clock"), None)
        self._tell(rows)
        self._changed()

    def _tell(self, rows: ControlRows) -> None:
        """Write one line of the log for each change."""
        for halt in rows.halts:
            self._metrics.halts.labels(halt.venue, halt.cause.value).inc()
            since = {"since": format_utc(halt.since_ns)} if halt.figure is not None else {}
            log.error(
                "venue halted",
                venue=halt.venue,
                **_figures(halt.figure, halt.limit_value, halt.cause),
                **since,
                **_said(standing_of(halt)),
            )
        for ended in rows.halts_ended:
            if ended.venue not in self._controls.halts:
                log.warning("venue resumed", venue=ended.venue, by=ended.resumed_by, why=ended.resume_reason)
        for alert in rows.alerts:
            log.error(
                CLOCK_OFF,
                venue=alert.venue,
                what="clock_skew",
                figure=seconds(alert.offset_ns),
                limit=seconds(alert.limit_ns),
                since=format_utc(alert.began_ns),
                to_do=_TO_DO_CLOCK,
            )
        for over in rows.alerts_ended:
            log.warning(CLOCK_RIGHT, venue=over.venue, figure=seconds(over.ended_offset_ns))

    def _changed(self) -> None:
        for venue in self._feeds.keys() | self._controls.halts.keys():
            self._metrics.halted.labels(venue).set(venue in self._controls.halts)
        for venue in self._policies:
            self._metrics.clock_off.labels(venue).set(venue in self._controls.alerts)
        if self.on_change is not None:
            self.on_change(self._controls.halts)

    def _measure(self, venue: str, watch: Watch) -> None:
        for since, p95 in (("transact", watch.p95), ("routed", watch.routed_p95)):
            self._metrics.confirmation.labels(venue, since).set((p95 or 0) / 1e9)
        self._metrics.clock_offset.labels(venue).set((watch.clock.offset_ns or 0) / 1e9)


def _said(standing: StandingHalt) -> dict[str, str]:
    to_do = _TO_DO_BY_HAND if standing.cause is HaltCause.PERSON else _TO_DO
    return {
        "what": standing.cause.value,
        "by": standing.by,
        "why": standing.reason,
        "to_do": to_do.format(standing.venue),
    }


def _figures(figure: int | None, limit: int | None, cause: HaltCause) -> dict[str, str]:
    if figure is None or limit is None:
        return {}
    write = str if cause is HaltCause.IN_A_ROW else seconds
    return {"figure": write(figure), "limit": write(limit)}
