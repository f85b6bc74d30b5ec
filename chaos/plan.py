"""What is killed when: drawn from the seed, so that a seed is a plan."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from ledger.faultpoints import POINTS

How = Literal["point", "process", "group", "producer"]

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
_LONGEST_LIFE = 2.5  # seconds from the start to a kill from outside
_LATEST = (1.0, 2.5)  # a point that is passed less often than drawn kills at its first pass after so many seconds
_OUTSIDE = 0.3  # share of kills from outside
_FROM_OUTSIDE: tuple[How, ...] = ("process", "process", "group", "group", "producer")
# Of a life that begins with thousands of reports at venues and on Kafka: where large batches go through.
_BACKLOG = 0.06
_BACKLOG_LIFE = (1.0, 7.0)
_BACKLOG_PASSES = {
    "decode.after": 6000, "landing.before": 12, "landing.in_copy": 60, "landing.copied": 80,
    "landing.before_commit": 10, "landing.after_commit": 12, "tell.before_publisher": 12,
    "publisher.produced": 6000, "publisher.before_commit": 10, "publisher.after_commit": 10, "cursor.before": 3,
    "kafka.hand_over": 12, "fix.hand_over": 12, "websocket.hand_over": 20, "rest.answer": 40, "redis.before": 6,
    "engine.after_send": 2000, "audit.before_grow": 6,
}  # fmt: skip


class Kill(msgspec.Struct, frozen=True):
    """One kill: ``seconds`` after the start from outside, or at the ``passes``-th pass of a point.

    A point kills at its first pass after ``seconds``, too. ``process`` is the streaming process alone, ``group``
    it and its FIX engine at once, ``producer`` the producer's process first. ``backlog``: its life begins with
    thousands of reports that wait.
    """

    how: How
    point: str = ""
    passes: int = 0
    seconds: float = 0.0
    backlog: bool = False

    @property
    def name(self) -> str:
        """The row of the table."""
        return self.point or f"outside: {self.how}"


def draw(kills: int, seed: int, only: str | None = None) -> list[Kill]:
    """Draw a plan: every point comes before any comes again, kills from outside among them.

    ``only`` is the one point to kill at.
    """
    generator = random.Random(f"{seed}/kills")
    plan: list[Kill] = []
    points: list[str] = []
    while len(plan) < kills:
        if only is None and generator.random() < _BACKLOG:
            plan.append(_in_backlog(generator))
            continue
        if only is None and generator.random() < _OUTSIDE:
            how: How = generator.choice(_FROM_OUTSIDE)
            plan.append(Kill(how, seconds=round(generator.uniform(0.1, _LONGEST_LIFE), 3)))
            continue
        if not points:
            points = sorted(POINTS) if only is None else [only]
            generator.shuffle(points)
        point = points.pop()
        passes = round(_PASSES.get(point, 1) ** generator.random())
        plan.append(Kill("point", point, passes, round(generator.uniform(*_LATEST), 3)))
    return plan


def _in_backlog(generator: random.Random) -> Kill:
    seconds = round(generator.uniform(*_BACKLOG_LIFE), 3)
    if generator.random() < _OUTSIDE:
        return Kill(generator.choice(_FROM_OUTSIDE), seconds=seconds, backlog=True)
    point = generator.choice(sorted(_BACKLOG_PASSES))
    passes = round(_BACKLOG_PASSES[point] ** generator.random())
    return Kill("point", point, passes, seconds, backlog=True)
