"""Where the columns of a derived table come from, as Dagster's pages show it."""

from __future__ import annotations

import dagster as dg


def lineage(columns: dict[str, list[tuple[str, str]]]) -> dg.TableColumnLineage:
    """Make the lineage of ``column -> [(asset, column)]``."""
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key=dg.AssetKey(asset), column_name=column) for asset, column in sources
            ]
            for name, sources in columns.items()
        }
    )


def same_columns(asset: str, *names: str) -> dg.TableColumnLineage:
    """Make the lineage of columns that are taken over as they are."""
    return lineage({name: [(asset, name)] for name in names})


EXECUTIONS = lineage(
    {
        **{
            name: [("fills", name)]
            for name in (
                "venue", "account", "symbol", "side", "trade_date", "exec_id", "currency", "fee", "fee_currency",
                "liquidity", "transact_ns", "last_qty", "last_px",
            )
        },
        "execution_id": [("fills", "report_id")],
        "last_exec_id": [("fills", "exec_id"), ("fills", "exec_ref_id")],
        "correlation_id": [("orders", "correlation_id"), ("fills", "cl_ord_id"), ("fills", "venue_order_id")],
        "msg_id": [("orders", "msg_id"), ("fills", "cl_ord_id")],
        "status": [("fills", "kind"), ("fills", "exec_ref_id")],
        "chain": [("fills", "report_id"), ("fills", "exec_ref_id")],
        "fee_bps": [("fills", "fee"), ("fills", "last_qty"), ("fills", "last_px")],
    }
)  # fmt: skip

SLIPPAGE = lineage(
    {
        "execution_id": [("executions", "execution_id")],
        "trade_date": [("executions", "trade_date")],
        "bps": [
            ("executions", "last_px"), ("executions", "side"), ("benchmark_snapshots", "bid"),
            ("benchmark_snapshots", "ask"), ("orders", "decision_price"),
        ],
        "benchmark": [
            ("benchmark_snapshots", "bid"), ("benchmark_snapshots", "ask"), ("orders", "decision_price"),
        ],
        "benchmark_ns": [("benchmark_snapshots", "at_ns"), ("orders", "routed_ns")],
        "snapshot_id": [("benchmark_snapshots", "snapshot_id")],
    }
)  # fmt: skip

_FIGURES = (
    "arrival_mid_bps", "decision_price_bps", "fill_mid_bps", "fee_rate_bps", "markout_1s_bps", "markout_10s_bps",
    "markout_60s_bps", "markout_5min_bps", "interval_twap_bps", "interval_vwap_bps",
)  # fmt: skip
PARQUET = lineage(
    {
        **{
            name: [("executions", name)]
            for name in (
                "execution_id",
                "venue",
                "account",
                "symbol",
                "side",
                "last_qty",
                "last_px",
                "fee",
                "status",
            )
        },
        **{name: [("slippage_metrics", "bps")] for name in _FIGURES},
    }
)
