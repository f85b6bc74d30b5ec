"""The job that derives a day: both assets and all their checks, one after the other in one process."""

from __future__ import annotations

import dagster as dg

DERIVE_DAY = "derive_day"

# In process: five trivial steps took 36 s so, and 143 s with a process a step (2 cores)
derive_day_job = dg.define_asset_job(
    DERIVE_DAY,
    selection=dg.AssetSelection.assets("executions", "slippage_metrics"),
    executor_def=dg.in_process_executor,
    description="Derive a trading date again from its landed reports, correct and check it.",
    # for run_retries in dagster.yaml: a run whose process died is started again
    tags={"dagster/max_retries": "2"},
)
