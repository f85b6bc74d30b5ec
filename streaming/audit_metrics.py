"""The Prometheus series of the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class AuditMetrics:
    """How far the tree, its signatures and the bucket are, and whether the log refuses to go on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.size = Gauge(
            "execution_audit_events_in_tree", "Leaves of the audit log's tree.", ["part"], registry=registry
        )
        self.behind = Gauge(
            "execution_audit_behind_seconds",
            "For how long an event waits to be signed, or a signed checkpoint or full tiles for the bucket.",
            ["part"],
            registry=registry,
        )
        self.refused = Gauge(
            "execution_audit_refused",
            "1 while the ledger disagrees with what was signed, and nothing is signed.",
            registry=registry,
        )
        self.checkpoints = Counter(
            "execution_audit_checkpoints", "Checkpoints that were signed.", registry=registry
        )
        self.faults = Counter(
            "execution_audit_bucket_faults",
            "What somebody has put into the audit log's bucket: delete markers, other versions, other names.",
            registry=registry,
        )
