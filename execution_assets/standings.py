"""Where a day's orders stood at its end, by what their venues had reported of them until then.

``order_standings`` says where they stand now: an order that is replaced or ends on a later day would change the
figures of the days before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from execution_assets.facts import rows_of
from ledger.db.rows import read_order_report
from ledger.domain.book import references_of, references_of_state
from ledger.domain.order import root_intent
from ledger.domain.records import Action
from ledger.domain.standing import stand
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from sqlalchemy import Connection

    from ledger.domain.book import Reference
    from ledger.domain.records import OrderIntent, OrderReport
    from ledger.domain.standing import Standing


def standings_at(
    connection: Connection, day: date, end_ns: int, orders: Mapping[str, Sequence[OrderIntent]]
) -> dict[str, Standing]:
    """Give the standings at a day's end (ns) of the orders that reports speak of, by their intents until then."""
    replaced = [n for n, intents in orders.items() if any(i.action is Action.REPLACE for i in intents)]
    reported = [row["correlation_id"] for row in rows_of(connection, "reported_orders", {"ids": list(orders)})]
    asked = {name: orders[name] for name in dict.fromkeys((*reported, *replaced)) if orders[name]}
    if not asked:
        return {}
    traded: dict[str, set[str]] = {}
    if replaced:  # that a fill names a replace proves it accepted; of other messages nobody asks
        for row in rows_of(connection, "messages_of_fills", {"ids": replaced, "day": day}):
            traded.setdefault(row["correlation_id"], set()).add(row["cl_ord_id"])
    reports = _reports(connection, day, end_ns, asked)
    return {
        name: stand(reports.get(name, ()), {i.msg_id: i for i in intents}, traded.get(name, set()))
        for name, intents in asked.items()
    }


def _reports(
    connection: Connection, day: date, end_ns: int, orders: Mapping[str, Sequence[OrderIntent]]
) -> dict[str, list[OrderReport]]:
    """Read the orders' reports: each is that of the first of its references that has an order."""
    owner: dict[Reference, str] = {}
    for name, intents in orders.items():
        for intent in intents:
            owner.update(dict.fromkeys(references_of(intent), name))
    for row in rows_of(connection, "learned_references", {"ids": list(orders)}):
        owner.setdefault((row["venue"], row["kind"], row["reference"]), row["correlation_id"])
    first = {name: utc_date(root_intent(intents).routed_ns) for name, intents in orders.items()}
    venues, kinds, references = (list(column) for column in zip(*owner, strict=True))
    asked = {
        "venues": venues, "kinds": kinds, "refs": references, "first": [first[name] for name in owner.values()],
        "earliest": min(first.values()), "day": day, "end_ns": end_ns,
    }  # fmt: skip
    found: dict[str, list[OrderReport]] = {}
    for row in rows_of(connection, "order_reports_until", asked):
        report = read_order_report(row)
        tied = next(owner[r] for r in references_of_state(report) if r in owner)
        found.setdefault(tied, []).append(report)
    return found
