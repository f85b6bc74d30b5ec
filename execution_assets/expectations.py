"""Great Expectations on one frame: no Dagster, no database, nothing kept. Importing GX takes seconds, so it waits.

GX runs in an ephemeral context with analytics and progress bars off: a check must not write files, call home,
or draw bars into a run's log.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

SAMPLE = 20  # identities of failing rows that a check shows


class Expected(msgspec.Struct, frozen=True):
    """One expectation's outcome. ``sample``: identities of rows that fail it."""

    rule: str
    success: bool
    checked: int
    failing: int
    sample: list[str]
    error: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a suite on a frame."""

    row_count: int
    expected: list[Expected]

    @property
    def success(self) -> bool:
        """Whether all of it holds."""
        return all(e.success for e in self.expected)

    @property
    def failing(self) -> int:
        """How many failures there are, over all expectations."""
        return sum(e.failing for e in self.expected)

    def sample(self) -> list[str]:
        """Name failing rows, each once."""
        return list(dict.fromkeys(identity for e in self.expected for identity in e.sample))[:SAMPLE]


def evaluate(frame: pd.DataFrame, suite: Callable[[Any], Sequence[Any]], identity: str) -> Outcome:
    """Validate ``frame`` against what ``suite`` builds from GX's expectations; ``identity`` names its rows.

    An empty frame holds whatever is expected of its rows.
    """
    if frame.empty:
        return Outcome(0, [])
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # what GX's own modules import is deprecated (sre_constants); nothing of ours is imported here
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx  # noqa: PLC0415  7-13 s
        from great_expectations.data_context.types.base import (  # noqa: PLC0415
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            # everything in memory, no data docs site
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            progress_bars=ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )
    source = context.data_sources.add_pandas("ledger")
    batch = (
        source.add_dataframe_asset("day")
        .add_batch_definition_whole_dataframe("whole")
        .get_batch({"dataframe": frame})
    )
    result = batch.validate(
        gx.ExpectationSuite(name="day", expectations=list(suite(gx.expectations))),
        result_format={
            # SUMMARY bounds what it lists; COMPLETE would list every failing row of the day
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [identity],
            "partial_unexpected_count": SAMPLE,
        },
    )
    return Outcome(len(frame), [_read(one, identity, len(frame)) for one in result.results])


def _read(one: Any, identity: str, row_count: int) -> Expected:
    details = one.result or {}
    config = one.expectation_config
    column = config.kwargs.get("column", "")
    bounds = {k: v for k, v in config.kwargs.items() if k in {"min_value", "max_value"} and v is not None}
    limits = "".join(f" {name}={value}" for name, value in bounds.items())
    rows = details.get("partial_unexpected_index_list") or []
    message = one.exception_info.get("exception_message") if one.exception_info else None
    return Expected(
        f"{config.type}: {column}{limits}",
        bool(one.success),
        int(details.get("element_count", row_count)),
        int(details.get("unexpected_count", 0 if one.success else 1)),
        [str(row[identity]) for row in rows[:SAMPLE]],
        message,
    )
