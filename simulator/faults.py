"""What goes wrong on the way, drawn from the seed. Pure: an event in, what is due when out.

At most one fault strikes a report. None loses a report or an intent for good, and none changes what a true
report says: malformed messages are extra ones under an ExecID of their own.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from simulator.orders import Event, Intent, Report, Snapshot

if TYPE_CHECKING:
    from simulator.config import FaultRates

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND
SWAP_WAITS_AT_MOST = 3 * SECOND

Act = Literal["send", "malformed", "drop", "stale", "withhold"]


class Due(msgspec.Struct, frozen=True):
    """Something to do at a time: send or publish the event, or do something to its venue's connection."""

    at: int
    event: Event
    act: Act = "send"
    fault: str = ""
    again: bool = False
    """A copy beyond the first (of an intent or snapshot)."""


class Faults:
    """Decides, event by event, what is delivered when."""

    def __init__(self, rates: FaultRates, seed: int, kinds: dict[str, str]) -> None:
        self.counts: Counter[str] = Counter()
        self._kinds = kinds
        self._rates = rates
        self._rng = random.Random(f"{seed}/faults")
        self._held: dict[str, Report] = {}
        self._intent_due: dict[str, int] = {}

    def strike(self, event: Event) -> list[Due]:
        """When and how an event goes out."""
        if isinstance(event, Report):
            return self._report(event)
        return self._intent(event) if isinstance(event, Intent) else self._snapshot(event)

    def release_held(self, now: int) -> list[Due]:
        """Reports that waited for a neighbour that never came."""
        over = [venue for venue, held in self._held.items() if now - held.at >= SWAP_WAITS_AT_MOST]
        return [Due(now, self._held.pop(venue)) for venue in over]

    @property
    def holding(self) -> bool:
        """Whether a report waits for its neighbour."""
        return bool(self._held)

    def _count(self, name: str) -> None:
        self.counts[name] += 1

    def _between(self, low: float, high: float) -> int:
        return round(self._rng.uniform(low, high) * SECOND)

    def _snapshot(self, snapshot: Snapshot) -> list[Due]:
        due = [Due(snapshot.at, snapshot)]
        if self._rng.random() < self._rates.snapshot_twice:
            self._count("snapshot_twice")
            due.append(Due(snapshot.at + self._between(0.0, 0.5), snapshot, again=True))
        return due

    def _intent(self, intent: Intent) -> list[Due]:
        draw, delay = self._rng.random(), self._between(0.3, 1.5)
        at = intent.at
        # a replace never overtakes what it replaces, held back or not
        at = max(at, self._intent_due.pop(intent.correlation_id, 0))
        fault = ""
        if draw < self._rates.intent_late:
            fault = "intent_late"
            at += delay
            self._intent_due[intent.correlation_id] = at + MILLISECOND
        due = [Due(at, intent)]
        if self._rates.intent_late <= draw < self._rates.intent_late + self._rates.intent_twice:
            fault = "intent_twice"
            due.append(Due(at + delay, intent, again=True))
        if fault:
            self._count(fault)
        return due

    def _report(self, report: Report) -> list[Due]:
        kind = self._kinds[report.intent.venue]
        due = self._fate(report, kind)
        due += self._beside(report, kind)
        held = self._held.get(report.intent.venue)
        if held is not None and held is not report:
            del self._held[report.intent.venue]
            due.append(Due(report.at + MILLISECOND, held))
        return due

    def _fate(self, report: Report, kind: str) -> list[Due]:
        rates, draw = self._rates, self._rng.random()
        delays = (self._between(1.0, 5.0), self._between(0.01, 2.0))
        if report.kind in {"bust", "correct"}:
            self._count(report.kind)
        for name in ("duplicate", "swapped", "late", "lost", "garbled", "withheld"):
            draw -= getattr(rates, name)
            if draw < 0:
                break
        else:
            return [Due(report.at, report)]
        if name == "swapped" and report.intent.venue in self._held:
            return [Due(report.at, report)]
        if name == "garbled" and kind != "fix":
            name = "lost"
        if name == "withheld":
            return self._withheld(report)
        self._count(name)
        if name == "swapped":
            self._held[report.intent.venue] = report
            return []
        if name == "late":
            return [Due(report.at + delays[0], report)]
        if name == "duplicate" and kind != "rest":
            return [Due(report.at, report), Due(report.at + delays[1], report, fault="duplicate")]
        return [Due(report.at, report, fault=name)]

    def _withheld(self, report: Report) -> list[Due]:
        """Leave it to the venue's list, which has trades and no order states."""
        if report.kind not in {"fill", "bust", "correct"}:
            return [Due(report.at, report)]
        self._count("withheld")
        return [Due(report.at, report, act="withhold")]

    def _beside(self, report: Report, kind: str) -> list[Due]:
        # draws are made for every report alike, so one rate does not move another's dice
        malformed, dropped, stale = (self._rng.random() for _ in range(3))
        due: list[Due] = []
        if malformed < self._rates.malformed and report.kind == "fill":
            self._count("malformed")
            due.append(Due(report.at, report, act="malformed"))
        if dropped < self._rates.dropped:
            due.append(Due(report.at, report, act="drop"))
        if stale < self._rates.stale and kind == "fix":
            due.append(Due(report.at, report, act="stale"))
        return due
