"""Killing one life of the streaming process: where the plan says, or from outside after all."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from chaos.resting import ChaosError
from operations.main_job.figures import ask

if TYPE_CHECKING:
    from chaos.awaits import AwaitFault
    from chaos.plan import Kill
    from chaos.victim import Victim
    from operations.main_job.programs import Ports

# a point that is not passed so long after all is live, or that long after the start: killed from outside
_POINT_SECONDS, _LONGEST_SECONDS = 4.0, 30.0
_LOOK_SECONDS = 0.25
_PRODUCER, _PART_SECONDS = "streaming.producing_child", 0.6  # another one is started, or another FIX engine
_WHOLE, _DRAINED = "outside: group", "ended by SIGTERM"


class Killer:
    """Kills one life after another, and counts by the kills' names what was killed and what was missed.

    ``awaits_hit`` has the moments of each await at which a life died, ``awaits_missed`` those at which none did.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.awaits_hit: dict[str, list[str]] = {}
        self.awaits_missed: set[str] = set()

    def kill(self, victim: Victim, kill: Kill, ports: Ports) -> None:
        """Kill a life. Raises ``ChaosError`` where it ends by itself."""
        if kill.how in ("point", "await"):
            self._kill_inside(victim, kill, ports)
        else:
            self.done[_kill_from_outside(victim, kill)] += 1

    def _kill_inside(self, victim: Victim, kill: Kill, ports: Ports) -> None:
        """Wait for the end at a point or an await, or kill it from outside after all."""
        ended = _ended_at(victim, kill, ports)
        was_hit = victim.said(kill.words)
        if ended and not was_hit and "stopped" not in kill.scenes:
            raise _ended_by_itself(victim)
        (self.done if was_hit else self.missed)[kill.name] += 1
        if kill.fault is not None:
            self._note_await(kill.fault, was_hit=was_hit)
        if victim.alive:  # its FIX engine was hit, or nothing
            if was_hit:
                time.sleep(_PART_SECONDS)
            victim.kill(group=True)

    def _note_await(self, fault: AwaitFault, *, was_hit: bool) -> None:
        if was_hit:
            self.awaits_hit.setdefault(fault.site.name, []).append(fault.moment)
            self.awaits_missed.discard(fault.site.name)
        elif fault.site.name not in self.awaits_hit:
            self.awaits_missed.add(fault.site.name)


def _ended_at(victim: Victim, kill: Kill, ports: Ports) -> bool:
    """Wait for the end at a fault point; a machine that is busy has its time to get there."""
    latest = time.monotonic() + _LONGEST_SECONDS
    deadline: float | None = None
    is_stopped = False
    while time.monotonic() < (deadline or latest):
        if victim.ended_within(_LOOK_SECONDS, kill.words):
            return True
        if deadline is None:
            status = ask(f"http://127.0.0.1:{ports.http}/status")
            if status.get("ready") and status.get("publisher") == "live":
                live_at = time.monotonic()
                deadline = min(live_at + _POINT_SECONDS, latest)
        elif "stopped" in kill.scenes and not is_stopped and time.monotonic() - live_at >= kill.seconds:
            victim.send(signal.SIGTERM, group=False)
            is_stopped, deadline = True, deadline + _POINT_SECONDS
    return False


def _kill_from_outside(victim: Victim, kill: Kill) -> str:
    """Kill a life; give what was killed, which is the whole group where its producer is not there."""
    name = kill.name
    if victim.ended_within(kill.seconds, ""):
        raise _ended_by_itself(victim)
    if kill.how == "producer":
        if victim.kill_child(_PRODUCER):
            time.sleep(_PART_SECONDS)
        else:
            name = _WHOLE
    elif kill.how == "drain":
        victim.send(signal.SIGTERM, group=False)
        if victim.ended_within(kill.pause, ""):
            name = _DRAINED
    victim.kill(group=kill.how != "process")
    return name


def _ended_by_itself(victim: Victim) -> ChaosError:
    return ChaosError(f"the streaming process ended by itself; {victim.log} ends with:\n{victim.words()}")
