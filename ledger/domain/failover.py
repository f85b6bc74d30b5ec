"""Which of a venue's two feeds is counted on: a pure state machine over what is seen of both.

A switch costs nothing but work: identities make the overlap of two feeds harmless, and whichever is connected is
read. What is decided here is therefore when the second feed is needed, when the first one is to be believed again,
and what people and other agents are told. It has no clock: every time is handed in, in ns.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ledger.domain.halts import seconds
from ledger.domain.times import NANOS

LIVE, RECOVERING, CONNECTING, DOWN, OFF = "live", "recovering", "connecting", "down", "off"
_CONNECTED = frozenset({LIVE, RECOVERING})


class Cause(StrEnum):
    """Why a feed counts as out."""

    SILENCE = "silence"
    QUIET = "quiet"
    GAP = "gap"
    SNAPSHOTS = "snapshots"


class HealthKind(StrEnum):
    """What happened to a feed; the names are those of the audit events."""

    OUTAGE = "feed_outage"
    RECOVERED = "feed_recovered"
    SWITCHED = "feed_switched"
    RETURNED = "feed_returned"
    RENUMBERED = "feed_renumbered"
    SNAPSHOTS_OUT = "snapshot_feed_out"
    SNAPSHOTS_BACK = "snapshot_feed_back"


class FailoverPolicy(msgspec.Struct, frozen=True):
    """One venue's limits, ns. 0 turns ``quiet_ns`` and ``gap_ns`` off."""

    silence_ns: int = 10 * NANOS
    quiet_ns: int = 60 * NANOS
    gap_ns: int = 30 * NANOS
    healthy_ns: int = 30 * NANOS


class FeedSeen(msgspec.Struct, frozen=True):
    """One feed as it is now: its state and since when; when it last had a frame (None: its protocol does not say).

    ``reported_ns`` is when it last handed a report over (0: never), ``gap_ns`` since when numbers are missing.
    ``unanswered_ns`` is when the first of the orders was routed that are open and later than its last report.
    """

    feed: str
    state: str
    since_ns: int
    heard_ns: int | None = None
    reported_ns: int = 0
    gap_ns: int | None = None
    unanswered_ns: int | None = None


class Seen(msgspec.Struct, frozen=True):
    """A venue as it is at ``now_ns``. ``backup`` is None where there is none, ``off`` while nobody connects it."""

    now_ns: int
    primary: FeedSeen
    backup: FeedSeen | None = None


class Fault(msgspec.Struct, frozen=True):
    """Why a feed is out, since when, in words."""

    cause: Cause
    since_ns: int
    reason: str


class Health(msgspec.Struct, frozen=True, tag="health"):
    """What is to be told of a feed, as it is landed. ``other`` is the feed that is counted on from now on.

    ``since_ns`` is when it began: when a feed fell silent, or when it was well again.
    """

    kind: HealthKind
    venue: str
    feed: str
    at_ns: int
    since_ns: int
    reason: str
    cause: Cause | None = None
    other: str | None = None


def fault_of(seen: FeedSeen, now_ns: int, policy: FailoverPolicy) -> Fault | None:
    """Say what is wrong with a feed by itself, if anything: the gravest first."""
    if seen.state not in _CONNECTED:
        if now_ns - seen.since_ns < policy.silence_ns:
            return None
        return _fault(Cause.SILENCE, seen.since_ns, now_ns, "not connected")
    if seen.heard_ns is not None:
        heard_ns = max(seen.heard_ns, seen.since_ns)
        if now_ns - heard_ns >= policy.silence_ns:
            return _fault(Cause.SILENCE, heard_ns, now_ns, "no frame and no heartbeat")
    if policy.gap_ns and seen.gap_ns is not None and now_ns - seen.gap_ns >= policy.gap_ns:
        return _fault(Cause.GAP, seen.gap_ns, now_ns, "messages are missing and not sent again")
    return None


def _none_left(health: Health) -> Health:
    if health.kind is not HealthKind.OUTAGE:
        return health
    return msgspec.structs.replace(health, reason=f"{health.reason}; no feed of the venue is left")


def _fault(cause: Cause, since_ns: int, now_ns: int, what: str) -> Fault:
    return Fault(cause, since_ns, f"{what} for {seconds(now_ns - since_ns)} s")


class FeedPair:
    """What is known of a venue's feeds: which is counted on, which are out, since when they are well.

    ``step`` takes what is seen and gives what is decided; the state is then as decided.
    """

    def __init__(self, venue: str, policy: FailoverPolicy) -> None:
        self.venue = venue
        self.policy = policy
        self.on_backup = False
        self.switched_ns = 0
        self.outages: dict[str, Cause | None] = {}
        """The feeds that are out, as told."""
        self._well_since: dict[str, int] = {}
        self._found: dict[str, Fault | None] = {}
        self._quiet: dict[str, int] = {}
        self.forgiven_ns = 0
        """Orders routed up to then rest: no feed has anything to report of them."""

    def take_up(self, switched_ns: int | None, outages: dict[str, Cause | None]) -> None:
        """Begin where the ledger stands: on the backup since ``switched_ns``, or on the primary (None)."""
        self.on_backup, self.switched_ns = switched_ns is not None, switched_ns or 0
        self.outages = dict(outages)

    def lose(self, feed: str, since_ns: int, now_ns: int, reason: str) -> list[Health]:
        """Take note that messages of a feed do not come any more: it is out until it has been well for a while."""
        self._well_since.pop(feed, None)
        if feed in self.outages:
            return []
        self.outages[feed] = Cause.GAP
        return [Health(HealthKind.OUTAGE, self.venue, feed, now_ns, since_ns, reason, Cause.GAP)]

    @property
    def is_down(self) -> bool:
        """Whether no feed of the venue is well enough to be counted on."""
        return bool(self._found) and all(fault is not None for fault in self._found.values())

    def step(self, seen: Seen) -> list[Health]:
        """Decide what has happened: outages and their ends, a switch or the return."""
        told: list[Health] = []
        self._found = {}
        backup = seen.backup
        told += self._judge(seen.primary, backup, seen.now_ns)
        if backup is not None and backup.state != OFF:
            told += self._judge(backup, seen.primary, seen.now_ns)
            if self.is_down:
                told = [_none_left(health) for health in told]
        if backup is None:
            return told
        if backup.state == OFF and not self.on_backup and backup.feed in self.outages:
            del self.outages[backup.feed]  # it is not asked of it any more
            reason = "it is not counted on any more"
            told.append(Health(HealthKind.RECOVERED, self.venue, backup.feed, seen.now_ns, seen.now_ns, reason))
        if not self.on_backup:
            told += self._leave(seen, backup)
        else:
            told += self._come_back(seen)
        return told

    def _judge(self, feed: FeedSeen, other: FeedSeen | None, now_ns: int) -> list[Health]:
        fault = fault_of(feed, now_ns, self.policy) or self._quiet_fault(feed, other, now_ns)
        self._found[feed.feed] = fault
        if fault is not None:
            self._well_since.pop(feed.feed, None)
            if feed.feed in self.outages:
                return []
            self.outages[feed.feed] = fault.cause
            at = (now_ns, fault.since_ns)
            return [Health(HealthKind.OUTAGE, self.venue, feed.feed, *at, fault.reason, fault.cause)]
        if feed.state not in _CONNECTED:  # it is given time to connect, and is not well meanwhile
            self._well_since.pop(feed.feed, None)
            return []
        since_ns = self._well_since.setdefault(feed.feed, now_ns)
        if feed.feed not in self.outages or now_ns - since_ns < self.policy.healthy_ns:
            return []
        del self.outages[feed.feed]
        reason = f"well for {seconds(now_ns - since_ns)} s"
        return [Health(HealthKind.RECOVERED, self.venue, feed.feed, now_ns, since_ns, reason)]

    def _quiet_fault(self, feed: FeedSeen, other: FeedSeen | None, now_ns: int) -> Fault | None:
        """Say whether a connected feed keeps reports from us, which only the venue's other feed can show.

        While the other one is off it is a suspicion, and reason enough to look. It stays until the feed reports or
        connects anew: orders that the other feed ends do not clear it.
        """
        since_ns = self._quiet.get(feed.feed)
        if since_ns is None:
            routed_ns = feed.unanswered_ns
            if other is None or not self.policy.quiet_ns or routed_ns is None or feed.state not in _CONNECTED:
                return None
            since_ns = max(routed_ns, feed.since_ns, self.forgiven_ns)
            is_alone = other.state != OFF and other.reported_ns <= routed_ns
            if is_alone or now_ns - since_ns < self.policy.quiet_ns:
                return None
            self._quiet[feed.feed] = since_ns
        elif feed.reported_ns > since_ns or feed.since_ns > since_ns:
            del self._quiet[feed.feed]
            return None
        elif self._rests(since_ns, other, now_ns):
            del self._quiet[feed.feed]
            self.forgiven_ns = now_ns
            return None
        return _fault(Cause.QUIET, since_ns, now_ns, "orders were routed and it reports nothing")

    def _rests(self, since_ns: int, other: FeedSeen | None, now_ns: int) -> bool:
        """Whether the other feed, well for a while, has nothing to report either."""
        well_since = None if other is None else self._well_since.get(other.feed)
        if other is None or well_since is None or other.reported_ns > since_ns:
            return False
        return now_ns - max(well_since, since_ns) >= self.policy.healthy_ns

    def _leave(self, seen: Seen, backup: FeedSeen) -> list[Health]:
        """Switch when the primary is out, unless the backup is known to be out as well."""
        fault = self._found.get(seen.primary.feed)
        if fault is None or self._found.get(backup.feed) is not None:
            return []
        self.on_backup, self.switched_ns = True, seen.now_ns
        at = (seen.now_ns, fault.since_ns)
        told = Health(
            HealthKind.SWITCHED, self.venue, seen.primary.feed, *at, fault.reason, fault.cause, backup.feed
        )
        return [told]

    def _come_back(self, seen: Seen) -> list[Health]:
        """Return when the primary has been well for a while."""
        feed = seen.primary.feed
        since_ns = self._well_since.get(feed)
        if since_ns is None or seen.now_ns - max(since_ns, self.switched_ns) < self.policy.healthy_ns:
            return []
        self.on_backup = False
        reason = f"well for {seconds(seen.now_ns - since_ns)} s"
        return [Health(HealthKind.RETURNED, self.venue, feed, seen.now_ns, since_ns, reason, None, feed)]
