"""One case played: load, failure, mending, recovery, then the promises and the books."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec

from chaos.books import compare
from chaos.outages.recovery import (
    GIVE_UP_SECONDS,
    RECOVERY_SECONDS,
    Promise,
    first_reports,
    is_well,
    landed,
    last_checkpoint,
    published,
    recover,
    until,
)
from chaos.outages.scene import INBOX_LIMIT, Scene, resident_bytes
from chaos.outages.toxiproxy import VERSION
from operations.main_job.balance import Line
from operations.main_job.figures import ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from chaos.outages.cases import Case

_LOAD_SECONDS = 3.0
_UNDER_WAY = 100  # reports landed
_TAKEN_TWICE = 2
# a frame that was here and is forgotten with a session that ended comes again: to the venue a duplicate
_VENUES_DUPLICATES = "duplicates sent"
_LOOK_SECONDS = 0.1
_HANDED_OVER = 600  # what one feed hands over at once, beyond the inbox's limit: Kafka's 500, and a callback's
_DISTINCT = "distinct and landed"
_UNCOMMITTED = 8_000  # messages of one transaction of the publisher: 4,000 events on two topics each
_GROWTH_BYTES = 100 << 20
_WOKEN_SECONDS = 4.0
_SETTLE_SECONDS = 1.0  # what was on its way when the server failed may still land
_STUCK_SECONDS, _QUIET_LOOKS, _DRAIN_LOOK_SECONDS = 60.0, 6, 0.5


class Outcome(msgspec.Struct):
    """How a case ended. ``skipped`` says why it was not played, which proves nothing."""

    case: str
    what: str
    seconds: float = 0.0
    recovery: float | None = None
    promises: list[Promise] = []
    differences: list[Line] = []
    reports: int = 0
    skipped: str = ""
    proxy: str = "ours"

    @property
    def good(self) -> bool:
        """Whether it was played, and all promises were kept."""
        return not self.skipped and all(promise.kept for promise in self.promises)


class _Watch:
    """Looks at the streaming process ten times a second, beside what happens."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")
        self.backlog = 0
        self.memory = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK_SECONDS):
            for number, victim in enumerate(self._scene.victims):
                if victim.alive:
                    self.memory = max(self.memory, resident_bytes(victim.pid))
                self.backlog = max(self.backlog, self._scene.status(number).get("backlog", 0))


def play(case: Case, state: Path, *, seed: int, orders: float, tell: Callable[[str], None]) -> Outcome:
    """Play a case; raises ``ChaosError`` when it cannot be set up."""
    began = time.monotonic()
    outcome = Outcome(case.name, case.what)
    with Scene(
        state,
        seed=seed,
        orders=orders,
        has_s3=case.has_s3,
        keeps_topics=case.keeps_topics,
        small_disk=case.small_disk,
        toxic=case.toxic,
        processes=2 if case.takes_over else 1,
    ) as scene:
        writer = 1 if case.takes_over else 0
        if scene.toxiproxy is not None:
            outcome.proxy = f"toxiproxy {VERSION}"
        until(lambda: is_well(scene, 0) and landed(scene, 0) > _UNDER_WAY, GIVE_UP_SECONDS)
        time.sleep(_LOAD_SECONDS)
        pid, memory = scene.victims[writer].pid, resident_bytes(scene.victims[0].pid)
        with _Watch(scene) as watch:
            told = _fail(case, scene, outcome)
            first: dict[str, float] = {}
            outcome.recovery = recover(case, scene, writer, first)
            time.sleep(_LOAD_SECONDS)
            if case.takes_over:
                case.mend(scene)
                time.sleep(_WOKEN_SECONDS)
            tell(f"{case.name}: recovered after {_seconds(outcome.recovery)}, the rest is delivered")
            drained = _drain(scene, writer)
        promises = outcome.promises
        promises.append(
            Promise(
                "recovery",
                outcome.recovery is not None and outcome.recovery <= RECOVERY_SECONDS,
                _seconds(outcome.recovery),
            )
        )
        if case.takes_over:
            promises.append(first_reports(first))
        if case.has_s3:
            promises.append(last_checkpoint(scene))
        victim = scene.victims[writer]
        promises.append(Promise("stays up", victim.alive and victim.pid == pid, f"pid {victim.pid}"))
        growth = watch.memory - memory
        promises.append(Promise("memory", growth <= _GROWTH_BYTES, f"{growth / 2**20:+.0f} MB"))
        promises.append(
            Promise("inbox", watch.backlog <= INBOX_LIMIT + _HANDED_OVER, f"{watch.backlog:,} at most")
        )
        promises += _pressure(case, scene, told, watch)
        promises.append(Promise("all delivered", drained, "yes" if drained else "no"))
        books = ask(f"http://127.0.0.1:{scene.control}/books")
        with scene.ledger() as ledger:
            if case.takes_over:
                promises += _one_writer(case, scene, ledger)
            if case.server == "clock":
                promises += _clock(scene, ledger)
            for victim in scene.victims:
                if victim.alive:
                    victim.stop()
            scene.stop_simulator()
            journal = scene.stack.state.folder("simulator") / "journal.sqlite"
            lines = compare(books, journal, ledger, scene.endpoints, [])
        outcome.differences = [
            line for line in lines if not line.balances and line.left_name != _VENUES_DUPLICATES
        ]
        if case.keeps_topics:
            promises.append(_seen_again(outcome))
        promises.append(Promise("books", not outcome.differences, f"{len(outcome.differences)} differences"))
        outcome.reports = sum(v["reports_sent"] + v["malformed_sent"] for v in books["venues"].values())
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _fail(case: Case, scene: Scene, outcome: Outcome) -> dict[int, int]:
    """Let it fail, for as long as the case says; give what REST callers were told meanwhile."""
    case.fail(scene)
    time.sleep(min(case.seconds, _SETTLE_SECONDS))
    before = dict(scene.answers.counts)
    figures = {"landed": landed(scene, 0), "published": published(scene, 0)} if case.goes_on else {}
    time.sleep(max(0.0, case.seconds - _SETTLE_SECONDS))
    told = scene.answers.since(before)
    for name in case.goes_on:
        more = (landed if name == "landed" else published)(scene, 0) - figures[name]
        outcome.promises.append(Promise(f"{name} meanwhile", more > 0, f"{more:,}"))
    if not case.takes_over:
        case.mend(scene)
    return told


def _pressure(case: Case, scene: Scene, told: dict[int, int], watch: _Watch) -> list[Promise]:
    """Nobody was told that something has landed which has not, and callers were told when to come again."""
    said = ", ".join(f"{status}: {number}" for status, number in told.items()) or "none"
    found = []
    if case.blocks:
        found.append(Promise("no answer too early", told.get(200, 0) == 0, said))
    if case.refuses:
        refused = told.get(503, 0) + told.get(429, 0)
        is_complete = scene.answers.without_retry_after == 0
        found.append(Promise("callers come again", refused > 0 and is_complete, said))
    if case.fills_inbox:
        found.append(Promise("feeds wait", watch.backlog >= INBOX_LIMIT, f"{watch.backlog:,} of {INBOX_LIMIT}"))
    return found


def _seen_again(outcome: Outcome) -> Promise:
    """Take out of the differences what the broker shows of one transaction that was never committed.

    Tansu 0.6 with its topics on S3 does so to consumers that read committed, also without having been stopped: the
    publisher does not find these messages, writes them again, and they show with the next commit. In memory it
    does not: there the crash campaign asks for exactly once.
    """
    again = sum(line.left - line.right for line in outcome.differences if line.right_name == _DISTINCT)
    shown = [
        line
        for line in outcome.differences
        if (line.right_name == _DISTINCT and line.left > line.right)
        or (line.right_name == "messages on Kafka" and line.right > line.left)
        or line.left_name == "out of order for their key"
    ]
    if again > 0:
        outcome.differences = [line for line in outcome.differences if line not in shown]
    return Promise("seen again", again <= _UNCOMMITTED, f"{again:,} messages that were never committed")


def _one_writer(case: Case, scene: Scene, ledger: psycopg.Connection[Any]) -> list[Promise]:
    """The first process is gone or stands by; the token has moved once."""
    status = scene.status(0) if scene.victims[0].alive else {}
    row = ledger.execute("SELECT token FROM execution.leases").fetchone()
    token = row[0] if row is not None else 0
    woken = "gone" if not scene.victims[0].alive else "stands by" if not status.get("ready") else "writes"
    expected = "gone" if case.mend.__name__ == "_nothing" else "stands by"
    return [Promise("the other", woken == expected, woken), Promise("token", token == _TAKEN_TWICE, str(token))]


def _clock(scene: Scene, ledger: psycopg.Connection[Any]) -> list[Promise]:
    halted = scene.status().get("halted", {})
    row = ledger.execute("SELECT count(*) FROM execution.halts").fetchone()
    assert row is not None, "a count is one row"
    return [Promise("nobody is halted", not halted and row[0] == 0, f"{row[0]} halts")]


def _drain(scene: Scene, writer: int) -> bool:
    """No more orders; wait until all is delivered, or nothing moves any more."""
    ask(f"http://127.0.0.1:{scene.control}/stop-orders", post=True)
    quiet, last, moved = 0, (-1, -1), time.monotonic()
    while time.monotonic() < moved + _STUCK_SECONDS:
        books = ask(f"http://127.0.0.1:{scene.control}/books")
        left = sum(venue["outstanding"] for venue in books.get("venues", {}).values())
        now = (left, published(scene, writer))
        still = books.get("state") == "drained" and not scene.status(writer).get("backlog", 1) and now == last
        quiet = quiet + 1 if still else 0
        if quiet >= _QUIET_LOOKS:
            return True
        if now != last:
            last, moved = now, time.monotonic()
        time.sleep(_DRAIN_LOOK_SECONDS)
    return False


def _seconds(recovery: float | None) -> str:
    return "never" if recovery is None else f"{recovery:.2f} s"
