"""What Dagster's processes read from their environment beside the ledger's address; docs/operations.md lists it.

Read when it is needed, never at import; a wrong value names its variable.
"""

from __future__ import annotations

import os
from decimal import Decimal, InvalidOperation
from pathlib import Path

SLO_VARIABLE = "EXECUTION_AGENT_SLO_P95_MS"
BAND_VARIABLE = "EXECUTION_AGENT_PRICE_BAND_BPS"
BACKLOG_VARIABLE = "EXECUTION_AGENT_BACKLOG_SECONDS"
DATA_DOCS_VARIABLE = "EXECUTION_AGENT_DATA_DOCS"
PARQUET_VARIABLE = "EXECUTION_AGENT_PARQUET"
METRICS_VARIABLE = "EXECUTION_AGENT_METRICS_URL"
RETENTION_VARIABLE = "EXECUTION_AGENT_EVENT_LOG_DAYS"

_DEFAULTS = {SLO_VARIABLE: "150", BAND_VARIABLE: "500", BACKLOG_VARIABLE: "120", RETENTION_VARIABLE: "90"}


def positive(variable: str) -> Decimal:
    """Give a variable's number, or its default. Raises ``ValueError`` naming variable, value and rule."""
    value = os.environ.get(variable) or _DEFAULTS[variable]
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number <= 0:
        raise ValueError(
            f"{variable}={value!r}: a number above zero is required; the default is {_DEFAULTS[variable]}"
        )
    return number


def slo_us() -> int:
    """How long the p95 from received to landed may be, in microseconds."""
    return int(positive(SLO_VARIABLE) * 1000)


def data_docs_folder() -> Path | None:
    """Where the days' data docs are kept: as set, else in DAGSTER_HOME; None without either."""
    folder = os.environ.get(DATA_DOCS_VARIABLE)
    if folder:
        return Path(folder)
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) / "data-docs" if home else None


def metrics_url() -> str | None:
    """Where the streaming process's /metrics is; None: only Postgres is asked."""
    return os.environ.get(METRICS_VARIABLE) or None


def parquet_folder() -> Path:
    """Where the analysts' files are kept: as set, else in DAGSTER_HOME. Raises ``ValueError`` without either."""
    folder, home = os.environ.get(PARQUET_VARIABLE), os.environ.get("DAGSTER_HOME")
    if not folder and not home:
        raise ValueError(f"{PARQUET_VARIABLE} is not set: name the folder of the analysts' Parquet files")
    return Path(folder) if folder else Path(str(home)) / "parquet"
