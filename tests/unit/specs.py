"""All that the definitions declare, as one JSON file to compare with; ``make specs`` writes it again.

A change of keys, dependencies, owners, partitions, conditions or checks is then a change of a file, and reviewed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from execution_assets.resources import LedgerResource
from operations.definitions import build_defs

SNAPSHOT = Path(__file__).parent / "snapshots" / "specs.json"


def specs() -> dict[str, Any]:
    """Give assets, checks, jobs, schedules and sensors by name."""
    ledger = LedgerResource(url="postgresql://nobody@nowhere/nothing")
    repository = build_defs(resource_overrides={"ledger": ledger}).get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {key.to_user_string(): _asset(graph.get(key)) for key in sorted(graph.get_all_asset_keys())},
        "checks": {
            f"{key.asset_key.to_user_string()}.{key.name}": _check(graph.get_check_spec(key))
            for key in sorted(graph.asset_check_keys, key=lambda k: (k.asset_key, k.name))
        },
        "jobs": {
            job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
            for job in sorted(repository.get_all_jobs(), key=lambda j: j.name)
            if not job.name.startswith("__")
        },
        "schedules": {s.name: s.cron_schedule for s in sorted(repository.schedule_defs, key=lambda s: s.name)},
        "sensors": {
            s.name: {"seconds": s.minimum_interval_seconds, "status": s.default_status.value}
            for s in sorted(repository.sensor_defs, key=lambda s: s.name)
        },
    }


def _check(spec: Any) -> dict[str, Any]:
    days = spec.partitions_def
    return {"blocking": spec.blocking, "partitions": None if days is None else type(days).__name__}


def _asset(node: Any) -> dict[str, Any]:
    condition, freshness, backfill = node.automation_condition, node.freshness_policy, node.backfill_policy
    columns = node.metadata.get("dagster/column_schema")
    lineage = node.metadata.get("dagster/column_lineage")
    return {
        "group": node.group_name,
        "owners": sorted(node.owners),
        "kinds": sorted(node.kinds),
        "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
        "partitions": None if node.partitions_def is None else type(node.partitions_def).__name__,
        "is_external": node.is_external,
        "code_version": node.code_version,
        "automation": None if condition is None else condition.get_label() or condition.name,
        "freshness": None if freshness is None else type(freshness).__name__,
        "backfill": None if backfill is None else backfill.policy_type.value,
        "pools": sorted(node.pools or ()),
        "columns": [] if columns is None else [c.name for c in getattr(columns, "schema", columns).columns],
        "lineage": {}
        if lineage is None
        else {
            name: sorted(f"{d.asset_key.to_user_string()}.{d.column_name}" for d in deps)
            for name, deps in sorted(getattr(lineage, "column_lineage", lineage).deps_by_column.items())
        },
    }


def render() -> str:
    """Give the file's text."""
    return json.dumps(specs(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(render(), encoding="utf-8")
