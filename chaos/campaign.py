"""The campaign: servers, practice venues and load up, the kills one after another, then the books."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg

from chaos import backups, naming, scenery
from chaos.awaits import sites
from chaos.books import Sample, compare, sample
from chaos.happenings import Happenings
from chaos.killing import Killer
from chaos.nursery import Nursery
from chaos.report import Report
from chaos.resting import await_ready, behind, catch_up, drain
from chaos.victim import Victim
from ledger.db.migrate import migrate
from operations.embedded import EmbeddedStack, ServerName
from operations.main_job.figures import ask
from operations.main_job.logins import make_logins
from operations.main_job.plan import Plan
from operations.main_job.preparing import make_bucket
from operations.main_job.programs import LEDGER_DATABASE, PROJECT, Ports, simulator_program, stream_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from chaos.plan import Kill
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder
    from operations.main_job.balance import Line
    from operations.main_job.programs import Program

# lives of a second or two never get to the end of what waits: without air, market data falls minutes behind, and
# after a restart a snapshot that comes over a minute late restates nothing
_AIR_EVERY, _BEHIND_SECONDS = 20, 15.0
_QUERY_SECONDS = 300  # of one question of the books
_TELL_SECONDS = 30.0
_REPORTS = """
SELECT (SELECT count(DISTINCT report_id) FROM execution.fills) + count(*) FROM execution.dead_letters
"""
# what an outage of ours delays is no break
_SETTINGS = {
    "EXECUTION_AGENT_GRACE__GAP_SECONDS": "7200",
    "EXECUTION_AGENT_GRACE__INTENT_SECONDS": "7200",
    "EXECUTION_AGENT_GRACE__REFERENCE_SECONDS": "7200",
    "EXECUTION_AGENT_KAFKA__AHEAD_SECONDS": "10",  # lives of two seconds would leave market data behind for good
}
# an order that has waited for a second is late, and hedged; a confirmation that takes half a second halts its
# venue, which resumes soon: some of each in every life
_VENUE_SETTINGS = {
    "DELAY__ENABLED": "true",
    "DELAY__LIMIT_SECONDS": "1",
    "DELAY__HEDGE_LIMITS": '{"USDT": "0"}',
    "HALT__SLA_MS": "500",
    "HALT__WINDOW_SECONDS": "0.5",
    "HALT__IN_A_ROW": "1",
    "HALT__RESUME_RATIO": "1",
    "HALT__RESUME_SECONDS": "0.2",
    "HALT__RESUME_REPORTS": "1",
}
for _venue in ("ALPHA", "BRAVO", "CHARLIE"):
    _SETTINGS |= {f"EXECUTION_AGENT_VENUES__{_venue}__{name}": value for name, value in _VENUE_SETTINGS.items()}


class Campaign:
    """One campaign in a state folder of its own."""

    def __init__(
        self,
        state: Path,
        kills: list[Kill],
        *,
        seed: int,
        orders: float,
        minutes: float | None = None,
        tell: Callable[[str], None],
    ) -> None:
        self._plan = Plan(state, None, seed, (), 1.0, True, orders, False)
        self._kills = kills
        self._tell = tell
        self._orders = orders
        self._minutes = minutes
        self._killer = Killer()
        self._in_backlog: Counter[str] = Counter()
        self._kill_seconds = 0.0
        self._missing: list[str] = []
        self._person = ""
        self._samples: list[Sample] = []

    def run(self) -> Report:
        """Run it to its end."""
        began = time.monotonic()
        servers = [
            ServerName.POSTGRES, ServerName.VALKEY, ServerName.BROKER, ServerName.S3, ServerName.VAULT,
        ]  # fmt: skip
        stack = EmbeddedStack(self._plan.state, servers)
        endpoints = stack.start()
        simulator: Program | None = None
        victim: Victim | None = None
        nursery = Nursery(stack.state.log("nursery"))
        happenings: Happenings | None = None
        try:
            prepare(endpoints, stack.state)
            make_bucket(endpoints)
            self._person = scenery.make_person(endpoints)
            secrets = scenery.Secrets(endpoints)
            happenings = Happenings(endpoints, stack.state, secrets)
            ports = Ports(stack.state)
            stream_program(self._plan, stack.state, endpoints, ports)  # writes its settings
            folder = stack.state.folder("stream")
            settings = environment(folder) | backups.settings(stack.state) | secrets.settings(endpoints)
            victim = Victim(folder, stack.state.log("stream"), settings, nursery)
            simulator = simulator_program(self._plan, stack.state, endpoints, ports)
            backups.mirror(stack.state)
            victim.start()
            await_ready(ports, victim)
            simulator.start()
            with psycopg.connect(endpoints.postgres_url(LEDGER_DATABASE), autocommit=True) as connection:
                connection.execute(f"SET statement_timeout = '{_QUERY_SECONDS}s'".encode())
                self._kill_all(victim, connection, ports, endpoints, happenings)
                self._tell("no more kills: the venues deliver what is outstanding")
                drained = drain(ports, victim, connection)
                if not drained:
                    self._missing = naming.standing(ports, victim)
                books = ask(f"http://127.0.0.1:{ports.control}/books")
                victim.stop()
                simulator.ask_to_stop()
                simulator.wait_stopped()
                self._tell("balancing the books")
                journal = stack.state.folder("simulator") / "journal.sqlite"
                lines = compare(books, journal, connection, endpoints, self._samples)
                if not (drained and all(line.balances for line in lines)):
                    self._missing += naming.missing(journal, connection, endpoints)
                return self._report(time.monotonic() - began, lines, books, connection, drained=drained)
        finally:
            if happenings is not None:
                happenings.close()
            _end(victim, nursery, simulator)
            stack.stop()

    def _kill_all(
        self,
        victim: Victim,
        connection: psycopg.Connection[Any],
        ports: Ports,
        endpoints: Endpoints,
        happenings: Happenings,
    ) -> None:
        """Each kill ends a life that began armed with it; the life before the first ends in peace."""
        time.sleep(1.0)
        victim.stop()
        every = max(1, len(self._kills) // 20)
        began = told = time.monotonic()
        for number, kill in enumerate(self._kills, start=1):
            self._set_scene(kill, ports, endpoints)
            victim.start(kill, happenings.begin(kill.scenes))
            try:
                self._killer.kill(victim, kill, ports)
            finally:
                happenings.end()
            self._samples.append(sample(connection))
            if scenery.outstanding(ports) >= scenery.MANY:
                self._in_backlog[kill.name] += 1
            if number < len(self._kills) and (number % _AIR_EVERY == 0 or behind(connection) > _BEHIND_SECONDS):
                victim.start()
                catch_up(ports, victim)
                victim.kill(group=True)
                self._killer.done["after catching up"] += 1
            spent = time.monotonic() - began
            self._kill_seconds = spent / number
            if self._minutes is not None and spent > self._minutes * 60:
                self._tell(f"{number} of {len(self._kills)} kills in {self._minutes:g} min: no more of them")
                break
            if number % every == 0 or time.monotonic() > told + _TELL_SECONDS:
                told = time.monotonic()
                missed, backlog = sum(self._killer.missed.values()), sum(self._in_backlog.values())
                self._tell(
                    f"{number} of {len(self._kills)} kills, {self._kill_seconds:.1f} s each, {missed} points not "
                    f"passed in time, {backlog} in a backlog"
                )
        victim.start()

    def _set_scene(self, kill: Kill, ports: Ports, endpoints: Endpoints) -> None:
        """Make what the kill's life is to find; nobody lives now."""
        if kill.backlog:
            scenery.pile_up(ports, self._orders)
        if "requests" in kill.scenes:
            scenery.make_requests(self._person)
        if "topic" in kill.scenes:
            scenery.make_topic_again(endpoints)

    def _report(
        self,
        seconds: float,
        lines: list[Line],
        books: dict[str, Any],
        connection: psycopg.Connection[Any],
        *,
        drained: bool,
    ) -> Report:
        def number(query: str) -> int:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None, "a count is one row"
            return int(row[0] or 0)

        killer = self._killer
        return Report(
            seed=self._plan.seed,
            seconds=round(seconds, 1),
            kills=dict(killer.done),
            missed=dict(killer.missed),
            restarts=sum(killer.done.values()) + sum(killer.missed.values()),
            in_backlog=dict(self._in_backlog),
            kill_seconds=round(self._kill_seconds, 2),
            awaits=len(sites()),
            awaits_hit=killer.awaits_hit,
            awaits_missed=sorted(killer.awaits_missed),
            sent=sum(
                venue["reports_sent"] + venue["malformed_sent"]
                for name, venue in books["venues"].items()
                if backups.venue_of(name) == name
            ),
            landed=number(_REPORTS),
            duplicates=number("SELECT sum(duplicates) FROM execution.feed_counts"),
            events=number("SELECT count(*) FROM execution.audit_events"),
            switches=number("SELECT count(*) FROM execution.feed_switches"),
            returns=number("SELECT count(returned_ns) FROM execution.feed_switches"),
            drained=drained,
            lines=lines,
            missing=self._missing,
        )


def prepare(endpoints: Endpoints, state: StateFolder) -> None:
    """Make the ledger's database, unless an earlier campaign has left it in this state folder."""
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (LEDGER_DATABASE,)).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {LEDGER_DATABASE}".encode())
    migrate(endpoints.postgres_url(LEDGER_DATABASE))
    make_logins(endpoints, state)


def _end(victim: Victim | None, nursery: Nursery, simulator: Program | None) -> None:
    if victim is not None and victim.alive:
        victim.kill(group=True)
    nursery.__exit__()
    if simulator is not None:
        simulator.ask_to_stop()
        simulator.wait_stopped()


def environment(folder: Path) -> dict[str, str]:
    """What the streaming process sees of ours, and its settings' place."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {
        **kept,
        **_SETTINGS,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": str(PROJECT),
        "EXECUTION_AGENT_CONFIG": str(folder / "stream.toml"),
    }
