"""The invariants, checked after every commit, acknowledgement and publication, and the books at the end."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.db import rows
from ledger.domain.book import Book
from ledger.domain.decide import Fact, decide
from ledger.domain.digest import digest_of, metric_text
from ledger.domain.events import FILL_EVENTS
from simulation.journal import quantity_of
from simulation.process import FIX, POLICY, WEBSOCKET
from streaming.topics import MARKET_DATA, ORDER_INTENT, topics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ledger.domain.records import SlippageMetric
    from simulation.broker import Entry
    from simulation.journal import Journal, Key, Made
    from simulation.postgres import Commit, Postgres
    from simulation.tables import Row
    from simulation.venues import FixVenue, RestVenue, WebSocketVenue

# A fill is restated for a minute after it has landed, whatever restarts (ledger.db.reading); then by the day's run
_RESTATED_NS = 60 * 1_000_000_000
_WS_FEED, _FIX_FEED = f"{WEBSOCKET}.ws", f"{FIX}.fix"


class Violation(Exception):  # noqa: N818  it is what a run finds, and is told to people by this name
    """An invariant does not hold; the text says which, and of what."""


class Books:
    """Holds what was landed, acknowledged and published against what was made."""

    def __init__(
        self, journal: Journal, server: Postgres, websocket: WebSocketVenue, fix: FixVenue, rest: RestVenue,
        fail: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._server = server
        self._websocket = websocket
        self._fix = fix
        self._rest = rest
        self._fail = fail
        self.landed: set[Key] = set()
        self.landed_of: dict[str, list[Made]] = defaultdict(list)
        self.report_ids: dict[Key, str] = {}
        self._report_ids: set[str] = set()
        self.holds: dict[str, set[str]] = defaultdict(set)  # open breaks by order, by what the events say
        self.messages: set[tuple[str, str]] = set()
        self.routed: set[str] = set()
        self.snapshots: set[str] = set()
        self._snapshot_ns: dict[str, int] = {}  # when it was landed
        self.inbound: dict[str, list[Any]] = defaultdict(list)  # topic/partition -> what each offset is
        self.positions: dict[tuple[str, str], tuple[str, int]] = {}
        self.events: dict[str, tuple[int, int, str, str]] = {}
        self.published: set[tuple[str, str]] = set()
        self._last_of_key: dict[tuple[str, str], tuple[int, int]] = {}
        self.checks = 0

    def note_inbound(self, entry: Entry, what: Any) -> None:
        """Remember what stands at an offset of an inbound topic."""
        self.inbound[f"{entry.topic}/{entry.partition}"].append(what)

    def committed(self, commit: Commit) -> None:
        """Check a transaction of the ledger."""
        touched: dict[str, None] = {}
        for row in commit.inserted.get("orders", ()):
            self.messages.add((row["venue"], row["msg_id"]))
            if row["action"] == "new":  # what its fills name
                self.routed.add(row["correlation_id"])
            touched[row["correlation_id"]] = None
        for row in commit.inserted.get("benchmark_snapshots", ()):
            self.snapshots.add(row["snapshot_id"])
            self._snapshot_ns[row["snapshot_id"]] = self._server.loop.time_ns()
        for row in commit.inserted.get("fills", ()):
            self._check_fill(row, touched)
        for name in touched:
            self._check_quantity(name)
        self._check_events(commit)
        for row in commit.moved:
            self._check_position(row)

    def _check_fill(self, row: Row, touched: dict[str, None]) -> None:
        self.checks += 1
        key = (row["venue"], row["exec_id"], row["kind"])
        made = self._journal.reports.get(key)
        if made is None:
            self._fail(f"no duplicate row: {key} was never made by its venue")
        elif key in self.landed:
            self._fail(f"no duplicate row: {key} is in fills a second time")
        else:
            self.landed.add(key)
            self.report_ids[key] = row["report_id"].hex
            self._report_ids.add(row["report_id"].hex)
            self.landed_of[made.correlation_id].append(made)
            touched[made.correlation_id] = None

    def _check_quantity(self, name: str) -> None:
        self.checks += 1
        expected = Decimal(0)
        if name in self.routed:
            expected = quantity_of(self.landed_of[name])
        executions = self._server.tables["executions"].where("correlation_id", [name])
        actual = sum((e["last_qty"] for e in executions if e["status"] == "active"), Decimal(0))
        if actual != expected:
            self._fail(f"conservation of quantity: order {name}: executions {actual}, landed reports {expected}")

    def _check_events(self, commit: Commit) -> None:
        for row in sorted(commit.inserted.get("audit_events", ()), key=lambda event: event["position"]):
            self.checks += 1
            event_id, kind, name = row["event_id"].hex, row["event_type"], row["key"]
            if event_id in self.events:
                self._fail(f"each event once: {kind} {event_id} of {name} is decided a second time")
            self.events[event_id] = (row["xid"], row["position"], kind, name)
            if kind.startswith("break_"):
                self._note_break(kind, name, msgspec.json.decode(row["body"])["subject"])
            elif kind in FILL_EVENTS and self.holds[name] and event_id in self._report_ids:
                # a correction of what was told before goes out on hold, too, and is no report
                self._fail(f"holds respected: {kind} {event_id} of {name} is told, the order is on hold")

    def _note_break(self, kind: str, name: str, break_id: str) -> None:
        if kind == "break_opened":
            self.holds[name].add(break_id)
        elif kind != "break_changed":
            self.holds[name].discard(break_id)

    def _check_position(self, row: Row) -> None:
        self.checks += 1
        stream = (row["feed"], row["stream"])
        incarnation, last = self.positions.get(stream, (row["incarnation"], 0))
        value: int = row["position"]
        if incarnation == row["incarnation"] and value < last:
            self._fail(f"positions only grow: {stream} went from {last} to {value}")
        self.positions[stream] = (row["incarnation"], value)
        for number in range(last, value + 1):
            missing = self._missing_at(stream, number)
            if missing is not None:
                self._fail(f"positions are never beyond the rows: {stream} is at {value}, {missing} is not landed")
                return

    def _missing_at(self, stream: tuple[str, str], number: int) -> object:
        """Give what a number of a stream holds and the ledger does not; numbers of venues begin at 1."""
        feed, name = stream
        if feed == _WS_FEED:
            if number > len(self._websocket.frames):
                return f"frame {number}, which was never sent,"
            made = self._websocket.frames[number - 1] if number else ()
            return next((m.key for m in made if m.key not in self.landed), None)
        if feed == _FIX_FEED:
            if number > len(self._fix.messages):
                return f"message {number}, which was never sent,"
            key = self._fix.messages[number - 1].key if number else None
            return None if key is None or key in self.landed else key
        what = self.inbound[name][number]
        known: Any = self.messages if name.startswith(ORDER_INTENT) else self.snapshots
        assert name.startswith((ORDER_INTENT, MARKET_DATA)), name
        return None if what in known else what

    def acknowledged(self, reports: Sequence[Made]) -> None:
        """Check what a REST caller was told."""
        for made in reports:
            self.checks += 1
            if made.key not in self.landed:
                self._fail(f"nothing is acknowledged before it is committed: {made.key} was answered with 200")

    def told(self, entries: list[Entry]) -> None:
        """Check a committed transaction of the broker."""
        for entry in entries:
            self.checks += 1
            event_id = dict(entry.headers)["ce_id"].decode()
            found = self.events.get(event_id)
            if found is None:
                self._fail(f"no event before its commit: {entry.topic} has {event_id}")
                continue
            if (entry.topic, event_id) in self.published:
                self._fail(f"each event once: {entry.topic} has {found[2]} {event_id} of {found[3]} twice")
            self.published.add((entry.topic, event_id))
            place, last = found[:2], self._last_of_key.get((entry.topic, entry.key), (0, 0))
            if place < last:
                self._fail(f"in order per key: {entry.topic}, {entry.key}: {found[2]} {event_id} comes too late")
            self._last_of_key[entry.topic, entry.key] = place

    def unsettled(self) -> str | None:
        """Say what is not where it belongs yet; None at rest."""
        return next(self._unsettled(), None)

    def _unsettled(self) -> Iterator[str]:
        journal = self._journal
        for what, made, known in (
            ("reports", journal.reports.keys(), self.landed),
            ("order intents", journal.messages, self.messages),
            ("snapshots", journal.snapshots, self.snapshots),
        ):
            if len(made) != len(known):
                missing = sorted(str(one) for one in set(made) - set(known))
                yield f"{len(made)} {what} were made, {len(known)} are landed; missing {missing[:3]}"
        if self._rest.unacknowledged:
            yield f"{self._rest.unacknowledged} REST bodies are not acknowledged"
        for feed, sent in ((_WS_FEED, self._websocket.frames), (_FIX_FEED, self._fix.messages)):
            at = next((value for (name, _), (_, value) in self.positions.items() if name == feed), 0)
            if at != len(sent):
                yield f"{feed} is at {at} of {len(sent)}"
        for event_id, (_, _, event_type, key) in self.events.items():
            for topic in topics_of(event_type):
                if (topic, event_id) not in self.published:
                    yield f"{event_type} {event_id} of {key} is not on {topic}"

    def check_end(self) -> str:
        """Hold the ledger at rest against its derivation from the set of facts; give the digest."""
        self._check_told()
        tables = self._server.tables
        facts: list[Fact] = [rows.read_intent(row) for row in tables["orders"]]
        facts += [rows.read_snapshot(row) for row in tables["benchmark_snapshots"]]
        facts += [rows.read_captured(row) for row in tables["fills"]]
        derived = decide(Book(), facts, POLICY)
        live = [rows.read_execution(row) for row in tables["executions"]]
        metrics = [rows.read_metric(row) for row in tables["slippage_metrics"]]
        if digest_of(live, ()) != digest_of(derived.executions, ()):
            self._fail("the executions differ from those derived from the set of reports")
        self._check_slippages(metrics, derived.metrics)
        if tables["dead_letters"].rows and any(d["reason"] != "out_of_order" for d in tables["dead_letters"]):
            self._fail(f"dead letters of good messages: {[d['reason'] for d in tables['dead_letters']]}")
        return digest_of(live, metrics)

    def _check_slippages(self, live: list[SlippageMetric], derived: list[SlippageMetric]) -> None:
        """Compare slippages, but for those whose snapshot came later than a running process still restates."""
        known = {(metric.execution_id, metric.kind): metric_text(metric) for metric in live}
        wanted = {(metric.execution_id, metric.kind): metric_text(metric) for metric in derived}
        if known.keys() != wanted.keys():
            self._fail(f"slippages: {sorted(known.keys() ^ wanted.keys())[:3]} are on one side only")
        snapshot_of = {(metric.execution_id, metric.kind): metric.snapshot_id for metric in derived}
        landed_at = {row["report_id"].hex: row["landed_at"] for row in self._server.tables["fills"]}
        for key, metric in sorted(wanted.items()):
            came_ns = self._snapshot_ns.get(snapshot_of[key] or "", 0)
            in_time = came_ns <= landed_at[key[0]] + _RESTATED_NS
            if known.get(key) != metric and in_time:
                self._fail(f"slippages are a function of the set of facts: {known.get(key)!r}, derived {metric!r}")

    def _breaks_of(self, name: str) -> Iterator[Row]:
        return (b for b in self._server.tables["breaks"] if b["correlation_id"] == name and b["ended_at"] is None)

    def _check_told(self) -> None:
        """Every report of an order that is not on hold has been told, each once."""
        for name, landed in self.landed_of.items():
            stands = {b["break_id"].hex for b in self._breaks_of(name)}
            if stands != self.holds[name]:
                self._fail(f"breaks are told: of {name} {sorted(stands)} stand, told {sorted(self.holds[name])}")
            if name not in self.routed or stands:
                continue
            for made in landed:
                self.checks += 1
                if self.report_ids[made.key] not in self.events:
                    self._fail(f"every event is told: {made.key} of {name} is landed and has no event")
