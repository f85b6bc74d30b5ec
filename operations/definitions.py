"""The Dagster definitions: a table of contents. What is listed here is defined beside what it does.

Loading connects to nothing and imports neither pandas nor Great Expectations.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dagster as dg

from execution_assets.archives.assets import ArchiveResource
from execution_assets.archives.calendar import archive_calendar, archive_days_job
from execution_assets.audit_log import daily_verification, verify_audit_log
from execution_assets.automation import automated
from execution_assets.checks import CHECKS
from execution_assets.data_docs import data_docs
from execution_assets.derived import DERIVED_ASSETS
from execution_assets.jobs import derive_day_job
from execution_assets.resources import POSTGRES_VARIABLE, PRICE_VARIABLE, STALE_VARIABLE, LedgerResource
from execution_assets.retention import nightly_pruning, prune_event_log
from execution_assets.sources import SOURCES
from operations.alerts.resource import Alerts
from operations.audit.resource import AuditLogVerifier
from sensors.automation import automation
from sensors.dead_letters import dead_letters_to_replay
from sensors.failed_runs import failed_runs, recovered_runs
from sensors.fill_lag import execution_fill_lag
from sensors.freshness import stale_assets
from sensors.landed_days import landed_days

if TYPE_CHECKING:
    from collections.abc import Mapping


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Put the code location together; tests pass their own resources."""
    return dg.Definitions(
        assets=[*SOURCES, *automated([*DERIVED_ASSETS, data_docs])],
        asset_checks=CHECKS,
        jobs=[derive_day_job, archive_days_job, prune_event_log, verify_audit_log],
        schedules=[archive_calendar, nightly_pruning, daily_verification],
        sensors=[
            landed_days,
            automation,
            execution_fill_lag,
            dead_letters_to_replay,
            failed_runs,
            recovered_runs,
            stale_assets,
        ],
        resources={
            "ledger": LedgerResource(
                url=dg.EnvVar(POSTGRES_VARIABLE),
                stale_snapshot_seconds=os.environ.get(STALE_VARIABLE, "5"),
                benchmark_price=os.environ.get(PRICE_VARIABLE, "mid"),
            ),
            "alerts": Alerts(),
            "archive": ArchiveResource(),
            "audit_log": AuditLogVerifier(),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs()
