"""The named queries of ledger/db/sql as functions over the tables in memory.

Rows without ORDER BY come in an order that the seed draws: Postgres promises none. A query that is not here is an
error that names it, never an empty answer.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

from ledger.domain.times import utc_date
from simulation.tables import uuid_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from simulation.tables import MemoryTable, Row

_INTENT, _REFERENCE, _GAP = "awaiting_intent", "awaiting_reference", "awaiting_gap"
_SECOND = 1_000_000_000
_READ = re.compile(r"\bexecution\.(\w+)")
# of halts, fill delays, failover and audits of completeness
_LEFT_OUT = frozenset(
    {"fill_delays", "provisional_hedges", "feed_outages", "feed_switches", "completeness_findings", "halts"}
    | {"clock_alerts", "completeness_audits"}
)


class Queries:
    """Reads one ledger; ``clock`` is the server's, in nanoseconds."""

    def __init__(
        self,
        tables: dict[str, MemoryTable],
        rng: random.Random,
        clock: Callable[[], int],
        horizon: Callable[[], Row],
    ) -> None:
        self._t = tables
        self._rng = rng
        self._clock = clock
        self._horizon = horizon
        self._outbox: list[Row] = []
        self._sorted_at = -1
        self.named: dict[str, Callable[..., Iterable[Row]]] = {
            name.removeprefix("q_"): getattr(self, name) for name in dir(self) if name.startswith("q_")
        }

    def run(self, name: str, arguments: tuple[Any, ...]) -> list[Row]:
        """Give a query's rows."""
        return list(self.named[name](*arguments))

    def _any(self, rows: Iterable[Row]) -> list[Row]:
        found = list(rows)
        if len(found) > 1:
            self._rng.shuffle(found)
        return found

    def q_owners(self, venues: list[str], kinds: list[str], names: list[str]) -> Iterable[Row]:
        found: set[str] = set()
        orders, references = self._t["orders"], self._t["order_references"]
        for venue, kind, name in zip(venues, kinds, names, strict=True):
            order = orders.rows.get((venue, name)) if kind == "c" else None
            if order is not None:
                found.add(order["correlation_id"])
            named = [r for r in references if (r["venue"], r["kind"], r["reference"]) == (venue, kind, name)]
            if named:
                first = min(named, key=lambda r: (r["routed_ns"], r["msg_id"]))
                found.add(first["correlation_id"])
        return self._any(_Single({"correlation_id": owner}) for owner in sorted(found))

    def q_orders(self, names: list[str]) -> Iterable[Row]:
        return self._any(self._t["orders"].where("correlation_id", names))

    def q_executions(self, names: list[str]) -> Iterable[Row]:
        return self._any(self._t["executions"].where("correlation_id", names))

    def q_landed_lately(self, seconds: float, fills: int, orders: int) -> Iterable[Row]:
        since = self._clock() - int(seconds * _SECOND)
        lately = [f for f in self._t["fills"] if f["landed_at"] > since and f["kind"] == "fill"]
        lately = sorted(self._any(lately), key=lambda f: -f["landed_at"])[:fills]
        newest: dict[str, int] = {}
        for fill in lately:
            for execution in self._t["executions"].where("execution_id", [fill["report_id"]]):
                name = execution["correlation_id"]
                newest[name] = max(newest.get(name, 0), fill["landed_at"])
        return [{"correlation_id": n} for n, _ in sorted(newest.items(), key=lambda item: -item[1])[:orders]]

    def q_waiting_references(self, names: list[str]) -> Iterable[Row]:
        return self._any(
            {**p, "is_overdue": p["overdue_at"] is not None}
            for p in self._t["fills_pending"].where("correlation_id", names)
            if p["reason"] == _REFERENCE
        )

    def q_gaps(self, names: list[str]) -> Iterable[Row]:
        counted = {
            b["correlation_id"]
            for b in self._t["breaks"]
            if b["ended_at"] is None and b["kind"] in ("cum_qty_differs", "avg_px_differs")
        }
        return self._any(
            {**p, "is_overdue": p["overdue_at"] is not None, "is_break": p["correlation_id"] in counted}
            for p in self._t["fills_pending"].where("correlation_id", names)
            if p["reason"] == _GAP
        )

    def q_learned(self, names: list[str]) -> Iterable[Row]:
        return self._any(self._t["order_references"].where("correlation_id", names))

    def q_resolutions(self, names: list[str]) -> Iterable[Row]:
        wanted = set(names)
        found = [r for r in self._t["break_resolutions"] if r["correlation_id"] in wanted]
        return sorted(found, key=lambda r: (r["at_ns"], r["resolution_id"]))

    def q_has_order_reports(self) -> Iterable[Row]:
        return [{"has_order_reports": len(self._t["order_reports"]) > 0}]

    def q_order_reports_of(self, venues: list[str], kinds: list[str], names: list[str]) -> Iterable[Row]:
        wanted = set(zip(venues, kinds, names, strict=True))
        found = {
            r["report_id"]: r
            for r in self._t["order_reports"]
            if (r["venue"], "c", r["cl_ord_id"]) in wanted
            or (r["venue"], "c", r["orig_cl_ord_id"]) in wanted
            or (r["venue"], "v", r["venue_order_id"]) in wanted
        }
        return [found[report_id] for report_id in sorted(found)]

    def q_overdue(self, intent_before: int, reference_before: int, limit: int) -> Iterable[Row]:
        found = [
            {
                "row_id": p["report_id"],
                "reason": p["reason"],
                "order_id": p["correlation_id"],
                "since": p["since_ns"],
            }
            | fill
            for p in self._t["fills_pending"]
            if p["overdue_at"] is None
            and (
                (p["reason"] == _INTENT and p["since_ns"] < intent_before)
                or (p["reason"] == _REFERENCE and p["since_ns"] < reference_before)
            )
            for fill in self._fills_of(p)
        ]
        return sorted(self._any(found), key=lambda row: row["since"])[:limit]

    def q_overdue_gaps(self, before: int, limit: int) -> Iterable[Row]:
        found: list[Row] = []
        for p in sorted(self._gaps_before(before), key=lambda row: row["report_id"]):
            claims = sorted(self._t["fills"].where("report_id", [p["content"]]), key=lambda f: f["content"])
            found += [
                {"row_id": p["report_id"], "order_id": p["correlation_id"], "is_total": False} | f
                for f in claims[:1]
            ]
        return found[:limit]

    def q_overdue_totals(self, before: int, limit: int) -> Iterable[Row]:
        return self._any(
            {"row_id": p["report_id"], "order_id": p["correlation_id"], "is_total": True} | report
            for p in self._gaps_before(before)
            for report in self._t["order_reports"]
            if report["report_id"] == p["content"]
        )[:limit]

    def _gaps_before(self, before: int) -> list[Row]:
        pending = self._t["fills_pending"]
        return [p for p in pending if p["overdue_at"] is None and p["reason"] == _GAP and p["since_ns"] < before]

    def q_reports(self, ids: list[str]) -> Iterable[Row]:
        waiting = {(p["report_id"], p["content"]) for p in self._t["fills_pending"] if p["reason"] == _INTENT}
        found = self._t["fills"].where("report_id", _uuids(ids))
        return self._any(f for f in found if (f["report_id"], f["content"]) not in waiting)

    def q_busts_of(self, venues: list[str], exec_ids: list[str]) -> Iterable[Row]:
        wanted = set(zip(venues, exec_ids, strict=True))
        busts = (f for f in self._t["fills"] if f["kind"] == "bust")
        return self._any(f for f in busts if (f["venue"], f["exec_ref_id"]) in wanted)

    def q_metrics(self, ids: list[str]) -> Iterable[Row]:
        return self._any(self._t["slippage_metrics"].where("execution_id", _uuids(ids)))

    def q_all_pending(self, limit: int) -> Iterable[Row]:
        return self._any(
            fill | {"is_overdue": p["overdue_at"] is not None}
            for p in self._t["fills_pending"]
            if p["reason"] == _INTENT
            for fill in self._fills_of(p)
        )[:limit]

    def q_pending(self, venues: list[str], kinds: list[str], names: list[str]) -> Iterable[Row]:
        wanted = set(zip(venues, kinds, names, strict=True))
        return self._any(
            fill | {"is_overdue": p["overdue_at"] is not None}
            for p in self._t["fills_pending"]
            if p["reason"] == _INTENT
            and (
                (p["venue"], p["reference_kind"], p["reference"]) in wanted
                or (p["venue"], "v", p["venue_order_id"]) in wanted
            )
            for fill in self._fills_of(p)
        )

    def _fills_of(self, pending: Row) -> list[Row]:
        fill = self._t["fills"].rows.get((pending["report_id"], pending["content"], pending["trade_date"]))
        return [] if fill is None else [fill]

    def q_known_snapshots(self, ids: list[str]) -> Iterable[Row]:
        return self._any(self._t["benchmark_snapshots"].where("snapshot_id", ids))

    def q_known_dead_letters(self, ids: list[str]) -> Iterable[Row]:
        known = self._t["dead_letters"].rows
        return self._any(known[(found,)] for found in _uuids(ids) if (found,) in known)

    def q_snapshots_at(self, symbols: list[str], times: list[int]) -> Iterable[Row]:
        for symbol, at_ns in zip(symbols, times, strict=True):
            before = [s for s in self._t["benchmark_snapshots"].where("symbol", [symbol]) if s["at_ns"] <= at_ns]
            last = max(before, key=lambda s: (s["at_ns"], s["snapshot_id"]), default={"snapshot_id": None})
            yield {"wanted_symbol": symbol, "wanted_ns": at_ns} | last

    def q_snapshots_before(self, since: int) -> Iterable[Row]:
        by_symbol: dict[str, list[Row]] = defaultdict(list)
        for snapshot in self._t["benchmark_snapshots"]:
            if snapshot["at_ns"] < since:
                by_symbol[snapshot["symbol"]].append(snapshot)
        lasts = {symbol: max(s["at_ns"] for s in found) for symbol, found in by_symbol.items()}
        return self._any(s for symbol, found in by_symbol.items() for s in found if s["at_ns"] == lasts[symbol])

    def q_recent_snapshots(self, since: int, day: Any) -> Iterable[Row]:
        found = [s for s in self._t["benchmark_snapshots"] if s["at_ns"] >= since and s["taken_on"] >= day]
        return sorted(self._any(found), key=lambda s: s["at_ns"])

    def q_open_counts(self) -> Iterable[Row]:
        open_breaks = sum(1 for b in self._t["breaks"] if b["ended_at"] is None)
        return [{"pending": len(self._t["fills_pending"]), "breaks": open_breaks}]

    def q_positions(self) -> Iterable[Row]:
        return self._any(self._t["feed_positions"])

    def about_nothing(self, text: str) -> bool:
        """Whether a query reads only tables of what is left out here, which are empty: it gives no rows."""
        read = _tables_of(text)
        return bool(read) and read <= _LEFT_OUT and not any(len(self._t[name]) for name in read)

    def q_instruments(self) -> Iterable[Row]:
        return sorted(self._t["instruments"], key=lambda i: (i["venue"], i["symbol"]))

    def q_cursor(self, publisher: str) -> Iterable[Row]:
        found = self._t["publish_cursors"].rows.get((publisher,))
        return [] if found is None else [found]

    def q_page(self, xid: str, position: int, limit: int, below: str) -> Iterable[Row]:
        events = self._t["audit_events"]
        if self._sorted_at != events.version:
            self._outbox, self._sorted_at = sorted(events, key=_place), events.version
        first = bisect_right(self._outbox, (int(xid), position), key=_place)
        end = bisect_left(self._outbox, (int(below), 0), key=_place)
        return self._outbox[first : min(end, first + limit)]

    def q_bodies(self, positions: list[int]) -> Iterable[Row]:
        wanted = set(positions)
        letters = self._t["dead_letters"].rows
        found = sorted((e for e in self._t["audit_events"] if e["position"] in wanted), key=_place)
        return [
            e | {"raw": letters.get((e["event_id"],), {}).get("raw") if e["event_type"] == "dead_letter" else None}
            for e in found
        ]

    def q_horizon(self) -> Iterable[Row]:
        return [self._horizon()]

    def q_refill_start(self, seconds: float) -> Iterable[Row]:
        since = utc_date(self._clock() - int(seconds * _SECOND))
        found = (e["xid"] for e in self._t["audit_events"] if e["recorded_on"] >= since)
        return [{"xid": min(found, default=self._horizon()["all_before"])}]


class _Single(dict[str, Any]):
    """A row of one column, which is also looked up by number."""

    def __getitem__(self, key: Any) -> Any:
        return next(iter(self.values())) if key == 0 else super().__getitem__(key)


@cache
def _tables_of(text: str) -> frozenset[str]:
    return frozenset(_READ.findall(text))


def _place(event: Row) -> tuple[int, int]:
    return event["xid"], event["position"]


def _uuids(ids: Iterable[Any]) -> list[UUID]:
    return [uuid_of(one) for one in ids]
