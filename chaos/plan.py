"""What is killed when: drawn from the seed, so that a seed is a plan."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

import msgspec

from chaos.awaits import MOMENTS, AwaitFault, Site, sites
from ledger.faultpoints import POINTS

if TYPE_CHECKING:
    from collections.abc import Collection

How = Literal["point", "await", "process", "group", "producer", "drain"]
Scene = Literal["requests", "secrets", "taken back", "topic", "lost", "overtaken", "identity", "stopped", "deaf"]

ALL_AWAITS = "awaits"
"""Of ``draw``'s ``only``: no named points and nothing from outside."""

# A kill's pass is drawn from the first so many, evenly on a logarithmic scale: some kills meet a process that has
# just begun, some one under way on all feeds. The other points are passed once in a life.
_PASSES = {
    "decode.before": 1000, "decode.after": 1000, "landing.before": 250, "landing.in_copy": 6, "landing.copied": 12,
    "landing.before_commit": 2, "landing.after_commit": 250, "tell.before_answer": 40, "tell.after_answer": 40,
    "tell.before_publisher": 250, "tell.after": 250, "publisher.before_begin": 80, "publisher.after_begin": 80,
    "publisher.produced": 600, "publisher.before_commit": 80, "publisher.after_commit": 80, "cursor.before": 2,
    "cursor.after": 2, "redis.before": 20, "redis.after": 20, "fix.hand_over": 80, "websocket.hand_over": 80,
    "kafka.hand_over": 100, "rest.received": 40, "rest.answer": 40, "engine.before_send": 100,
    "engine.in_frame": 100, "engine.after_send": 100,
}  # fmt: skip
_PASSES |= dict.fromkeys(("audit.before_grow", "audit.grown", "audit.signed", "audit.recorded", "audit.stored"), 3)
_FROM_PASS = {"identity.replaced": 2}  # the first SVID replaces none
_AWAIT_PASSES = 20
_LONGEST_LIFE = 2.5  # seconds from the start to a kill from outside
_LATEST = (1.0, 2.5)  # a point that is passed less often than drawn kills at its first pass after so many seconds
_OUTSIDE = 0.25  # share of kills from outside
_AWAITS = 0.35  # share of kills at an await
_FROM_OUTSIDE: tuple[How, ...] = ("process", "process", "group", "group", "producer", "drain")
_LONGEST_DRAIN = 0.8  # seconds from SIGTERM to SIGKILL
# What a life must find to get to a point, by the beginning of the point's name: the longest one counts.
_SCENES: dict[str, tuple[Scene, ...]] = {
    "desk.": ("requests",),
    "completeness.answering": ("requests",),
    "completeness.missing": ("requests", "deaf"),
    "secrets.": ("secrets",),
    "secrets.event": ("taken back",),
    "secrets.written": ("taken back",),
    "publisher.refilled": ("topic",),
    "lander.lost": ("lost",),
    "lander.forgotten": ("lost",),
    "landing.conflict": ("overtaken",),
    "landing.reloaded": ("overtaken",),
    "identity.": ("identity",),
    "drain.": ("stopped",),
}
_NEEDS_BACKLOG = frozenset({"completeness.missing"})
# Of a life that begins with thousands of reports at venues and on Kafka: where large batches go through.
_BACKLOG = 0.06
_BACKLOG_LIFE = (1.0, 7.0)
_BACKLOG_PASSES = {
    "decode.after": 6000, "landing.before": 12, "landing.in_copy": 60, "landing.copied": 80,
    "landing.before_commit": 10, "landing.after_commit": 12, "landing.ahead": 8, "tell.before_publisher": 12,
    "publisher.produced": 6000, "publisher.before_commit": 10, "publisher.after_commit": 10, "cursor.before": 3,
    "kafka.hand_over": 12, "fix.hand_over": 12, "websocket.hand_over": 20, "rest.answer": 40, "redis.before": 6,
    "engine.after_send": 2000, "audit.before_grow": 6, "publisher.swept": 4,
}  # fmt: skip


class Kill(msgspec.Struct, frozen=True):
    """One kill: ``seconds`` after the start from outside, or at the ``passes``-th pass of a point or of an await.

    A point kills at its first pass after ``seconds``, too. ``process`` is the streaming process alone, ``group``
    it and its FIX engine at once, ``producer`` the producer's process first, ``drain`` all of it ``pause`` seconds
    after SIGTERM. ``backlog``: its life begins with thousands of reports that wait. ``scenes`` is what else
    happens to that life.
    """

    how: How
    point: str = ""
    passes: int = 0
    seconds: float = 0.0
    backlog: bool = False
    pause: float = 0.0
    fault: AwaitFault | None = None
    scenes: tuple[Scene, ...] = ()

    @property
    def name(self) -> str:
        """The row of the table."""
        if self.fault is not None:
            return f"await in {self.fault.site.path}"
        return self.point or f"outside: {self.how}"

    @property
    def words(self) -> str:
        """What a life that dies of it says last, where it says anything."""
        if self.fault is not None:
            return self.fault.words
        return f"fault point {self.point}, pass"


def draw(kills: int, seed: int, only: Collection[str] | None = None) -> list[Kill]:
    """Draw a plan: every point comes before any comes again, and so does every await; others among them.

    ``only`` are the points to kill at, the modules at whose awaits, or ``ALL_AWAITS``.
    """
    generator = random.Random(f"{seed}/kills")
    wanted = set(only or ())
    if not wanted:
        named, waits = sorted(POINTS), list(sites())
    else:
        named = sorted(wanted & POINTS.keys())
        waits = [site for site in sites() if site.path in wanted or ALL_AWAITS in wanted]
    share = _AWAITS / (1 - _OUTSIDE) if named and waits else float(bool(waits))
    plan: list[Kill] = []
    points: list[str] = []
    awaits: list[Site] = []
    while len(plan) < kills:
        if not wanted and generator.random() < _BACKLOG:
            plan.append(_in_backlog(generator))
        elif not wanted and generator.random() < _OUTSIDE:
            plan.append(_from_outside(generator, round(generator.uniform(0.1, _LONGEST_LIFE), 3)))
        elif generator.random() < share:
            awaits = awaits or generator.sample(waits, len(waits))
            plan.append(_at_await(generator, awaits.pop()))
        else:
            points = points or generator.sample(named, len(named))
            plan.append(_at_point(generator, points.pop()))
    return plan


def _at_point(generator: random.Random, point: str) -> Kill:
    passes = max(_FROM_PASS.get(point, 1), round(_PASSES.get(point, 1) ** generator.random()))
    seconds = round(generator.uniform(*_LATEST), 3)
    begins = max((name for name in _SCENES if point.startswith(name)), key=len, default="")
    scenes, backlog = _SCENES.get(begins, ()), point in _NEEDS_BACKLOG
    return Kill("point", point, passes, seconds, backlog=backlog, scenes=scenes)


def _at_await(generator: random.Random, site: Site) -> Kill:
    """A life in which much happens: most of its awaits are reached by it."""
    seconds = round(generator.uniform(*_LATEST), 3)
    passes = round(
        _AWAIT_PASSES ** max(0.0, generator.uniform(-1.0, 1.0))
    )  # half at the first: many have no other
    fault = AwaitFault(site, generator.choice(MOMENTS), passes, seconds)
    some: list[Scene] = ["requests", generator.choice(("lost", "overtaken", "stopped"))]
    some.append(generator.choice(("secrets", "taken back")))
    return Kill("await", seconds=seconds, fault=fault, scenes=tuple(some))


def _from_outside(generator: random.Random, seconds: float, *, backlog: bool = False) -> Kill:
    how = generator.choice(_FROM_OUTSIDE)
    pause = round(generator.uniform(0.0, _LONGEST_DRAIN), 3) if how == "drain" else 0.0
    return Kill(how, seconds=seconds, backlog=backlog, pause=pause)


def _in_backlog(generator: random.Random) -> Kill:
    seconds = round(generator.uniform(*_BACKLOG_LIFE), 3)
    if generator.random() < _OUTSIDE:
        return _from_outside(generator, seconds, backlog=True)
    point = generator.choice(sorted(_BACKLOG_PASSES))
    passes = round(_BACKLOG_PASSES[point] ** generator.random())
    return Kill("point", point, passes, seconds, backlog=True)
