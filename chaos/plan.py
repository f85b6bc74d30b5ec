"""What is killed when: drawn from the seed, so that a seed is a plan."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from ledger.faultpoints import POINTS

How = Literal["point", "process", "group"]

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
_LONGEST_LIFE = 3.0  # seconds from the start to a kill from outside
_OUTSIDE = 0.3  # share of kills from outside


class Kill(msgspec.Struct, frozen=True):
    """One kill: at the ``passes``-th pass of a point, or ``seconds`` after the start from outside.

    ``process`` is the streaming process alone, ``group`` it and its FIX engine at once.
    """

    how: How
    point: str = ""
    passes: int = 0
    seconds: float = 0.0

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
        if only is None and generator.random() < _OUTSIDE:
            how: How = generator.choice(("process", "group"))
            plan.append(Kill(how, seconds=round(generator.uniform(0.1, _LONGEST_LIFE), 3)))
            continue
        if not points:
            points = sorted(POINTS) if only is None else [only]
            generator.shuffle(points)
        point = points.pop()
        plan.append(Kill("point", point, round(_PASSES.get(point, 1) ** generator.random())))
    return plan
