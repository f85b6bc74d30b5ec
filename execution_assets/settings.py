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
REPORTS_VARIABLE = "EXECUTION_AGENT_REPORTS"
REPORTS_URL_VARIABLE = "EXECUTION_AGENT_REPORTS_URL"
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
    return _folder(PARQUET_VARIABLE, "parquet", "the analysts' Parquet files")


def reports_folder() -> Path:
    """Where the days' pages are kept: as set, else in DAGSTER_HOME. Raises ``ValueError`` without either."""
    return _folder(REPORTS_VARIABLE, "reports", "the days' reports")


def reports_url() -> str | None:
    """Where a proxy serves the folder of the days' pages; None: there is none, the file's path is all."""
    return (os.environ.get(REPORTS_URL_VARIABLE) or "").rstrip("/") or None


def _folder(variable: str, name: str, what: str) -> Path:
    folder, home = os.environ.get(variable), os.environ.get("DAGSTER_HOME")
    if not folder and not home:
        raise ValueError(f"{variable} is not set: name the folder of {what}")
    return Path(folder) if folder else Path(str(home)) / name
