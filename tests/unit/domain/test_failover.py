"""When a feed is out, when its venue goes to the backup and when it comes back: a table, and all histories."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.failover import (
    CONNECTING,
    DOWN,
    LIVE,
    OFF,
    RECOVERING,
    Cause,
    FailoverPolicy,
    FeedPair,
    FeedSeen,
    Health,
    HealthKind,
    Seen,
    fault_of,
)

S = 1_000_000_000
POLICY = FailoverPolicy(silence_ns=10 * S, quiet_ns=60 * S, gap_ns=30 * S, healthy_ns=30 * S)
A, B = "ALPHA.fix", "ALPHA.backup.ws"


def feed(state: str = LIVE, since: int = 0, name: str = A, **more: Any) -> FeedSeen:
    return FeedSeen(name, state, since * S, **more)


@pytest.mark.parametrize(
    ("seen", "now", "cause", "since"),
    [
        (feed(LIVE), 1000, None, 0),
        (feed(RECOVERING), 1000, None, 0),
        (feed(DOWN, 100), 109, None, 0),
        (feed(DOWN, 100), 110, Cause.SILENCE, 100),
        (feed(CONNECTING, 100), 110, Cause.SILENCE, 100),
        (feed(LIVE, 0, heard_ns=100 * S), 109, None, 0),
        (feed(LIVE, 0, heard_ns=100 * S), 110, Cause.SILENCE, 100),
        (feed(LIVE, 105, heard_ns=100 * S), 110, None, 0),  # heard on the connection before this one
        (feed(RECOVERING, 0, gap_ns=100 * S), 129, None, 0),
        (feed(RECOVERING, 0, gap_ns=100 * S), 130, Cause.GAP, 100),
        (feed(LIVE, 0, heard_ns=100 * S, gap_ns=80 * S), 115, Cause.SILENCE, 100),  # the gravest first
    ],
)
def test_what_is_wrong_with_a_feed_by_itself(seen: FeedSeen, now: int, cause: Cause | None, since: int) -> None:
    found = fault_of(seen, now * S, POLICY)
    assert (found and found.cause, found and found.since_ns) == (cause, since * S if cause else None)


def test_a_gap_is_not_looked_at_where_that_is_off() -> None:
    off = msgspec.structs.replace(POLICY, gap_ns=0)
    assert fault_of(feed(RECOVERING, 0, gap_ns=0), 10_000 * S, off) is None


class World:
    """A venue's two feeds, moved second by second."""

    def __init__(self, *, backup: bool = True, hot: bool = False, **policy: int) -> None:
        self.pair = FeedPair("ALPHA", msgspec.structs.replace(POLICY, **policy))
        self.now = 1000
        self.has_backup, self.hot = backup, hot
        self.a = feed(LIVE, self.now)
        self.b = feed(LIVE if hot else OFF, self.now, B)
        self.told: list[Health] = []

    def go(self, seconds: int, **primary: Any) -> list[str]:
        """Let time pass; give what was told, as ``kind feed``."""
        self.a = msgspec.structs.replace(self.a, **primary)
        found: list[Health] = []
        for _ in range(seconds):
            self.now += 1
            if self.pair.on_backup and self.b.state == OFF:
                self.b = feed(LIVE, self.now, B, reported_ns=self.b.reported_ns)
            elif not self.pair.on_backup and not self.hot:
                self.b = feed(OFF, self.now, B, reported_ns=self.b.reported_ns)
            found += self.pair.step(Seen(self.now * S, self.a, self.b if self.has_backup else None))
        self.told += found
        return [f"{health.kind.value} {health.feed}" for health in found]

    def cut(self, seconds: int) -> list[str]:
        return self.go(seconds, state=DOWN, since_ns=self.now * S)

    def mend(self, seconds: int) -> list[str]:
        return self.go(seconds, state=LIVE, since_ns=self.now * S)


def test_the_backup_takes_over_and_gives_back() -> None:
    world = World()
    assert world.cut(9) == []
    assert world.go(2) == [f"feed_outage {A}", f"feed_switched {A}"]
    assert world.go(100) == []
    assert world.mend(30) == []
    assert world.go(2) == [f"feed_recovered {A}", f"feed_returned {A}"]
    outage, switched, recovered, returned = world.told
    assert (outage.cause, outage.reason) == (Cause.SILENCE, "not connected for 10 s")
    assert (switched.other, returned.other) == (B, A)
    assert recovered.since_ns == (1000 + 9 + 2 + 100 + 1) * S, (
        "well since it was seen so, not since it is believed"
    )


def test_without_a_backup_the_outage_is_told() -> None:
    world = World(backup=False)
    assert world.cut(20) == [f"feed_outage {A}"]
    assert world.mend(40) == [f"feed_recovered {A}"]


def test_messages_that_are_lost_are_an_outage_until_the_feed_has_been_well_for_a_while() -> None:
    pair = FeedPair("ALPHA", POLICY)
    told = pair.lose(A, 5 * S, 10 * S, "numbers start over")
    assert pair.lose(A, 6 * S, 10 * S, "numbers start over") == [], "it is out already"
    for second in range(10, 100):
        told += pair.step(Seen(second * S, feed(LIVE)))
    assert [(health.kind, health.cause, health.at_ns, health.since_ns) for health in told] == [
        (HealthKind.OUTAGE, Cause.GAP, 10 * S, 5 * S),
        (HealthKind.RECOVERED, None, 40 * S, 10 * S),
    ]


def test_a_primary_that_comes_and_goes_is_left_alone() -> None:
    world = World()
    world.cut(11)
    for _ in range(20):
        assert world.mend(25) == []
        assert world.cut(5) == []
    assert world.pair.on_backup


def test_both_out_is_said_of_both_and_whichever_is_well_first_is_counted_on() -> None:
    world = World(hot=True)
    world.b = feed(DOWN, world.now, B)
    assert world.cut(11) == [f"feed_outage {A}", f"feed_outage {B}"]
    assert world.pair.is_down
    assert "no feed of the venue is left" in world.told[-1].reason
    world.b = feed(LIVE, world.now, B)
    assert world.go(1) == [f"feed_switched {A}"]
    assert not world.pair.is_down


def test_a_backup_that_fails_while_it_is_counted_on_is_told_and_forgotten_with_the_return() -> None:
    world = World()
    world.cut(11)
    world.go(1)
    world.b = feed(DOWN, world.now, B)
    assert world.go(11) == [f"feed_outage {B}"]
    assert world.mend(32) == [f"feed_recovered {A}", f"feed_returned {A}", f"feed_recovered {B}"]
    assert world.pair.outages == {}


def test_both_live_and_one_is_out_nothing_is_started_but_it_is_told() -> None:
    world = World(hot=True)
    assert world.cut(11) == [f"feed_outage {A}", f"feed_switched {A}"]


# --- a live heartbeat and no reports -----------------------------------------------------------------------


def test_a_primary_with_nothing_to_say_of_a_routed_order_is_suspected_and_the_backup_is_asked() -> None:
    world = World()
    assert world.go(59, unanswered_ns=1000 * S) == []
    assert world.go(2) == [f"feed_outage {A}", f"feed_switched {A}"]
    world.b = msgspec.structs.replace(world.b, reported_ns=world.now * S)  # there was something to report
    world.go(1, unanswered_ns=None)  # and the order is done by that
    assert world.go(500) == [], "what the other feed ended does not make this one well"
    assert world.pair.on_backup
    assert world.go(31, reported_ns=world.now * S) == [f"feed_recovered {A}", f"feed_returned {A}"]


def test_an_order_that_rests_is_no_outage_for_long() -> None:
    world = World()
    assert world.go(61, unanswered_ns=1000 * S) == [f"feed_outage {A}", f"feed_switched {A}"]
    world.go(29)
    assert world.pair.on_backup
    assert world.go(33) == [f"feed_recovered {A}", f"feed_returned {A}"], "the backup has nothing to report either"
    assert world.pair.forgiven_ns > 1000 * S
    assert world.go(500, unanswered_ns=None) == []


def test_a_new_session_is_believed() -> None:
    world = World()
    world.go(61, unanswered_ns=1000 * S)
    world.b = msgspec.structs.replace(world.b, reported_ns=world.now * S)
    assert world.mend(31) == [f"feed_recovered {A}", f"feed_returned {A}"]


def test_with_both_live_only_the_other_one_shows_that_a_feed_is_quiet() -> None:
    world = World(hot=True)
    assert world.go(200, unanswered_ns=1000 * S) == []
    world.b = msgspec.structs.replace(world.b, reported_ns=world.now * S)
    assert world.go(1) == [f"feed_outage {A}", f"feed_switched {A}"]


@pytest.mark.parametrize("world", [World(backup=False), World(quiet_ns=0)])
def test_quiet_is_not_judged_without_a_backup_or_where_it_is_off(world: World) -> None:
    assert world.go(500, unanswered_ns=1000 * S) == []


# --- for all histories -------------------------------------------------------------------------------------

STATES = st.sampled_from([LIVE, RECOVERING, CONNECTING, DOWN])
MOVES = st.lists(st.tuples(st.integers(1, 40), STATES, STATES, st.booleans()), min_size=1, max_size=40)


@given(MOVES, st.booleans())
def test_it_never_flaps_and_never_leaves_a_healthy_primary(
    moves: list[tuple[int, str, str, bool]], hot: bool
) -> None:
    world = World(hot=hot)
    well = 0
    for seconds, state, other, is_quiet in moves:
        if (state in (LIVE, RECOVERING)) != (world.a.state in (LIVE, RECOVERING)):
            world.a = msgspec.structs.replace(world.a, since_ns=world.now * S)
        if world.b.state != OFF:
            world.b = feed(other, world.now, B, reported_ns=world.b.reported_ns)
        unanswered = world.now * S if is_quiet else None
        for _ in range(seconds):
            world.go(1, state=state, unanswered_ns=unanswered)
            well = well + 1 if A not in world.pair.outages and state in (LIVE, RECOVERING) else 0
            assert not world.pair.on_backup or well <= 31
    switches = [h for h in world.told if h.kind in (HealthKind.SWITCHED, HealthKind.RETURNED)]
    kinds = [h.kind for h in switches]
    assert kinds == [HealthKind.SWITCHED, HealthKind.RETURNED] * (len(kinds) // 2) + kinds[:1] * (len(kinds) % 2)
    for one, other_one in zip(switches[::2], switches[1::2], strict=False):
        assert other_one.at_ns - one.at_ns >= POLICY.healthy_ns
    for name in (A, B):
        told = [
            h.kind for h in world.told if h.feed == name and h.kind in (HealthKind.OUTAGE, HealthKind.RECOVERED)
        ]
        assert told == [HealthKind.OUTAGE, HealthKind.RECOVERED] * (len(told) // 2) + told[:1] * (len(told) % 2)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 100)), max_size=30))
def test_short_cuts_switch_nothing(cuts: list[tuple[int, int]]) -> None:
    world = World()
    for out, well in cuts:
        world.cut(out)
        world.mend(well)
    assert world.told == []
