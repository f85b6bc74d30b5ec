"""Wait until Dagster has derived and checked the days of a run, and say what it found."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    import psycopg

_WAIT_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_TIMEOUT = 10.0

_DAYS = """
SELECT f.trade_date, f.high_water, d.high_water AS derived_to, d.execution_count, d.difference_count
FROM (SELECT trade_date, max(received_ns) AS high_water FROM execution.fills GROUP BY trade_date) f
LEFT JOIN execution.executions_derived d USING (trade_date)
WHERE f.trade_date >= (now() AT TIME ZONE 'UTC')::date - 1
ORDER BY f.trade_date
"""

_CHECKS = """
query Checks($asset: AssetKeyInput!) {
  assetNodeOrError(assetKey: $asset) {
    ... on AssetNode {
      assetChecksOrError { ... on AssetChecks { checks { name
        executionForLatestMaterialization { status evaluation { success severity } } } } }
    }
  }
}
"""


class Day(msgspec.Struct, frozen=True):
    """One trading day as Dagster sees it: derived executions, how many differed from the live rows, checks."""

    trade_date: str
    executions: int
    differences: int
    checks: dict[str, bool]

    @property
    def good(self) -> bool:
        """Whether the day is derived without a difference and every check passed."""
        return not self.differences and bool(self.checks) and all(self.checks.values())


def wait_for_days(
    connection: psycopg.Connection[Any],
    webserver: str,
    *,
    tell: Callable[[str], None],
    stopped: Callable[[], bool],
) -> list[Day]:
    """Wait until all that landed is derived and its checks are in; [] when that does not come in time.

    Nothing is asked of Dagster here: the sensor sees the landed day by itself, as it would in production.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline and not stopped():
        days = connection.execute(_DAYS.encode()).fetchall()
        behind = [day for day, landed_to, derived_to, *_ in days if derived_to is None or derived_to < landed_to]
        if days and not behind:
            checks = read_checks(webserver)
            if checks and None not in checks.values():
                found = {name: bool(passed) for name, passed in checks.items()}
                return [Day(day.isoformat(), count, differing, found) for day, _, _, count, differing in days]
            tell("Dagster has derived the day and is checking it")
        else:
            tell(f"Dagster's sensor sees the landed day and derives it: {_shown(behind)} is under way")
        time.sleep(_LOOK_SECONDS)
    return []


def _shown(days: list[date]) -> str:
    return ", ".join(day.isoformat() for day in days) or "the day"


def read_checks(webserver: str) -> dict[str, bool | None]:
    """Ask Dagster for the checks of the latest materializations; None stands for one that is not in yet."""
    found: dict[str, bool | None] = {}
    for asset in ("executions", "slippage_metrics"):
        answer = _graphql(webserver, _CHECKS, {"asset": {"path": [asset]}})
        node = answer.get("data", {}).get("assetNodeOrError", {})
        for check in node.get("assetChecksOrError", {}).get("checks", []):
            execution = check["executionForLatestMaterialization"]
            evaluation = execution and execution.get("evaluation")
            warned = bool(evaluation) and evaluation["severity"] == "WARN"
            found[f"{asset}.{check['name']}"] = None if not evaluation else evaluation["success"] or warned
    return found


def _graphql(webserver: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310  our own loopback URL
        f"{webserver}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            found = json.load(answer)
    except (URLError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("data") else {}
