"""External assets: what other processes make and this one reads. Streaming lands; a sensor reports it here."""

from __future__ import annotations

from typing import Any

import dagster as dg

from execution_assets.days import TRADING_DAYS
from ledger.db import tables

OWNER = "team:execution"
TOPICS = "topics"
LANDED = "landed"
DERIVED = "derived"


def _topic(key: str, topic: str, description: str, deps: tuple[str, ...] = ()) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        group_name=TOPICS,
        owners=[OWNER],
        kinds={"kafka"},
        description=description,
        metadata={"topic": topic},
        deps=deps,
    )


def _landed(key: str, description: str, deps: tuple[str, ...] = ()) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        group_name=LANDED,
        owners=[OWNER],
        kinds={"postgres"},
        description=description,
        metadata=table_metadata(key),
        partitions_def=TRADING_DAYS,
        deps=deps,
    )


def table_metadata(name: str) -> dict[str, Any]:
    """Show a table's name and columns as they are declared."""
    table = tables.metadata.tables[f"{tables.SCHEMA}.{name}"]
    columns = [
        dg.TableColumn(
            column.name,
            str(column.type),
            description=column.comment,
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=False),
        )
        for column in table.columns
    ]
    return {
        "dagster/table_name": f"{tables.SCHEMA}.{name}",
        "dagster/column_schema": dg.TableSchema(columns=columns),
    }


SOURCES = [
    _topic(
        "order_intents",
        "order.intent.route.v1",
        "What the OrderAgent routed to a venue and the venue acknowledged: every new order, replace and cancel.",
    ),
    _topic(
        "market_data_snapshots",
        "market.data.snapshot.v1",
        "The MarketDataAgent's best bid and ask of each symbol over time: what slippage is measured against.",
    ),
    _topic(
        "execution_events",
        "execution.event.fill.v1",
        "Every fill, bust and correct as published within milliseconds of landing, with its slippage.",
        ("fills", "orders", "benchmark_snapshots"),
    ),
    _topic(
        "audit_events_topic",
        "audit.event.execution",
        "The reconciliation log: every decision that was taken on a report, and the health of the venues.",
        ("fills", "orders"),
    ),
    _topic(
        "dead_letters",
        "dlq.execution",
        "What came in and could not be a fill: the raw bytes, the reason, and how to replay it.",
    ),
    _landed(
        "fills",
        "Every distinct report of a trade, bust or correct exactly as a venue sent it. Never changed. "
        "Its day is the venue's trade date; a late report lands in the day it belongs to.",
    ),
    _landed(
        "orders",
        "Every routed order message. A fill belongs to the order that its client order id names.",
        ("order_intents",),
    ),
    _landed(
        "benchmark_snapshots",
        "Best bid and ask of each symbol over time, as landed. The benchmark of a time is the last one at or "
        "before it.",
        ("market_data_snapshots",),
    ),
]
