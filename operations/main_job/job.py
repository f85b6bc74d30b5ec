"""Start everything, watch it, stop it in order, balance the books."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from rich.live import Live

from operations.embedded import EmbeddedError, EmbeddedStack
from operations.main_job.balance import Line, balance
from operations.main_job.board import draw
from operations.main_job.dagster_day import Day, wait_for_days
from operations.main_job.figures import Figures, Observer, ask
from operations.main_job.preparing import prepare
from operations.main_job.programs import (
    LEDGER_DATABASE,
    Ports,
    Program,
    analysts_program,
    dagster_programs,
    simulator_program,
    stream_program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from operations.embedded.endpoints import Endpoints
    from operations.main_job.plan import Plan

_LOOK_SECONDS = 0.5
_READY_SECONDS = 60.0
_DRAIN_SECONDS = 90.0


class Pages(msgspec.Struct, frozen=True):
    """Where a person looks."""

    dagster: str | None
    stream: str
    simulator: str
    postgres: str
    data: str
    logs: str
    analysts: str | None = None

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name and place, for the terminal."""
        if self.dagster is not None:
            yield "Dagster (lineage, runs, checks)", self.dagster
        if self.analysts is not None:
            yield "Dagster, read-only, for analysts", self.analysts
        yield "streaming: metrics, health", f"{self.stream}/metrics  {self.stream}/readyz"
        yield "simulator's books", f"{self.simulator}/books"
        yield "Postgres", self.postgres
        yield "data, logs", f"{self.data}  {self.logs}"


class Report(msgspec.Struct, frozen=True):
    """How a run ended."""

    seconds: float
    lines: list[Line]
    days: list[Day]
    latency_ms: dict[str, dict[str, float]]
    faults: dict[str, int]
    restarts: dict[str, int]
    drained: bool
    balanced: bool


class MainJob:
    """One run of the main job. ``stop`` may be called from a signal handler."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._stop = threading.Event()
        self._stack = EmbeddedStack(plan.state)
        self._programs: list[Program] = []

    def stop(self, *_: object) -> None:
        """End the run at the next look."""
        self._stop.set()

    def run(self) -> Report | None:
        """Run; give the report of a bounded run, None when it was stopped before its end."""
        handlers = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return self._run()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _run(self) -> Report | None:
        began = time.monotonic()
        endpoints = self._stack.start(self._tell)
        try:
            revision = prepare(endpoints, self._stack.state)
            self._tell("schema", f"at revision {revision}")
            ports = Ports(self._stack.state)
            trust, shown = self._identity(endpoints)
            stream = stream_program(self._plan, self._stack.state, endpoints, ports, trust)
            simulator = simulator_program(self._plan, self._stack.state, endpoints, ports, shown)
            self._programs.append(stream)
            stream.start()
            self._await_ready(ports, stream)
            if self._plan.dagster:
                webserver, daemon = dagster_programs(self._stack.state, endpoints, ports, trust)
                pages = [webserver]
                if self._plan.analysts_page:
                    pages.append(analysts_program(self._stack.state, endpoints, ports))
                self._programs += [*pages, daemon]
                for program in (*pages, daemon):
                    program.start()
                self._tell("dagster", "starting, its page answers after about 20 s")
            self._programs.append(simulator)
            simulator.start()
            self._tell("simulator", "the day begins")
            return self._watch(endpoints, ports, began)
        finally:
            self._stop_all()

    def _identity(self, endpoints: Endpoints) -> tuple[list[str], dict[str, str]]:
        """Serve our identity, where the plan wants one; give settings, and what venues ask their clients for."""
        if not self._plan.identity:
            return [], {}
        from operations.main_job.identity import prepare_identity  # noqa: PLC0415

        program, lines, venues = prepare_identity(self._stack.state, endpoints)
        self._programs.append(program)
        program.start()
        self._tell(
            "identity", "served without attestation; the secrets of venues and of the process are in OpenBao"
        )
        return lines, {"ALPHA": venues.alpha, "BRAVO": venues.bravo}

    def _tell(self, name: str, message: str) -> None:
        self._console.print(f"[dim]{name:>10}[/]  {message}")

    def _await_ready(self, ports: Ports, stream: Program) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not ask(f"http://127.0.0.1:{ports.http}/status").get("ready"):
            if not stream.alive() or time.monotonic() > deadline:
                tail = "\n".join(stream.log.read_text("utf-8", "replace").splitlines()[-5:])
                raise EmbeddedError(f"the streaming process did not get ready; {stream.log} ends with:\n{tail}")
            if self._stop.is_set():
                return
            time.sleep(0.05)
        self._tell("stream", "holds the lease, feeds are starting")

    def _watch(self, endpoints: Endpoints, ports: Ports, began: float) -> Report | None:
        pages = self._pages(endpoints, ports)
        with psycopg.connect(endpoints.postgres_url(LEDGER_DATABASE), autocommit=True) as connection:
            observer = Observer(ports, connection)
            with self._live() as show:
                ends = None if self._plan.seconds is None else time.monotonic() + self._plan.seconds
                note = "Ctrl-C stops everything; a second run goes on with the same data"
                figures = observer.look()
                while not self._stop.is_set() and (ends is None or time.monotonic() < ends):
                    for program in self._programs:
                        program.keep_alive()
                    figures = observer.look()
                    show(draw(figures, pages, time.monotonic() - began, note))
                    time.sleep(_LOOK_SECONDS)
                if ends is None or self._stop.is_set():
                    return None
                drained = self._drain(ports, observer, lambda f, n: show(draw(f, pages, _since(began), n)))
                days = []
                if self._plan.dagster and not self._stop.is_set():
                    assert pages.dagster is not None
                    days = wait_for_days(
                        connection,
                        pages.dagster,
                        tell=lambda n: show(draw(figures, pages, _since(began), n)),
                        stopped=self._stop.is_set,
                    )
                figures = observer.look()
                show(draw(figures, pages, _since(began), "balancing the books"))
            if self._stop.is_set():
                return None
            return self._report(figures, connection, endpoints, days, _since(began), drained=drained)

    def _drain(self, ports: Ports, observer: Observer, show: Callable[[Figures, str], None]) -> bool:
        """Let the venues deliver what is outstanding, and everything land and be published."""
        ask(f"http://127.0.0.1:{ports.control}/stop-orders", post=True)
        deadline = time.monotonic() + _DRAIN_SECONDS
        quiet, last = 0, -1
        while time.monotonic() < deadline and not self._stop.is_set():
            figures = observer.look()
            show(figures, "the day is over: venues deliver what is outstanding")
            published = sum(figures.stream.get("published", {}).values())
            still = figures.simulator.get("state") == "drained" and not figures.stream.get("backlog", 1)
            quiet = quiet + 1 if still and published == last else 0
            last = published
            if quiet >= 4:  # two seconds in which nothing moved  # noqa: PLR2004
                return True
            time.sleep(_LOOK_SECONDS)
        return False

    def _report(
        self,
        figures: Figures,
        connection: psycopg.Connection[Any],
        endpoints: Endpoints,
        days: list[Day],
        seconds: float,
        *,
        drained: bool,
    ) -> Report:
        lines = balance(figures.simulator, connection, endpoints.kafka_bootstrap)
        good = drained and all(line.balances for line in lines)
        if self._plan.dagster:
            good = good and bool(days) and all(day.good for day in days)
        return Report(
            round(seconds, 1),
            lines,
            days,
            {name: v.get("latency_ms", {}) for name, v in figures.stream.get("venues", {}).items()},
            figures.simulator.get("faults", {}),
            {program.name: program.restarts for program in self._programs if program.restarts},
            drained,
            good,
        )

    @contextlib.contextmanager
    def _live(self) -> Iterator[Callable[[Any], None]]:
        """A table that is drawn over itself on a terminal; elsewhere a line now and then would only be noise."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with Live(console=self._console, auto_refresh=False, transient=False) as live:
            yield lambda picture: live.update(picture, refresh=True)

    def _pages(self, endpoints: Endpoints, ports: Ports) -> Pages:
        return Pages(
            f"http://127.0.0.1:{ports.webserver}" if self._plan.dagster else None,
            f"http://127.0.0.1:{ports.http}",
            f"http://127.0.0.1:{ports.control}",
            f"{endpoints.postgres_host}:{endpoints.postgres_port}/{LEDGER_DATABASE}",
            str(self._stack.state.path),
            str(self._stack.state.path / "logs"),
            f"http://127.0.0.1:{ports.analysts}" if self._plan.dagster and self._plan.analysts_page else None,
        )

    def _stop_all(self) -> None:
        """Venues first, then the streaming process, which drains, then Dagster, then the servers."""
        self._console.print("[dim]  stopping[/]")
        for program in reversed(self._programs):
            program.ask_to_stop()
            if program.name in {"simulator", "stream"}:
                program.wait_stopped()
        for program in self._programs:
            program.wait_stopped()
        self._stack.stop()


def _since(began: float) -> float:
    return time.monotonic() - began
