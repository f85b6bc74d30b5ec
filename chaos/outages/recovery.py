"""Whether all of it works again, and since when: what a trial sees of the streaming processes from outside."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.outages.cases import Case
    from chaos.outages.scene import Scene

RECOVERY_SECONDS = 5.0
GIVE_UP_SECONDS = 45.0
_AT_WORK = frozenset({"live", "recovering"})  # what a venue's faults make it ask for again is no outage
_VENUES = ("ALPHA", "BRAVO", "CHARLIE")
_FEEDS = ("ALPHA.fix", "BRAVO.ws", "CHARLIE.rest", "kafka")


class Promise(msgspec.Struct, frozen=True):
    """One promise, whether it was kept, and the figure."""

    name: str
    kept: bool
    figure: str


def recover(case: Case, scene: Scene, writer: int, first: dict[str, float]) -> float | None:
    """Wait until everything works and something new has landed and been published; give how long that took.

    ``first`` is filled with when each venue's first report has landed, of a writer that takes over.
    """
    failed = began = time.monotonic()
    before = landed(scene, writer), published(scene, writer)
    signed = scene.bucket.signed() if case.has_s3 else 0
    moved = mended = False

    def is_back() -> bool:
        nonlocal moved, mended, began
        if case.takes_over:
            status = scene.status(writer)
            if status.get("ready") and not moved:  # callers are led there, as by a load balancer
                scene.proxies["http"].lead_to(scene.ports[writer])
                moved = True
            for venue, figures in status.get("venues", {}).items():
                if figures["landed"]:
                    first.setdefault(venue, round(time.monotonic() - failed, 2))
            if len(first) < len(_VENUES):
                return False
            if case.meanwhile is not None and not mended:
                case.meanwhile(scene)
                mended, began = True, time.monotonic()
        is_new = landed(scene, writer) > before[0] and published(scene, writer) > before[1]
        return is_new and is_well(scene, writer) and (not case.has_s3 or _is_signed(scene, signed))

    return round(time.monotonic() - began, 2) if until(is_back, GIVE_UP_SECONDS) else None


def first_reports(first: dict[str, float]) -> Promise:
    """Each venue's first report landed by the writer that took over, by whichever kind of feed, in time."""
    said = ", ".join(f"{venue} {first[venue]:.2f} s" if venue in first else f"{venue} never" for venue in _VENUES)
    return Promise("first reports", len(first) == len(_VENUES) and max(first.values()) <= RECOVERY_SECONDS, said)


def _is_signed(scene: Scene, before: int) -> bool:
    """Whether the audit log goes on, and the bucket has a newer checkpoint than before."""
    return scene.status().get("audit", {}).get("state") == "live" and scene.bucket.signed() > before


def last_checkpoint(scene: Scene) -> Promise:
    """The bucket gets the last checkpoint that the ledger has, soon after the last event."""
    with scene.ledger() as ledger:

        def is_stored() -> bool:
            row = ledger.execute("SELECT max(tree_size) FROM execution.audit_checkpoints").fetchone()
            return row is not None and bool(row[0] == scene.bucket.signed())

        is_there = until(is_stored, RECOVERY_SECONDS)
    return Promise("checkpoints", is_there and scene.bucket.signed() > 0, f"over {scene.bucket.signed():,} events")


def is_well(scene: Scene, number: int) -> bool:
    """Whether a process holds the lease, and all its feeds, publisher and Redis are up."""
    status = scene.status(number)
    found = status.get("feeds", {})
    parts = [status.get("publisher"), status.get("redis"), *(found.get(feed) for feed in _FEEDS)]
    return bool(status.get("ready")) and all(part in _AT_WORK for part in parts)


def landed(scene: Scene, number: int) -> int:
    """Count the reports that a process has landed."""
    return sum(venue["landed"] for venue in scene.status(number).get("venues", {}).values())


def published(scene: Scene, number: int) -> int:
    """Count the events that a process has published."""
    return sum(scene.status(number).get("published", {}).values())


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False when it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
