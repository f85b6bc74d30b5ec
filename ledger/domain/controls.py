"""The halts that stand, and what a new decision changes about them: the rules of landing one.

Two decisions can cross on their way (a person halts while we resume): which of them holds is decided here, in the
order in which they land, by what the ledger holds then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.events import control_event
from ledger.domain.halts import ClockChange, Halt, HaltCause, Resume, seconds
from ledger.domain.identity import identify
from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from ledger.domain.records import AuditEvent

HALTED, RESUMED = "venue_halted", "venue_resumed"
CLOCK_OFF, CLOCK_RIGHT = "clock_skew_began", "clock_skew_ended"

Control = Halt | Resume | ClockChange


class StandingHalt(msgspec.Struct, frozen=True):
    """A venue that is halted: an open row of ``halts``."""

    halt_id: str
    venue: str
    cause: HaltCause
    halted_ns: int
    by: str
    reason: str


class NewHalt(msgspec.Struct, frozen=True):
    """A row of ``halts`` that begins."""

    halt_id: str
    venue: str
    cause: HaltCause
    reason: str
    figure: int | None
    limit_value: int | None
    since_ns: int
    halted_ns: int
    halted_by: str


class EndedHalt(msgspec.Struct, frozen=True):
    """A row of ``halts`` that ends."""

    halt_id: str
    venue: str
    resumed_ns: int
    resumed_by: str
    resume_reason: str


class NewAlert(msgspec.Struct, frozen=True):
    """A row of ``clock_alerts`` that begins."""

    alert_id: str
    venue: str
    offset_ns: int
    limit_ns: int
    began_ns: int


class EndedAlert(msgspec.Struct, frozen=True):
    """A row of ``clock_alerts`` that ends, with the offset as it is then."""

    alert_id: str
    venue: str
    ended_offset_ns: int
    ended_ns: int


class Answered(msgspec.Struct, frozen=True):
    """What a person's request came to."""

    request_id: int
    outcome: str


class ControlRows(msgspec.Struct):
    """What a batch changes about halts and clock alerts."""

    halts: list[NewHalt] = msgspec.field(default_factory=list)
    halts_ended: list[EndedHalt] = msgspec.field(default_factory=list)
    alerts: list[NewAlert] = msgspec.field(default_factory=list)
    alerts_ended: list[EndedAlert] = msgspec.field(default_factory=list)
    answered: list[Answered] = msgspec.field(default_factory=list)


class Controls:
    """The halts and clock alerts that stand, by venue."""

    def __init__(self) -> None:
        self.halts: dict[str, StandingHalt] = {}
        self.alerts: dict[str, str] = {}

    def copy(self) -> Controls:
        """Give a copy to decide on."""
        made = Controls()
        made.halts, made.alerts = dict(self.halts), dict(self.alerts)
        return made

    def apply(self, rows: ControlRows) -> None:
        """Make landed rows the state; doing it again changes nothing."""
        ended = {row.halt_id for row in rows.halts_ended}
        for halt in rows.halts:
            self.halts[halt.venue] = standing_of(halt)
        for venue in [v for v, standing in self.halts.items() if standing.halt_id in ended]:
            del self.halts[venue]
        for alert in rows.alerts:
            self.alerts[alert.venue] = alert.alert_id
        over = {row.alert_id for row in rows.alerts_ended}
        for venue in [v for v, alert_id in self.alerts.items() if alert_id in over]:
            del self.alerts[venue]

    def take(self, control: Control, rows: ControlRows, events: list[AuditEvent]) -> None:
        """Decide what a control comes to: rows, events, and the answer to the person who asked."""
        if isinstance(control, Halt):
            outcome = self._halt(control, rows, events)
        elif isinstance(control, Resume):
            outcome = self._resume(control, rows, events)
        else:
            self._clock(control, rows, events)
            return
        if control.request_id is not None:
            rows.answered.append(Answered(control.request_id, outcome))

    def _halt(self, halt: Halt, rows: ControlRows, events: list[AuditEvent]) -> str:
        standing = self.halts.get(halt.venue)
        outcome = "halted"
        if standing is not None:
            if halt.cause is not HaltCause.PERSON or standing.cause is HaltCause.PERSON:
                return f"unchanged: halted by {standing.by} since {format_utc(standing.halted_ns)}"
            outcome = f"halted: it was halted by {standing.by} and would have resumed by itself"
            taken = EndedHalt(standing.halt_id, halt.venue, halt.at_ns, halt.by, "halted by hand from here on")
            rows.halts_ended.append(taken)
        row = NewHalt(
            identify("halt", halt.venue, halt.cause, str(halt.at_ns), str(halt.request_id)),
            halt.venue,
            halt.cause,
            halt.reason,
            halt.figure,
            halt.limit,
            halt.since_ns,
            halt.at_ns,
            halt.by,
        )
        rows.halts.append(row)
        self.halts[halt.venue] = standing_of(row)
        events.append(_halted_event(row))
        return outcome

    def _resume(self, resume: Resume, rows: ControlRows, events: list[AuditEvent]) -> str:
        standing = self.halts.get(resume.venue)
        if standing is None:
            return "unchanged: it is not halted"
        if resume.halt_id is not None and resume.halt_id != standing.halt_id:
            return "unchanged: another halt stands"
        row = EndedHalt(standing.halt_id, resume.venue, resume.at_ns, resume.by, resume.reason)
        rows.halts_ended.append(row)
        del self.halts[resume.venue]
        events.append(_resumed_event(row, standing))
        return "resumed"

    def _clock(self, change: ClockChange, rows: ControlRows, events: list[AuditEvent]) -> None:
        standing = self.alerts.get(change.venue)
        if change.is_off == (standing is not None):
            return
        detail: dict[str, str | None] = {
            "venue": change.venue,
            "offset_seconds": seconds(change.offset_ns),
            "limit_seconds": seconds(change.limit_ns),
        }
        if standing is None:
            alert_id = identify("clock", change.venue, str(change.at_ns))
            rows.alerts.append(NewAlert(alert_id, change.venue, change.offset_ns, change.limit_ns, change.at_ns))
            self.alerts[change.venue] = alert_id
            events.append(control_event(CLOCK_OFF, alert_id, change.venue, alert_id, detail))
            return
        rows.alerts_ended.append(EndedAlert(standing, change.venue, change.offset_ns, change.at_ns))
        del self.alerts[change.venue]
        events.append(
            control_event(CLOCK_RIGHT, identify("clock_ended", standing), change.venue, standing, detail)
        )


def standing_of(row: NewHalt) -> StandingHalt:
    """Give the halt that a row stands for while it is open."""
    return StandingHalt(row.halt_id, row.venue, row.cause, row.halted_ns, row.halted_by, row.reason)


def _halted_event(row: NewHalt) -> AuditEvent:
    in_reports = row.cause is HaltCause.IN_A_ROW
    figure, limit = (
        None if value is None else str(value) if in_reports else seconds(value)
        for value in (row.figure, row.limit_value)
    )
    detail = {
        "venue": row.venue,
        "cause": row.cause.value,
        "by": row.halted_by,
        "reason": row.reason,
        "figure": figure,
        "limit": limit,
        "since": format_utc(row.since_ns),
        "halted_at": format_utc(row.halted_ns),
    }
    return control_event(HALTED, row.halt_id, row.venue, row.halt_id, detail)


def _resumed_event(row: EndedHalt, standing: StandingHalt) -> AuditEvent:
    detail: dict[str, str | None] = {
        "venue": row.venue,
        "cause": standing.cause.value,
        "by": row.resumed_by,
        "reason": row.resume_reason,
        "halted_by": standing.by,
        "halted_at": format_utc(standing.halted_ns),
        "resumed_at": format_utc(row.resumed_ns),
    }
    return control_event(RESUMED, identify("resumed", row.halt_id), row.venue, row.halt_id, detail)
