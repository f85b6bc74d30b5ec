"""One run over many days, a day at a time: each day is a transaction of its own, so a run may be killed anywhere.

A backfill is one run (``BACKFILL``). What was done before a kill stays done; the range is simply asked for again,
and days that are as derived change nothing.
"""

from __future__ import annotations

import time
import warnings
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Callable

# every asset would say at each load that the parameter is new
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)
BACKFILL = dg.BackfillPolicy.single_run()


def each_day(context: dg.AssetExecutionContext, derive: Callable[[date], dict[str, Any]]) -> None:
    """Derive the run's days in their order and show of each what ``derive`` gives; log rate and time left."""
    keys = sorted(context.partition_keys)
    without_limit(context.instance, context.run, days=len(keys))
    began = time.monotonic()
    for done, key in enumerate(keys, 1):
        context.add_asset_metadata(derive(date.fromisoformat(key)), partition_key=key)
        if len(keys) > 1:
            spent = time.monotonic() - began
            left = spent / done * (len(keys) - done)
            context.log.info(
                "%s: day %d of %d, %.1f s a day, %.0f s left", key, done, len(keys), spent / done, left
            )


def without_limit(instance: dg.DagsterInstance, run: dg.DagsterRun, *, days: int) -> None:
    """Let a run of several days take as long as they need: the limit of dagster.yaml is that of a day's run."""
    if days > 1 and dg.MAX_RUNTIME_SECONDS_TAG not in run.tags:
        instance.add_run_tags(run.run_id, {dg.MAX_RUNTIME_SECONDS_TAG: "0"})
