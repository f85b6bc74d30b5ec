"""What is killed when: drawn from the seed, so that a seed is a plan."""

from __future__ import annotations

import random
from typing import Literal

import msgspec

from ledger.faultpoints import POINTS

How = Literal["point", "process", "group"]

# how often a point is passed in some seconds of load: its kill is drawn from the first of these passes
_MANY = {"decode.before": 100, "decode.after": 100, "publisher.produced": 100}
_SOME = {
    "landing.before": 16, "landing.after_commit": 16, "tell.before_publisher": 16, "tell.after": 16,
    "tell.before_answer": 8, "tell.after_answer": 8, "rest.received": 8, "rest.answer": 8,
    "publisher.before_begin": 10, "publisher.after_begin": 10, "publisher.before_commit": 10,
    "publisher.after_commit": 10, "redis.before": 6, "redis.after": 6, "fix.hand_over": 10,
    "websocket.hand_over": 30, "kafka.hand_over": 16, "engine.before_send": 30, "engine.in_frame": 30,
    "engine.after_send": 30, "landing.in_copy": 4, "landing.copied": 8, "cursor.before": 2, "cursor.after": 2,
}  # fmt: skip
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
        plan.append(Kill("point", point, generator.randint(1, _MANY.get(point) or _SOME.get(point) or 1)))
    return plan
