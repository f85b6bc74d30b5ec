"""The audit log verified once a day: a job that fails, and is alerted, where it is not what was logged.

What reads the log and its bucket is not Dagster's: the definitions hand it in (``operations.audit.daily``).
"""

from typing import Protocol

import dagster as dg
import msgspec

from execution_assets.resources import LedgerResource
from ledger.db.urls import plain_url

_SHOWN = 5


class Verification(msgspec.Struct, frozen=True):
    """What a verification found. ``skipped``: why there was nothing to verify.

    ``problems``: what is not as it was logged; ``faults``: what somebody has put into the bucket since the last
    one. ``since``: events that were verified before; ``size``: of the checkpoint that it went to.
    """

    since: int = 0
    size: int = 0
    rows: int = 0
    dropped: int = 0
    problems: list[str] = msgspec.field(default_factory=list)
    faults: list[str] = msgspec.field(default_factory=list)
    first: str | None = None
    skipped: str | None = None


class AuditVerifier(Protocol):
    """Whoever can verify the log of a ledger, and remembers what was verified."""

    def verify(self, url: str) -> Verification:
        """Verify what is new; raises ``AuditUnreadableError`` where something cannot be read."""


class AuditUnreadableError(Exception):
    """The ledger, the bucket or the archives could not be read: nothing is known of the log."""


@dg.op(description="Works out the new leaves of the audit log and compares them with what is signed and stored.")
def verify_new_events(
    context: dg.OpExecutionContext, ledger: LedgerResource, audit_log: dg.ResourceParam[AuditVerifier]
) -> None:
    """Verify, and fail where anything differs."""
    try:
        found = audit_log.verify(plain_url(ledger.url))
    except AuditUnreadableError as error:
        raise dg.Failure(f"the audit log could not be verified: {error}", allow_retries=False) from error
    metadata: dict[str, dg.RawMetadataValue] = {
        "since": found.since, "size": found.size, "rows": found.rows, "dropped_leaves": found.dropped,
        "problems": found.problems, "faults": found.faults,
    }  # fmt: skip
    context.add_output_metadata(metadata)
    if found.skipped is not None:
        context.log.info("nothing was verified: %s", found.skipped)
        return
    if found.problems:
        said = "; ".join(found.problems[:_SHOWN])
        where = f"; first: {found.first}" if found.first else ""
        raise dg.Failure(
            f"the audit log is NOT what was logged: {said}{where}. docs/audit.md: Checking",
            metadata=metadata,
            allow_retries=False,
        )
    if found.faults:
        said = "; ".join(found.faults[:_SHOWN])
        raise dg.Failure(
            f"the audit log is what was logged, and somebody meddles with its bucket: {said}. docs/audit.md: "
            "Meddling with the bucket",
            metadata=metadata,
            allow_retries=False,
        )


@dg.job(
    executor_def=dg.in_process_executor,
    description=(
        "Verify the audit log: what has come since the last verified checkpoint, and on Sundays all of it. It "
        "fails where a row, tile or checkpoint is not what was signed."
    ),
)
def verify_audit_log() -> None:
    """Verify the audit log."""
    verify_new_events()


daily_verification = dg.ScheduleDefinition(
    name="daily_verification",
    job=verify_audit_log,
    cron_schedule="41 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Verifies the audit log every night at 02:41 UTC.",
)
