"""The checks of how the venues' feeds did: how fast, how often twice, how complete."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from execution_assets.checks.making import all_hold, ask, bounds, expectations_check, from_query
from execution_assets.executions import executions
from execution_assets.settings import SLO_VARIABLE, slo_us

if TYPE_CHECKING:
    from sqlalchemy import Connection

DUPLICATES_PER_MILLION = 200  # less than 0.02 %

latency_is_within_the_slo = expectations_check(
    asset=executions,
    name="latency_is_within_the_slo",
    frame=from_query("latencies", numbers=("reports", "p50_us", "p95_us", "p99_us"), limit_us=slo_us),
    suite=all_hold("p95"),
    identity="venue",
    severity=dg.AssetCheckSeverity.WARN,
    description="95 of 100 reports of each venue were in Postgres within the SLO of their first byte.",
    remedy=(
        "Look at when it was slow: execution_fill_commit_seconds and execution_backlog_age_seconds of the day, "
        "and the streaming process's log (ledger unavailable, waiting for the lease). docs/operations.md, The "
        f"backlog grows. The SLO is {SLO_VARIABLE}."
    ),
)

duplicates_are_rare = expectations_check(
    asset=executions,
    name="duplicates_are_rare",
    frame=from_query("duplicates", numbers=("reports", "twice"), per_million=lambda: DUPLICATES_PER_MILLION),
    suite=all_hold("share"),
    identity="subject",
    severity=dg.AssetCheckSeverity.WARN,
    description="Less than 0.02 % of what a feed tells was told before, or of the ledger is there twice.",
    remedy=(
        "Recognised duplicates do no harm but cost: a feed that resends so much has lost its place, look at its "
        "reconnects and its session's sequence numbers. Executions that look alike under two ExecIDs may be one: "
        "compare them with the venue's list before the day is published, and have the venue bust the surplus."
    ),
)


def no_audit(connection: "Connection", day: date) -> str | None:
    """Say why no look-back audit can be judged, if so."""
    if not ask(connection, "table_exists", table="look_back_audits")["found"]:
        return "this ledger has no look-back audits (table execution.look_back_audits)"
    if not ask(connection, "look_backs_of", **bounds(day))["audits"]:
        return f"no look-back audit looked at {day}: venues.*.look_back in the streaming process's settings"
    return None


look_back_found_nothing_missing = expectations_check(
    asset=executions,
    name="look_back_found_nothing_missing",
    frame=from_query("look_backs"),
    suite=all_hold("missing", "unconfirmed"),
    identity="row_id",
    skip=no_audit,
    description="The venues' own lists of their fills name what is here, no more and no less.",
    remedy=(
        "missing: the venue confirms a fill that has not landed. Run `execution-agent look-back VENUE --from "
        "... --to ...`: it hands in what is missing, and the day is derived again by itself. unconfirmed: we "
        "have a fill that the venue does not list; ask it whether the trade stands, and have it bust what does "
        "not."
    ),
)

CHECKS = [latency_is_within_the_slo, duplicates_are_rare, look_back_found_nothing_missing]
