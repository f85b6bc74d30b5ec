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
    ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks { name } } } }
  }
}
"""

# planned when the day's run is asked for, so the newest belongs to its newest run
_VERDICT = """
query Verdict($asset: AssetKeyInput!, $check: String!, $day: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, partition: $day, limit: 1) {
    status evaluation { success severity }
  }
}
"""
_ENDED = ("EXECUTION_FAILED", "SKIPPED")  # the run ended before the check could look


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
            checks = {day: read_checks(webserver, day) for day, *_ in days}
            if all(of_day and None not in of_day.values() for of_day in checks.values()):
                return [
                    Day(day.isoformat(), count, differing, {name: bool(ok) for name, ok in checks[day].items()})
                    for day, _, _, count, differing in days
                ]
            tell("Dagster has derived the day and is checking it")
        else:
            tell(f"Dagster's sensor sees the landed day and derives it: {_shown(behind)} is under way")
        time.sleep(_LOOK_SECONDS)
    return []


def _shown(days: list[date]) -> str:
    return ", ".join(day.isoformat() for day in days) or "the day"


def read_checks(webserver: str, day: date) -> dict[str, bool | None]:
    """Ask Dagster for a day's latest checks; None stands for one that is not in yet, a warning passes."""
    found: dict[str, bool | None] = {}
    unseen: list[str] = []
    for asset in ("executions", "slippage_metrics"):
        key = {"path": [asset]}
        answer = _graphql(webserver, _CHECKS, {"asset": key})
        node = answer.get("data", {}).get("assetNodeOrError", {})
        for check in node.get("assetChecksOrError", {}).get("checks", []):
            of_day = {"asset": key, "check": check["name"], "day": day.isoformat()}
            executions = _graphql(webserver, _VERDICT, of_day).get("data", {}).get("assetCheckExecutions", [])
            name = f"{asset}.{check['name']}"
            found[name] = _passed(executions[0]) if executions else None
            unseen += [name for execution in executions if execution["status"] in _ENDED]
    # a run whose process died is started again; behind a check that blocks nothing more is to come
    return found | dict.fromkeys(unseen, False) if False in found.values() else found


def _passed(execution: dict[str, Any]) -> bool | None:
    evaluation = execution["evaluation"]
    return None if evaluation is None else evaluation["success"] or evaluation["severity"] == "WARN"


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
