"""Halts decided: the table of cases, what holds for every sequence of reports, and clocks that are off."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.book import Book
from ledger.domain.controls import Control, ControlRows, Controls, StandingHalt
from ledger.domain.decide import Policy, decide
from ledger.domain.halts import (
    AGENT,
    ClockChange,
    Figures,
    Halt,
    HaltCause,
    HaltPolicy,
    Hearing,
    Resume,
    Watch,
    clock_decision,
    halt_decision,
    seconds,
)
from ledger.domain.latency import LIMIT, ClockFilter, Window, nearest_rank
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from ledger.domain.decision import Decision

MS = 1_000_000
POLICY = HaltPolicy(
    sla_ns=150 * MS,
    window_ns=10 * SECOND,
    reports=20,
    in_a_row=5,
    silence_ns=3 * SECOND,
    routed_sla_ns=SECOND,
    calm_sla_ns=100 * MS,
    calm_routed_sla_ns=900 * MS,
    calm_ns=2 * SECOND,
    calm_reports=4,
    skew_ns=50 * MS,
)
OURS = StandingHalt("h1", "ALPHA", HaltCause.LATENCY, T0, AGENT, "late")
QUIET = msgspec.structs.replace(OURS, cause=HaltCause.SILENCE)
THEIRS = msgspec.structs.replace(OURS, cause=HaltCause.PERSON, by="alice")


# --- the decision, case by case ----------------------------------------------------------------------------

CASES: list[tuple[str, StandingHalt | None, dict[str, Any], str | None]] = [
    ("nothing is known", None, {}, None),
    ("p95 at the limit", None, {"reports": 20, "p95_ns": 150 * MS}, None),
    ("p95 a nanosecond beyond", None, {"reports": 20, "p95_ns": 150 * MS + 1}, "latency_p95"),
    ("p95 beyond, one report too few", None, {"reports": 19, "p95_ns": 9 * SECOND}, None),
    ("p95 beyond, many reports", None, {"reports": 4_000, "p95_ns": SECOND}, "latency_p95"),
    ("from the route beyond", None, {"routed": 20, "routed_p95_ns": SECOND + 1}, "latency_p95"),
    ("from the route at the limit", None, {"routed": 20, "routed_p95_ns": SECOND}, None),
    ("from the route beyond, one order too few", None, {"routed": 19, "routed_p95_ns": 9 * SECOND}, None),
    ("from the route beyond, halted by hand", THEIRS, {"routed": 20, "routed_p95_ns": 9 * SECOND}, None),
    ("four late in a row", None, {"reports": 4, "p95_ns": SECOND, "in_a_row": 4}, None),
    ("five late in a row", None, {"reports": 5, "p95_ns": SECOND, "in_a_row": 5}, "late_in_a_row"),
    ("many late in a row", None, {"reports": 9, "p95_ns": SECOND, "in_a_row": 9}, "late_in_a_row"),
    ("both: the p95 is named", None, {"reports": 20, "p95_ns": SECOND, "in_a_row": 20}, "latency_p95"),
    ("quiet at the limit", None, {"quiet_ns": 3 * SECOND}, None),
    ("quiet beyond", None, {"quiet_ns": 3 * SECOND + 1}, "silence"),
    ("no feed at the limit", None, {"deaf_ns": 30 * SECOND}, None),
    ("no feed beyond", None, {"deaf_ns": 30 * SECOND + 1}, "silence"),
    ("no feed, quiet beyond", None, {"deaf_ns": SECOND, "quiet_ns": 3 * SECOND + 1}, "silence"),
    ("quiet, and no order open or the feed down", None, {"quiet_ns": None}, None),
    ("late and quiet: the lateness is named", None, {"in_a_row": 5, "quiet_ns": 9 * SECOND}, "late_in_a_row"),
    ("halted, and still late", OURS, {"reports": 20, "p95_ns": SECOND}, None),
    ("halted, and quiet as well", OURS, {"quiet_ns": 9 * SECOND}, None),
    ("halted, not calm", OURS, {"calm_ns": None}, None),
    ("halted, calm too short", OURS, {"calm_ns": 2 * SECOND - 1}, None),
    ("halted, calm long enough", OURS, {"calm_ns": 2 * SECOND}, "resume"),
    ("silent before, calm long enough", QUIET, {"calm_ns": 2 * SECOND}, "resume"),
    ("silent before, calm too short", QUIET, {"calm_ns": 0}, None),
    ("halted by hand, calm for a day", THEIRS, {"calm_ns": 86_400 * SECOND}, None),
    ("halted by hand, and late", THEIRS, {"reports": 20, "p95_ns": SECOND, "in_a_row": 9}, None),
    ("halted by hand, and quiet", THEIRS, {"quiet_ns": 9 * SECOND}, None),
    ("calm without a halt", None, {"calm_ns": 9 * SECOND}, None),
]


@pytest.mark.parametrize(("standing", "figures", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_table_of_cases(standing: StandingHalt | None, figures: dict[str, Any], wanted: str | None) -> None:
    decided = halt_decision("ALPHA", standing, Figures(T0, **figures), POLICY)
    said = decided.cause.value if isinstance(decided, Halt) else "resume" if decided is not None else None
    assert said == wanted


@pytest.mark.parametrize(
    ("figures", "figure", "limit"),
    [
        ({"reports": 20, "p95_ns": SECOND}, SECOND, 150 * MS),
        ({"routed": 20, "routed_p95_ns": 2 * SECOND}, 2 * SECOND, SECOND),
        ({"in_a_row": 7}, 7, 5),
        ({"quiet_ns": 4 * SECOND}, 4 * SECOND, 3 * SECOND),
    ],
)
def test_a_halt_says_figure_and_limit(figures: dict[str, Any], figure: int, limit: int) -> None:
    decided = halt_decision("ALPHA", None, Figures(T0, **figures), POLICY)
    assert isinstance(decided, Halt)
    assert (decided.figure, decided.limit, decided.by, decided.at_ns) == (figure, limit, AGENT, T0)


@pytest.mark.parametrize("off", ["in_a_row", "silence_ns", "deaf_ns", "routed_sla_ns"])
def test_zero_turns_a_rule_off(off: str) -> None:
    policy = msgspec.structs.replace(POLICY, **{off: 0})
    breach: dict[str, Any] = {
        "in_a_row": {"in_a_row": 99},
        "silence_ns": {"quiet_ns": 99 * SECOND},
        "deaf_ns": {"deaf_ns": 99 * SECOND},
        "routed_sla_ns": {"routed": 99, "routed_p95_ns": 99 * SECOND},
    }
    figures = Figures(T0, **breach[off])
    assert halt_decision("ALPHA", None, figures, policy) is None


# --- the windows -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    found = nearest_rank(sorted(values), percent)
    fitting = [v for v in values if sum(w <= v for w in values) * 100 >= percent * len(values)]
    assert found == min(fitting)


def test_a_window_lets_go_of_what_is_old_and_of_what_is_too_much() -> None:
    window = Window(10, 5)
    for at in (1, 2, 3, 12):
        window.add(at, 9)
    window.expire(12)
    assert (len(window), window.first_ns, window.late_in_a_row, window.late_since_ns) == (3, 2, 3, 2)
    window.add(12, 1)
    assert (window.late_in_a_row, window.p95) == (0, 9)
    for _ in range(2 * LIMIT):
        window.add(12, 3)
    assert (len(window), window.p95) == (LIMIT, 3)
    window.expire(99)
    assert (len(window), window.p95, window.first_ns) == (0, None, 0)


def watched(delays: list[int], *, policy: HaltPolicy = POLICY, apart: int = 50 * MS) -> tuple[Watch, int]:
    watch, now = Watch(policy, T0), T0 + 20 * SECOND
    for delay in delays:
        now += apart
        watch.confirm(now - delay, now)
        watch.hear(now)
    return watch, now


def figures_of(watch: Watch, now: int, standing: StandingHalt | None = None) -> Figures:
    return watch.figures(now, standing, Hearing.UP, open_since_ns=None)


def test_a_run_of_late_reports_that_was_soon_over_halts_and_is_told_once() -> None:
    watch, now = watched([SECOND] * 5 + [MS] * 3)
    first = figures_of(watch, now)
    assert (first.in_a_row, first.late_since_ns) == (5, now - 7 * 50 * MS)
    decided = halt_decision("ALPHA", None, first, POLICY)
    assert isinstance(decided, Halt)
    assert decided.cause is HaltCause.IN_A_ROW
    assert figures_of(watch, now).in_a_row == 0


def test_the_first_word_of_orders_is_measured_from_their_route_and_keeps_a_halt() -> None:
    watch, now = Watch(POLICY, T0), T0 + 20 * SECOND
    for number in range(20):
        now += 50 * MS
        watch.confirm(now - MS, now, now - 2 * SECOND if number else T0 - SECOND)
        watch.hear(now)
    figures = figures_of(watch, now)
    assert (figures.routed, figures.routed_p95_ns) == (19, 2 * SECOND), "an order from before we listened is none"
    assert figures_of(watch, now, OURS).calm_ns is None
    watch.change(now)
    assert figures_of(watch, now).routed == 0


def test_what_happened_before_we_listened_says_nothing_of_the_venue() -> None:
    watch = Watch(POLICY, T0)
    for number in range(50):
        watch.confirm(T0 + number - 10 * SECOND, T0 + number)
    assert figures_of(watch, T0 + 50).reports == 0
    assert watch.clock.offset_ns is None


def test_what_waited_while_we_did_not_keep_up_halts_nobody() -> None:
    """After an outage of ours the venue's backlog is received 40 s late, trades made meanwhile behind it."""
    watch = Watch(POLICY, T0)
    for number in range(200):
        at = T0 + 5 * SECOND + number * 50 * MS
        watch.fall_behind(at + 40 * SECOND)
        watch.confirm(at, at + 40 * SECOND)
    now = T0 + 60 * SECOND
    assert figures_of(watch, now).reports == 0
    assert watch.clock.offset_ns is None
    watch.confirm(now, now + MS)
    assert figures_of(watch, now + MS).reports == 1, "what trades after that is measured again"


def test_a_clock_that_is_ahead_is_corrected_by_what_is_proven() -> None:
    watch, now = watched([-2 * SECOND] * 3 + [-2 * SECOND + 200 * MS] * 17)
    assert watch.clock.offset_ns == -2 * SECOND
    assert figures_of(watch, now).p95_ns == 200 * MS


def test_a_clock_that_is_behind_is_corrected_within_the_limit() -> None:
    watch, now = watched([40 * MS] * 60)  # the first two prove nothing yet
    assert figures_of(watch, now).p95_ns == 0


def test_a_venue_that_confirms_everything_late_is_not_taken_for_a_clock() -> None:
    watch, now = watched([160 * MS] * 20)
    decided = halt_decision("ALPHA", None, figures_of(watch, now), POLICY)
    assert isinstance(decided, Halt)
    assert decided.figure == 160 * MS


def test_two_wrong_times_do_not_move_the_clock_and_three_do() -> None:
    clock = ClockFilter()
    for delay in (20 * MS, 21 * MS, 22 * MS, -7_200 * SECOND, -7_200 * SECOND):
        clock.add(T0, delay)
    assert clock.offset_ns == 20 * MS
    clock.add(T0, -7_200 * SECOND)
    assert clock.offset_ns == -7_200 * SECOND


def test_the_clock_forgets_after_ten_minutes() -> None:
    clock = ClockFilter()
    for _ in range(3):
        clock.add(T0, 5)
    for minute in (5, 9):
        for _ in range(3):
            clock.add(T0 + minute * 60 * SECOND, 90)
    assert clock.offset_ns == 5
    clock.add(T0 + 11 * 60 * SECOND, 95)
    assert clock.offset_ns == 90


@pytest.mark.parametrize(
    ("offset", "is_off", "wanted"),
    [
        (None, False, None),
        (50, False, None),
        (51, False, True),
        (-51, False, True),
        (51, True, None),
        (38, True, None),
        (37, True, False),
        (-37, True, False),
        (0, False, None),
    ],
)
def test_a_clock_is_said_to_be_off_once_and_right_once(
    offset: int | None, is_off: bool, wanted: bool | None
) -> None:
    decided = clock_decision("ALPHA", offset, 50, T0, is_off=is_off)
    assert (None if decided is None else decided.is_off) is wanted


# --- silence and calm --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hearing", "open_since", "quiet", "deaf"),
    [
        (Hearing.UP, T0, 4 * SECOND, None),
        (Hearing.UP, None, None, None),
        (Hearing.UP, T0 + 3 * SECOND, SECOND, None),
        (Hearing.PART, T0, 4 * SECOND, None),
        (Hearing.DEAF, T0, 4 * SECOND, 4 * SECOND),
        (Hearing.DEAF, None, None, None),  # no order in flight: nobody waits for a word
        (Hearing.DEAF, T0 + 3 * SECOND, SECOND, SECOND),
        (Hearing.OFF, T0, None, None),  # we do not listen yet
    ],
)
def test_it_is_quiet_only_while_something_should_be_heard(
    hearing: Hearing, open_since: int | None, quiet: int | None, deaf: int | None
) -> None:
    watch = Watch(POLICY, T0)
    watch.figures(T0, None, hearing, open_since_ns=open_since)
    found = watch.figures(T0 + 4 * SECOND, None, hearing, open_since_ns=open_since)
    assert (found.quiet_ns, found.deaf_ns) == (quiet, deaf)


def test_silence_goes_on_however_the_feeds_come_and_go() -> None:
    watch = Watch(POLICY, T0)
    ways = [Hearing.UP, Hearing.DEAF, Hearing.PART, Hearing.UP, Hearing.DEAF]
    found = [
        watch.figures(T0 + n * SECOND, None, way, open_since_ns=T0).quiet_ns for n, way in enumerate(ways, start=1)
    ]
    assert found[1:] == [n * SECOND for n in range(1, 5)]


def test_silence_counts_from_when_we_listen_and_keep_up() -> None:
    watch = Watch(POLICY, T0)
    watch.figures(T0 + 9 * SECOND, None, Hearing.OFF, open_since_ns=T0)
    assert watch.figures(T0 + 10 * SECOND, None, Hearing.DEAF, open_since_ns=T0).quiet_ns == 0
    watch.fall_behind(T0 + 14 * SECOND)
    found = watch.figures(T0 + 15 * SECOND, None, Hearing.DEAF, open_since_ns=T0)
    assert (found.quiet_ns, found.deaf_ns) == (SECOND, SECOND)


def spells(*told: tuple[Hearing, int]) -> list[Hearing]:
    """Hearing by hearing, a second each."""
    return [hearing for hearing, count in told for _ in range(count)]


NO_FEED = msgspec.structs.replace(POLICY, silence_ns=0)  # a silence halts for itself
FLAPPING = {
    "down all the time": (spells((Hearing.DEAF, 40)), 31),
    "well, then down": (spells((Hearing.UP, 100), (Hearing.DEAF, 40)), 131),
    "1 s of recovering every 25 s": (
        spells((Hearing.UP, 100), *3 * [(Hearing.DEAF, 25), (Hearing.PART, 1)]),
        131,
    ),
    "1 s of being live every 25 s": (spells((Hearing.UP, 100), *3 * [(Hearing.DEAF, 25), (Hearing.UP, 1)]), 131),
    "1 s up every 25 s from the start": (spells(*3 * [(Hearing.DEAF, 25), (Hearing.UP, 1)]), 31),
    "recovering, then live, in turns too short": (
        spells((Hearing.UP, 100), *3 * [(Hearing.DEAF, 12), (Hearing.PART, 2), (Hearing.UP, 2)]),
        132,
    ),
    "a short outage of a healthy feed": (spells((Hearing.UP, 100), (Hearing.DEAF, 30), (Hearing.UP, 100)), None),
    "two of them, and well in between": (
        spells((Hearing.UP, 100), (Hearing.DEAF, 25), (Hearing.UP, 10), (Hearing.DEAF, 25), (Hearing.UP, 9)),
        None,
    ),
    "recovering for long": (spells((Hearing.DEAF, 25), (Hearing.PART, 6), (Hearing.DEAF, 25)), None),
}


@pytest.mark.parametrize("name", FLAPPING)
def test_a_feed_that_is_up_for_moments_is_deaf_all_the_same(name: str) -> None:
    hearings, wanted = FLAPPING[name]
    watch = Watch(NO_FEED, T0)
    halted = [
        second
        for second, hearing in enumerate(hearings)
        if halt_decision(
            "ALPHA", None, watch.figures(T0 + second * SECOND, None, hearing, open_since_ns=T0), NO_FEED
        )
    ]
    assert (halted[0] if halted else None) == wanted


def test_a_message_in_a_moment_of_being_up_was_heard() -> None:
    watch = Watch(POLICY, T0)
    deaf: list[int | None] = []
    for second, hearing in enumerate(spells(*4 * [(Hearing.DEAF, 25), (Hearing.UP, 1)])):
        if hearing is Hearing.UP:
            watch.hear(T0 + second * SECOND)
        deaf.append(watch.figures(T0 + second * SECOND, None, hearing, open_since_ns=T0).deaf_ns)
    assert max(found or 0 for found in deaf) == 25 * SECOND


def test_a_limit_of_a_second_is_not_passed_by_a_feed_that_was_up_for_a_second() -> None:
    watch = Watch(msgspec.structs.replace(POLICY, deaf_ns=SECOND), T0)
    ways = spells((Hearing.DEAF, 1), (Hearing.UP, 2), (Hearing.DEAF, 2))
    deaf = [
        watch.figures(T0 + n * SECOND, None, hearing, open_since_ns=T0).deaf_ns for n, hearing in enumerate(ways)
    ]
    assert deaf == [0, None, None, 0, SECOND]


@pytest.mark.parametrize("is_deaf", [True, False])
def test_a_venue_without_a_feed_goes_on_when_one_is_up_and_a_silent_one_when_it_is_heard(*, is_deaf: bool) -> None:
    figures = {"deaf_ns": 31 * SECOND} if is_deaf else {"quiet_ns": 31 * SECOND}
    halt = halt_decision("ALPHA", None, Figures(T0, **figures), POLICY)
    assert isinstance(halt, Halt)
    assert halt.cause is HaltCause.SILENCE
    standing = msgspec.structs.replace(QUIET, reason=halt.reason)
    watch = Watch(POLICY, T0)
    watch.change(T0)
    for second in range(100):
        assert watch.figures(T0 + second * SECOND, standing, Hearing.DEAF, open_since_ns=T0).calm_ns is None
    now = T0 + 100 * SECOND
    assert watch.figures(now, standing, Hearing.UP, open_since_ns=T0).calm_ns == (0 if is_deaf else None)
    found = watch.figures(now + POLICY.calm_ns, standing, Hearing.UP, open_since_ns=T0)
    assert isinstance(halt_decision("ALPHA", standing, found, POLICY), Resume) is is_deaf


def test_a_halted_venue_that_says_nothing_stays_halted() -> None:
    watch, now = watched([SECOND] * 20)
    watch.change(now)
    for second in range(3_600):
        assert figures_of(watch, now + second * SECOND, OURS).calm_ns is None


def test_calm_begins_with_enough_reports_and_ends_with_a_late_one() -> None:
    watch, now = watched([SECOND] * 20)
    watch.change(now)
    calm = []
    for delay in [60 * MS] * 6 + [900 * MS, 60 * MS]:
        now += SECOND // 2
        watch.confirm(now - delay, now)
        calm.append(figures_of(watch, now, OURS).calm_ns)
    assert calm == [None, None, None, 0, SECOND // 2, SECOND, None, None]


def test_after_silence_it_is_calm_once_something_was_heard() -> None:
    watch = Watch(POLICY, T0)
    watch.change(T0)
    assert figures_of(watch, T0 + SECOND, QUIET).calm_ns is None
    watch.hear(T0 + 2 * SECOND)
    assert figures_of(watch, T0 + 2 * SECOND, QUIET).calm_ns == 0
    assert figures_of(watch, T0 + 4 * SECOND, QUIET).calm_ns == 2 * SECOND


def played(delays: list[int], gaps: list[int], policy: HaltPolicy) -> list[tuple[int, Halt | Resume, Figures]]:
    """A day at a venue: every report is looked at, and a decision is in force at once."""
    controls, watch, now = Controls(), Watch(policy, T0), T0 + 1_000 * SECOND
    found: list[tuple[int, Halt | Resume, Figures]] = []
    for delay, gap in zip(delays, gaps, strict=True):
        now += gap
        watch.confirm(now - delay, now)
        watch.hear(now)
        standing = controls.halts.get("ALPHA")
        figures = watch.figures(now, standing, Hearing.UP, open_since_ns=T0)
        decided = halt_decision("ALPHA", standing, figures, policy)
        if decided is not None:
            rows = ControlRows()
            controls.take(decided, rows, [])
            watch.change(now)
            found.append((now, decided, figures))
    return found


DAYS = st.integers(0, 400).flatmap(
    lambda n: st.tuples(
        st.lists(st.one_of(st.integers(0, 100 * MS), st.integers(0, SECOND)), min_size=n, max_size=n),
        st.lists(st.integers(0, 400 * MS), min_size=n, max_size=n),
    )
)


@settings(max_examples=150)
@given(DAYS)
def test_it_never_halts_without_a_breach_nor_flaps_more_often_than_allowed(
    day: tuple[list[int], list[int]],
) -> None:
    delays, gaps = day
    decisions = played(delays, gaps, POLICY)
    assert [type(d) for _, d, _ in decisions] == [Halt, Resume] * (len(decisions) // 2) + [Halt] * (
        len(decisions) % 2
    )
    for at, decided, figures in decisions:
        if isinstance(decided, Halt):
            assert decided.figure is not None
            assert decided.limit is not None
            assert decided.figure > decided.limit or decided.cause is HaltCause.IN_A_ROW
            assert decided.since_ns >= at - POLICY.window_ns
            # some report of the window took longer than the venue may, by the raw times even
            assert decided.cause is HaltCause.SILENCE or max(delays) > POLICY.sla_ns
        else:
            assert figures.calm_ns is not None
    halts = [at for at, decided, _ in decisions if isinstance(decided, Halt)]
    assert all(later - earlier >= POLICY.calm_ns for earlier, later in pairwise(halts))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 150 * MS), max_size=500))
def test_it_never_halts_while_every_report_is_in_time(delays: list[int]) -> None:
    assert played(delays, [10 * MS] * len(delays), POLICY) == []


def test_a_venue_that_is_late_by_turns_is_halted_and_resumed_by_turns() -> None:
    """What the property above would not notice were it never to resume."""
    rng = random.Random(3)
    delays = [rng.randint(0, 50 * MS) + (SECOND if n // 400 % 2 else 0) for n in range(4_000)]
    kinds = [type(d) for _, d, _ in played(delays, [50 * MS] * 4_000, POLICY)]
    assert kinds == [Halt, Resume] * 4 + [Halt]


# --- what a decision comes to ------------------------------------------------------------------------------


def by_hand(at: int = T0, request: int = 1) -> Halt:
    return Halt("ALPHA", HaltCause.PERSON, at, at, "alice", "looks wrong", request_id=request)


def late(at: int = T0) -> Halt:
    return Halt("ALPHA", HaltCause.LATENCY, at, at - SECOND, AGENT, "late", SECOND, 150 * MS)


def landed(book: Book, *controls: Control) -> Decision:
    decision = decide(book, list(controls), Policy())
    book.apply(decision)
    return decision


def kinds_of(decision: Decision) -> list[str]:
    return [event.event_type for event in decision.events]


def outcomes(decision: Decision) -> list[str]:
    assert decision.controls is not None
    return [answered.outcome for answered in decision.controls.answered]


def test_a_halt_is_a_row_an_event_and_the_state() -> None:
    book = Book()
    decision = landed(book, late())
    assert decision.controls is not None
    (row,) = decision.controls.halts
    assert (row.venue, row.cause, row.figure, row.limit_value) == ("ALPHA", HaltCause.LATENCY, SECOND, 150 * MS)
    assert kinds_of(decision) == ["venue_halted"]
    assert decision.events[0].key == "ALPHA"
    assert book.controls.halts["ALPHA"].halt_id == row.halt_id


def test_the_same_halt_again_is_nothing() -> None:
    book = Book()
    landed(book, late())
    again = landed(book, late(T0 + SECOND))
    assert (again.events, again.controls) == ([], ControlRows())


def test_a_resume_of_ours_ends_the_halt_that_it_was_decided_on_and_no_other() -> None:
    book = Book()
    landed(book, late())
    ours = Resume("ALPHA", T0 + SECOND, AGENT, "calm", book.controls.halts["ALPHA"].halt_id)
    landed(book, by_hand())
    assert kinds_of(landed(book, ours)) == []
    assert book.controls.halts["ALPHA"].cause is HaltCause.PERSON


def test_a_person_takes_over_what_we_halted() -> None:
    book = Book()
    first = landed(book, late())
    taken = landed(book, by_hand())
    assert first.controls is not None
    assert taken.controls is not None
    assert [e.halt_id for e in taken.controls.halts_ended] == [first.controls.halts[0].halt_id]
    assert kinds_of(taken) == ["venue_halted"]
    assert outcomes(taken) == ["halted: it was halted by execution-agent and would have resumed by itself"]


def test_what_is_asked_for_twice_is_done_once_and_both_are_answered() -> None:
    book = Book()
    decision = landed(book, by_hand(request=1), by_hand(T0 + 1, request=2))
    assert kinds_of(decision) == ["venue_halted"]
    assert outcomes(decision)[0] == "halted"
    assert outcomes(decision)[1].startswith("unchanged: halted by alice since ")
    resumes = [Resume("ALPHA", T0 + n, "bob", "fine", request_id=n) for n in (3, 4)]
    ended = landed(book, *resumes)
    assert kinds_of(ended) == ["venue_resumed"]
    assert outcomes(ended) == ["resumed", "unchanged: it is not halted"]
    assert book.controls.halts == {}


def test_a_halt_that_begins_and_ends_in_one_batch_is_both() -> None:
    book = Book()
    decision = landed(book, by_hand(), Resume("ALPHA", T0 + 1, "bob", "a mistake", request_id=2))
    assert kinds_of(decision) == ["venue_halted", "venue_resumed"]
    assert book.controls.halts == {}


def test_a_clock_is_alerted_once_and_its_end_once() -> None:
    book = Book()
    off = ClockChange("ALPHA", True, T0, 2 * SECOND, SECOND)
    right = ClockChange("ALPHA", False, T0 + SECOND, 0, SECOND)
    kinds = [kinds_of(landed(book, change)) for change in (right, off, off, right, right, off)]
    assert kinds == [[], ["clock_skew_began"], [], ["clock_skew_ended"], [], ["clock_skew_began"]]


@pytest.mark.parametrize(
    ("nanos", "said"), [(0, "0"), (1, "0.000000001"), (-SECOND // 4, "-0.25"), (30 * SECOND, "30")]
)
def test_seconds_are_exact(nanos: int, said: str) -> None:
    assert seconds(nanos) == said
