"""What the ledger holds of an order, read in one transaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ledger.db import rows
from ledger.db.sql import load_queries
from ledger.domain.book import Reference, references_of, references_of_state
from ledger.domain.identity import out_of_order_id
from ledger.domain.records import Captured, CapturedOrder, OrderIntent, Resolution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

Row = dict[str, Any]

_SQL = load_queries("explain")
_CONNECT_SECONDS = 5
_SHORTEST_NAME = 4  # a shorter one is in the bytes of other orders' messages, too
_NAMING_TAGS = (11, 17, 19, 41)  # FIX: ClOrdID, ExecID, ExecRefID, OrigClOrdID
_SUBJECT = re.compile(r"(?P<venue>.+?):(?P<kind>[cv]):(?P<reference>.+)", re.DOTALL)


class Stored(msgspec.Struct, frozen=True):
    """A report with how it came, and when its transaction committed it."""

    captured: Captured | CapturedOrder
    landed_at: Any


class Waiting(msgspec.Struct, frozen=True):
    """A report with no order yet, since when, and what it waits for."""

    stored: Stored
    reason: str | None
    since_ns: int | None


class OrderFacts(msgspec.Struct):
    """One order: its facts as records, and the rows that follow from them."""

    correlation_id: str
    intents: list[OrderIntent]
    learned: list[Reference]
    reports: list[Stored]
    executions: list[Row]
    metrics: list[Row]
    totals: list[Row]
    pending: list[Row]
    breaks: list[Row]
    votes: list[Row]
    notes: list[Row]
    resolutions: list[Resolution]
    events: list[Row]
    dead_letters: list[Row]


class Answer(msgspec.Struct):
    """What a name stands for: orders, and reports that have none yet."""

    orders: list[OrderFacts]
    waiting: list[Waiting]


def explain(url: str, name: str, venue: str | None = None) -> Answer:
    """Find what ``name`` stands for, an ExecID, ClOrdID, OrderID or correlation id. Raises ``psycopg.Error``."""
    with (
        psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return _Reading(connection).answer(name, venue)


class _Reading:
    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._owned: dict[Reference, set[str]] = {}

    def answer(self, name: str, venue: str | None) -> Answer:
        subject = _SUBJECT.fullmatch(name)
        if subject is not None and venue in {None, subject["venue"]}:
            found = self._of_subject(subject["venue"], subject["kind"], subject["reference"])
            if found.orders or found.waiting:
                return found
        given = {"name": name, "venue": venue, "kind": None}
        names = {row["correlation_id"] for row in self._fetch("named", **given)}
        reports = [*self._fetch("reports_named", **given), *self._waiting(name, venue, None)]
        return self._answer(names, reports, given)

    def _of_subject(self, venue: str, kind: str, reference: str) -> Answer:
        """What a break calls an order that nobody routed: its reports that wait, or the order that they found."""
        given: dict[str, str | None] = {"name": reference, "venue": venue, "kind": kind}
        return self._answer(self._owners([(venue, kind, reference)]), self._waiting(reference, venue, kind), given)

    def _waiting(self, name: str, venue: str | None, kind: str | None) -> list[Row]:
        return self._fetch("reports_waiting", name=name, venue=venue, kind=kind)

    def _answer(self, names: set[str], reports: list[Row], given: dict[str, str | None]) -> Answer:
        """Orders by ``names`` and by what the reports are tied to; the reports that are tied to none wait."""
        waiting: dict[tuple[str, str], Waiting] = {}
        for row in reports:
            if row["order_id"] is not None:
                names.add(row["order_id"])
            elif row["kind"] != "bust" or row["waits_for"] is not None:  # a second bust is in no chain
                stored = Stored(rows.read_captured(row), row["landed_at"])
                key = (row["report_id"].hex, row["content"].hex)
                waiting[key] = Waiting(stored, row["waits_for"], row["since_ns"])
        for row in self._fetch("order_reports_named", **given):
            captured = rows.read_captured_order(row)
            owners = self._owners(references_of_state(captured.report))
            names.update(owners)
            if not owners:
                found = Waiting(Stored(captured, row["landed_at"]), "awaiting_intent", captured.received_ns)
                waiting[row["report_id"].hex, ""] = found
        return Answer([self._order(each) for each in sorted(names)], list(waiting.values()))

    def _owners(self, references: Iterable[Reference]) -> set[str]:
        """The order of the first reference that has one."""
        for reference in references:
            if reference not in self._owned:
                found = self._fetch("owners", **_columns([reference]))
                self._owned[reference] = {row["correlation_id"] for row in found}
            if self._owned[reference]:
                return set(self._owned[reference])
        return set()

    def _order(self, correlation_id: str) -> OrderFacts:
        of_order = {"correlation_id": correlation_id}
        intents = [rows.read_intent(row) for row in self._fetch("orders", **of_order)]
        learned = [(r["venue"], r["kind"], r["reference"]) for r in self._fetch("references", **of_order)]
        executions = self._fetch("executions", **of_order)
        pending = self._fetch("pending", **of_order)
        references = list(dict.fromkeys([*(r for i in intents for r in references_of(i)), *learned]))
        fills = self._fills(executions, pending)
        order_reports = self._order_reports(references)
        subjects = [correlation_id, *(":".join(reference) for reference in references)]
        breaks = self._fetch("breaks", subjects=subjects)
        break_ids = [row["break_id"] for row in breaks]
        reports = [*fills, *order_reports]
        report_ids = [row["execution_id"] for row in executions]
        since = min((s.landed_at for s in reports), default=None)
        letters = [out_of_order_id(s.captured.report.report_id) for s in reports]
        # what is said of a report before its order is known has the report's id for its key, a letter its own
        keys = [*subjects, *(s.captured.report.report_id for s in reports), *letters]
        return OrderFacts(
            correlation_id=correlation_id,
            intents=intents,
            learned=learned,
            reports=sorted(reports, key=_in_venue_order),
            executions=executions,
            metrics=self._fetch("metrics", report_ids=report_ids),
            totals=self._fetch("totals", **of_order),
            pending=pending,
            breaks=breaks,
            votes=self._fetch("votes", break_ids=break_ids),
            notes=self._fetch("notes", break_ids=break_ids),
            resolutions=[rows.read_resolution(row) for row in self._fetch("resolutions", **of_order)],
            events=[] if since is None else self._fetch("events", keys=keys, since=since.date()),
            dead_letters=self._dead_letters(intents, reports, letters),
        )

    def _fills(self, executions: list[Row], pending: list[Row]) -> list[Stored]:
        wanted = {row["execution_id"] for row in executions}
        wanted.update(report_id for row in executions for report_id in row["chain"] or ())
        wanted.update(row["report_id"] for row in pending if row["reason"] == "awaiting_reference")
        found = self._fetch("fills", report_ids=list(wanted))
        for venue in {row["venue"] for row in found}:
            named = [row["exec_id"] for row in found if row["venue"] == venue]
            ids = {(row["cl_ord_id"], row["venue_order_id"]) for row in found if row["venue"] == venue}
            found += [
                row
                for row in self._fetch("busts", venue=venue, exec_ids=named)
                if row["report_id"] not in wanted and (row["cl_ord_id"], row["venue_order_id"]) in ids
            ]
        return [Stored(rows.read_captured(row), row["landed_at"]) for row in found]

    def _order_reports(self, references: list[Reference]) -> list[Stored]:
        known = set(references)
        found = []
        for row in self._fetch("order_reports", **_columns(references)):
            captured = rows.read_captured_order(row)
            first = next((r for r in references_of_state(captured.report) if self._is_owned(r, known)), None)
            if first in known:
                found.append(Stored(captured, row["landed_at"]))
        return found

    def _is_owned(self, reference: Reference, known: set[Reference]) -> bool:
        return reference in known or bool(self._owners([reference]))

    def _dead_letters(self, intents: list[OrderIntent], reports: list[Stored], ids: list[str]) -> list[Row]:
        names = {intent.msg_id for intent in intents}
        names.update(s.captured.report.exec_id or "" for s in reports)
        wanted = sorted({text.encode() for name in names for text in _as_written(name)})
        return self._fetch("dead_letters", names=wanted, ids=ids)

    def _fetch(self, query: str, **arguments: object) -> list[Row]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_SQL[query].encode(), arguments).fetchall()


def _as_written(name: str) -> list[str]:
    """Give how bytes hold a name and nothing else: a long one as it is, a short one as a field's whole value."""
    if len(name) >= _SHORTEST_NAME:
        return [name]
    if not name:
        return []
    fields = [f"{sign}{tag}={name}{sign}" for tag in _NAMING_TAGS for sign in ("\x01", "|")]
    return fields if name.isdigit() else [*fields, f'"{name}"']  # "7" may be any quantity


def _columns(references: list[Reference]) -> dict[str, list[str]]:
    return {
        "venues": [reference[0] for reference in references],
        "kinds": [reference[1] for reference in references],
        "references": [reference[2] for reference in references],
    }


def _in_venue_order(stored: Stored) -> tuple[int, int, int, str]:
    report = stored.captured.report
    exec_id = report.exec_id or ""
    return report.transact_ns, stored.captured.received_ns, len(exec_id), exec_id
