"""When to stop trading at a venue, and when to go on: a pure function of what was measured.

A halt is a fact with one row: it begins by a decision of ours or of a person, and ends by one. What is decided
here is landed, told (``execution.control.halt.v1``) and only then in force, so that the ledger and nobody's
memory says who is halted. RTS 6 (EU 2017/589), Articles 12, 16(5) and 17, asks for such a control and for alerts
within five seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.latency import ClockFilter, Window
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    from ledger.domain.controls import StandingHalt

AGENT = "execution-agent"  # who halts and resumes where no person does
_DEAF = "no feed of the venue stays up"  # begins the reason of such a halt, which ends in its own way
_STEADY_NS = 5 * NANOS  # a venue that accepts a logon and drops it again and again was not up


class HaltCause(StrEnum):
    """Why a venue is halted."""

    LATENCY = "latency_p95"
    IN_A_ROW = "late_in_a_row"
    SILENCE = "silence"
    PERSON = "person"


class Hearing(StrEnum):
    """How a venue's feeds are."""

    OFF = "off"
    """Nobody connects them here: that nothing is heard says nothing."""
    DEAF = "deaf"
    """All of them are asked, and none is up."""
    PART = "part"
    """One is up, and the one that is counted on is not, or catches up."""
    UP = "up"


class HaltPolicy(msgspec.Struct, frozen=True):
    """One venue's limits; times in ns.

    ``sla_ns``: beyond it a confirmation is late. The p95 of at least ``reports`` reports within ``window_ns``
    beyond it halts, and so do ``in_a_row`` late ones, ``silence_ns`` without a message while orders are open,
    however the feeds are, and ``deaf_ns`` without a feed that is up for five seconds (or ``deaf_ns``, where that
    is less) while orders are open; 0 turns each of these three off. ``routed_sla_ns`` is the same for the first
    that is heard of orders, from when they were routed, 0 is off: it needs no clock of the venue's, but a venue
    that acknowledges orders. A halt of ours ends when the p95 of at least ``calm_reports`` reports since then has
    been at most ``calm_sla_ns`` for ``calm_ns``. ``skew_ns``: how far the venue's clock may be off.
    """

    sla_ns: int = 5 * NANOS
    window_ns: int = 60 * NANOS
    reports: int = 200
    in_a_row: int = 100
    silence_ns: int = 0
    deaf_ns: int = 30 * NANOS
    routed_sla_ns: int = 0
    calm_sla_ns: int = 4 * NANOS
    calm_routed_sla_ns: int = 0
    calm_ns: int = 30 * NANOS
    calm_reports: int = 20
    skew_ns: int = NANOS


class Halt(msgspec.Struct, frozen=True, tag="halt"):
    """The decision to halt a venue, as it is landed. ``request_id`` is that of the person who asked for it.

    ``figure`` was beyond ``limit``: ns of a p95 or a silence, reports of late ones in a row; None by hand.
    """

    venue: str
    cause: HaltCause
    at_ns: int
    since_ns: int
    by: str
    reason: str
    figure: int | None = None
    limit: int | None = None
    request_id: int | None = None


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """The decision to go on. ``halt_id`` is the halt that ends; a person ends whichever there is (None)."""

    venue: str
    at_ns: int
    by: str
    reason: str
    halt_id: str | None = None
    request_id: int | None = None


class ClockChange(msgspec.Struct, frozen=True, tag="clock"):
    """A venue's clock is off by more than the limit, or is no longer (``is_off``)."""

    venue: str
    is_off: bool
    at_ns: int
    offset_ns: int
    limit_ns: int


class Figures(msgspec.Struct, frozen=True):
    """What is known of a venue at ``now_ns``. ``p95_ns`` is that of ``reports`` reports in the window.

    ``quiet_ns`` is how long nothing was heard while it should have been, ``deaf_ns`` for how long of that no feed
    was up, but for moments: None where no order is open, nobody listens, or one is up now. ``calm_ns`` is how long
    a halted venue has been well, None where it is not. ``routed_p95_ns`` is that of the first that was heard of
    ``routed`` orders in the window, since they were routed.
    """

    now_ns: int
    reports: int = 0
    p95_ns: int | None = None
    first_ns: int = 0
    in_a_row: int = 0
    late_since_ns: int = 0
    quiet_ns: int | None = None
    calm_ns: int | None = None
    routed: int = 0
    routed_p95_ns: int | None = None
    routed_first_ns: int = 0
    deaf_ns: int | None = None


def halt_decision(
    venue: str, standing: StandingHalt | None, figures: Figures, policy: HaltPolicy
) -> Halt | Resume | None:
    """Decide whether to halt a venue, to go on, or neither. What a person halted, only a person resumes."""
    if standing is None:
        return _breach(venue, figures, policy)
    if standing.cause is HaltCause.PERSON or figures.calm_ns is None or figures.calm_ns < policy.calm_ns:
        return None
    reason = f"calm for {seconds(figures.calm_ns)} s"
    if figures.p95_ns is not None:
        reason += f", p95 {seconds(figures.p95_ns)} s of {figures.reports} reports"
    return Resume(venue, figures.now_ns, AGENT, reason, standing.halt_id)


def _breach(venue: str, f: Figures, policy: HaltPolicy) -> Halt | None:
    if f.p95_ns is not None and f.reports >= policy.reports and f.p95_ns > policy.sla_ns:
        allowed = f"at most {seconds(policy.sla_ns)} s is allowed"
        reason = f"p95 of {f.reports} confirmations is {seconds(f.p95_ns)} s, {allowed}"
        found = (HaltCause.LATENCY, f.first_ns, reason, f.p95_ns, policy.sla_ns)
    elif f.routed_p95_ns is not None and f.routed >= policy.reports and 0 < policy.routed_sla_ns < f.routed_p95_ns:
        allowed = f"at most {seconds(policy.routed_sla_ns)} s is allowed"
        reason = f"p95 from the routed order to its first confirmation is {seconds(f.routed_p95_ns)} s, {allowed}"
        found = (HaltCause.LATENCY, f.routed_first_ns, reason, f.routed_p95_ns, policy.routed_sla_ns)
    elif 0 < policy.in_a_row <= f.in_a_row:
        reason = f"{f.in_a_row} confirmations in a row took longer than {seconds(policy.sla_ns)} s"
        found = (HaltCause.IN_A_ROW, f.late_since_ns, reason, f.in_a_row, policy.in_a_row)
    elif f.quiet_ns is not None and 0 < policy.silence_ns < f.quiet_ns:
        reason = f"nothing heard for {seconds(f.quiet_ns)} s while orders are open"
        found = (HaltCause.SILENCE, f.now_ns - f.quiet_ns, reason, f.quiet_ns, policy.silence_ns)
    elif f.deaf_ns is not None and 0 < policy.deaf_ns < f.deaf_ns:
        reason = f"{_DEAF}, for {seconds(f.deaf_ns)} s while orders are open"
        found = (HaltCause.SILENCE, f.now_ns - f.deaf_ns, reason, f.deaf_ns, policy.deaf_ns)
    else:
        return None
    cause, since_ns, reason, figure, limit = found
    return Halt(venue, cause, f.now_ns, since_ns, AGENT, reason, figure, limit)


def clock_decision(
    venue: str, offset_ns: int | None, limit_ns: int, now_ns: int, *, is_off: bool
) -> ClockChange | None:
    """Decide whether to say that a venue's clock is off, or right again: within three quarters of the limit."""
    if offset_ns is None:
        return None
    if not is_off and abs(offset_ns) > limit_ns:
        return ClockChange(venue, True, now_ns, offset_ns, limit_ns)
    if is_off and abs(offset_ns) * 4 <= limit_ns * 3:
        return ClockChange(venue, False, now_ns, offset_ns, limit_ns)
    return None


class Watch:
    """What is measured of one venue. It has no clock: every time is handed in.

    ``since_ns`` is when this process began to listen, or kept up last: what happened before is caught up with, and
    how late that comes says nothing about the venue.
    """

    def __init__(self, policy: HaltPolicy, since_ns: int) -> None:
        self.policy = policy
        self.clock = ClockFilter()
        self._since_ns = since_ns
        self._window = Window(policy.window_ns, policy.sla_ns)
        self._routed = Window(policy.window_ns, policy.sla_ns)
        self._heard_ns = since_ns
        self._hearing = Hearing.OFF
        self._hearing_since_ns = self._listening_since_ns = since_ns
        self._up_since_ns = self._deaf_since_ns = since_ns
        self._heard_since_change = False
        self._calm_since_ns: int | None = None
        self._run = (0, 0)  # the longest run of late reports since the figures were last asked for, and since when

    def fall_behind(self, now_ns: int) -> None:
        """Note that we do not keep up, so that what trades now is received late by our own fault.

        What traded up to now is not measured; the windows keep what they have.
        """
        self._since_ns = max(self._since_ns, now_ns)

    def confirm(self, transact_ns: int, received_ns: int, routed_ns: int | None = None) -> None:
        """Take up a landed report: when it traded by the venue's clock, when it was ours.

        ``routed_ns`` is when its order was routed, where it is the first that is heard of it.
        """
        if transact_ns < self._since_ns:
            return
        delay = received_ns - transact_ns
        self.clock.add(received_ns, delay)
        latency = delay - self.clock.correction_ns(self.policy.skew_ns)
        self._window.add(received_ns, max(0, latency))
        if self._window.late_in_a_row > self._run[0]:
            self._run = self._window.late_in_a_row, self._window.late_since_ns
        if routed_ns is not None and routed_ns >= self._since_ns:
            self._routed.add(received_ns, received_ns - routed_ns)

    def hear(self, now_ns: int) -> None:
        """Note that a message came, whatever was in it."""
        self._heard_ns = now_ns
        self._heard_since_change = True

    def change(self, now_ns: int) -> None:
        """Begin anew when the venue is halted or resumed: what was before is answered."""
        self._window.clear()
        self._routed.clear()
        self._run = (0, 0)
        self._heard_ns = now_ns
        self._heard_since_change = False
        self._calm_since_ns = None

    @property
    def p95(self) -> int | None:
        """From the venue's transact time to received, ns; None without a report in the window."""
        return self._window.p95

    @property
    def routed_p95(self) -> int | None:
        """From the routed order to the first that was heard of it, ns; None without one in the window."""
        return self._routed.p95

    def figures(
        self, now_ns: int, standing: StandingHalt | None, hearing: Hearing, *, open_since_ns: int | None
    ) -> Figures:
        """Give what is known now. ``open_since_ns``: since when some order is open at the venue, None without.

        A run of late reports that has ended since the last time is in it: it halts however soon it was over.
        """
        self._window.expire(now_ns)
        self._routed.expire(now_ns)
        self._note(hearing, now_ns)
        quiet_ns = self._quiet(now_ns, open_since_ns)
        run, run_since_ns = max(self._run, (self._window.late_in_a_row, self._window.late_since_ns))
        self._run = (0, 0)
        return Figures(
            now_ns,
            len(self._window),
            self._window.p95,
            self._window.first_ns,
            run,
            run_since_ns,
            quiet_ns,
            self._calm(now_ns, standing, quiet_ns),
            len(self._routed),
            self._routed.p95,
            self._routed.first_ns,
            None if quiet_ns is None or hearing is not Hearing.DEAF else self._deaf(now_ns, quiet_ns),
        )

    def _note(self, hearing: Hearing, now_ns: int) -> None:
        if hearing is self._hearing:
            return
        if self._hearing is Hearing.OFF:
            self._listening_since_ns = self._up_since_ns = self._deaf_since_ns = now_ns
        elif self._hearing is Hearing.DEAF:
            self._up_since_ns = now_ns
        elif hearing is Hearing.DEAF and now_ns - self._up_since_ns >= min(_STEADY_NS, self.policy.deaf_ns):
            self._deaf_since_ns = now_ns
        self._hearing, self._hearing_since_ns = hearing, now_ns

    def _quiet(self, now_ns: int, open_since_ns: int | None) -> int | None:
        if self._hearing is Hearing.OFF or open_since_ns is None:
            return None
        # while we do not keep up we have not heard what was said
        return max(0, now_ns - max(self._heard_ns, self._listening_since_ns, self._since_ns, open_since_ns))

    def _deaf(self, now_ns: int, quiet_ns: int) -> int:
        return min(quiet_ns, now_ns - self._deaf_since_ns)

    def _calm(self, now_ns: int, standing: StandingHalt | None, quiet_ns: int | None) -> int | None:
        """How long it has been well: that begins with evidence, and goes on until there is some against it."""
        if standing is None or not self._is_well(now_ns, quiet_ns):
            self._calm_since_ns = None
            return None
        if self._calm_since_ns is None:
            if not self._is_proven(standing):
                return None
            self._calm_since_ns = now_ns
        return now_ns - self._calm_since_ns

    def _is_well(self, now_ns: int, quiet_ns: int | None) -> bool:
        p95, policy = self._window.p95, self.policy
        up_ns = now_ns - self._hearing_since_ns  # a venue that is back is given the time to say something
        is_silent = quiet_ns is not None and 0 < policy.silence_ns < min(quiet_ns, up_ns)
        routed = self._routed.p95 if policy.routed_sla_ns else None
        is_late = (p95 is not None and p95 > policy.calm_sla_ns) or (
            routed is not None and routed > policy.calm_routed_sla_ns
        )
        return self._hearing is Hearing.UP and not is_silent and not is_late

    def _is_proven(self, standing: StandingHalt) -> bool:
        if standing.cause is HaltCause.SILENCE:  # where no feed was up, one that is up again is the proof
            return self._heard_since_change or standing.reason.startswith(_DEAF)
        return len(self._window) >= self.policy.calm_reports


def seconds(nanos: int) -> str:
    """Write nanoseconds as seconds, exactly: ``1.5``, ``-0.25``, ``30``."""
    whole, fraction = divmod(abs(nanos), NANOS)
    digits = f"{whole}.{fraction:09d}".rstrip("0").rstrip(".")
    return f"-{digits}" if nanos < 0 else digits
