"""The outages and switches of feeds that stand, and what is told of a feed changes about them.

A restarted process may tell again what it told before it was killed: whether it is new is decided here, by what
the ledger holds, so each is one row and one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.events import control_event
from ledger.domain.failover import Cause, Health, HealthKind
from ledger.domain.halts import seconds
from ledger.domain.identity import identify
from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from ledger.domain.records import AuditEvent

Detail = dict[str, str | None]

_BEGINS = frozenset({HealthKind.OUTAGE, HealthKind.SNAPSHOTS_OUT})
_REMEDIES = {
    Cause.SILENCE: "look at the network and the venue's status page; it is connected again by itself",
    Cause.QUIET: "ask the venue whether it still reports to this session; reconnect it",
    Cause.GAP: "ask the venue to send the missing messages again, or look the fills up there",
    Cause.SNAPSHOTS: "look at the MarketDataAgent and the broker; slippages are best_effort meanwhile",
}
_REMEDY_SWITCHED = "nothing is lost: the backup is read, what was missed is recovered; mend the primary"
_REMEDY_RENUMBERED = "the venue's list is asked for what came last under the old numbers; without one, look there"
_NO_REMEDY = "nothing to do"


class StandingOutage(msgspec.Struct, frozen=True):
    """A feed that is out: an open row of ``feed_outages``."""

    outage_id: str
    venue: str
    feed: str
    cause: Cause
    began_ns: int


class StandingSwitch(msgspec.Struct, frozen=True):
    """A venue whose backup is counted on: an open row of ``feed_switches``."""

    switch_id: str
    venue: str
    from_feed: str
    to_feed: str
    switched_ns: int
    reason: str


class Stretch(msgspec.Struct, frozen=True):
    """A time in which a venue's feeds may have missed something: its list is to be asked.

    ``feed`` is the one that was counted on, and may have missed all since its last report; None where both had
    their say.
    """

    venue: str
    since_ns: int
    until_ns: int
    why: str
    feed: str | None = None


class NewOutage(msgspec.Struct, frozen=True):
    """A row of ``feed_outages`` that begins."""

    outage_id: str
    venue: str
    feed: str
    cause: Cause
    reason: str
    began_ns: int
    told_ns: int


class EndedOutage(msgspec.Struct, frozen=True):
    """A row of ``feed_outages`` that ends."""

    outage_id: str
    ended_ns: int


class NewSwitch(msgspec.Struct, frozen=True):
    """A row of ``feed_switches`` that begins."""

    switch_id: str
    venue: str
    from_feed: str
    to_feed: str
    cause: Cause
    reason: str
    switched_ns: int


class EndedSwitch(msgspec.Struct, frozen=True):
    """A row of ``feed_switches`` that ends: the venue's primary is counted on again."""

    switch_id: str
    returned_ns: int
    return_reason: str


class HealthRows(msgspec.Struct):
    """What a batch changes about the health of feeds."""

    outages: list[NewOutage] = msgspec.field(default_factory=list)
    outages_ended: list[EndedOutage] = msgspec.field(default_factory=list)
    switches: list[NewSwitch] = msgspec.field(default_factory=list)
    switches_ended: list[EndedSwitch] = msgspec.field(default_factory=list)


class VenueHealth:
    """The outages that stand by (venue, feed), and the switches by venue."""

    def __init__(self) -> None:
        self.outages: dict[tuple[str, str], StandingOutage] = {}
        self.switches: dict[str, StandingSwitch] = {}

    def copy(self) -> VenueHealth:
        """Give a copy to decide on."""
        made = VenueHealth()
        made.outages, made.switches = dict(self.outages), dict(self.switches)
        return made

    def apply(self, rows: HealthRows) -> None:
        """Make landed rows the state; doing it again changes nothing."""
        over = {row.outage_id for row in rows.outages_ended}
        for outage in rows.outages:
            if outage.outage_id not in over:  # numbers that start over leave what stands of the feed as it is
                self.outages[outage.venue, outage.feed] = _standing_outage(outage)
        for switch in rows.switches:
            self.switches[switch.venue] = _standing_switch(switch)
        self.outages = {key: found for key, found in self.outages.items() if found.outage_id not in over}
        back = {row.switch_id for row in rows.switches_ended}
        self.switches = {key: found for key, found in self.switches.items() if found.switch_id not in back}

    def take(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        """Decide what is new in what is told: rows and the event; nothing where it is known."""
        if health.kind in _BEGINS:
            self._begin(health, rows, events)
        elif health.kind is HealthKind.SWITCHED:
            self._switch(health, rows, events)
        elif health.kind is HealthKind.RETURNED:
            self._return(health, rows, events)
        elif health.kind is HealthKind.RENUMBERED:
            self._renumber(health, rows, events)
        else:
            self._end(health, rows, events)

    def _begin(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        key = health.venue, health.feed
        if key in self.outages or health.cause is None:
            return
        outage_id = identify(health.kind, *key, str(health.at_ns))
        row = NewOutage(outage_id, *key, health.cause, health.reason, health.since_ns, health.at_ns)
        rows.outages.append(row)
        self.outages[key] = _standing_outage(row)
        events.append(_event(health, outage_id, outage_id, _REMEDIES[health.cause]))

    def _renumber(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        """Write down what is to be asked of the venue's list: a moment, whatever stands of the feed."""
        if health.cause is None:
            return
        row_id = identify(health.kind, health.venue, health.feed, str(health.at_ns))
        times = (health.since_ns, health.at_ns)
        rows.outages.append(NewOutage(row_id, health.venue, health.feed, health.cause, health.reason, *times))
        rows.outages_ended.append(EndedOutage(row_id, health.since_ns))
        events.append(_event(health, row_id, row_id, _REMEDY_RENUMBERED))

    def _end(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        standing = self.outages.pop((health.venue, health.feed), None)
        if standing is None:
            return
        ended_ns = max(standing.began_ns, health.since_ns)
        rows.outages_ended.append(EndedOutage(standing.outage_id, ended_ns))
        event_id = identify(health.kind, standing.outage_id)
        lasted: Detail = {
            "outage_seconds": seconds(ended_ns - standing.began_ns),
            "cause": standing.cause.value,
        }
        events.append(_event(health, event_id, standing.outage_id, _NO_REMEDY, lasted))

    def _switch(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        if health.venue in self.switches or health.cause is None or health.other is None:
            return
        switch_id = identify(health.kind, health.venue, str(health.at_ns))
        said = (health.cause, health.reason, health.at_ns)
        row = NewSwitch(switch_id, health.venue, health.feed, health.other, *said)
        rows.switches.append(row)
        self.switches[health.venue] = _standing_switch(row)
        events.append(_event(health, switch_id, switch_id, _REMEDY_SWITCHED))

    def _return(self, health: Health, rows: HealthRows, events: list[AuditEvent]) -> None:
        standing = self.switches.pop(health.venue, None)
        if standing is None:
            return
        rows.switches_ended.append(EndedSwitch(standing.switch_id, health.at_ns, health.reason))
        event_id = identify(health.kind, standing.switch_id)
        before: Detail = {
            "from_feed": standing.to_feed,
            "switched_at": format_utc(standing.switched_ns),
        }
        events.append(_event(health, event_id, standing.switch_id, _NO_REMEDY, before))


def _standing_outage(row: NewOutage) -> StandingOutage:
    return StandingOutage(row.outage_id, row.venue, row.feed, row.cause, row.began_ns)


def _standing_switch(row: NewSwitch) -> StandingSwitch:
    return StandingSwitch(row.switch_id, row.venue, row.from_feed, row.to_feed, row.switched_ns, row.reason)


def _event(
    health: Health, event_id: str, subject: str, remedy: str, more: dict[str, str | None] | None = None
) -> AuditEvent:
    detail: Detail = {
        "venue": health.venue,
        "feed": health.feed,
        "active_feed": health.other,
        "cause": None if health.cause is None else health.cause.value,
        "reason": health.reason,
        "since": format_utc(health.since_ns),
        "told_at": format_utc(health.at_ns),
        "remedy": remedy,
    }
    return control_event(health.kind.value, event_id, health.venue, subject, detail | (more or {}))
