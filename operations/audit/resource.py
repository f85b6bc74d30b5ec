"""The audit log's verification as Dagster gets it: loaded when it runs, loading the definitions stays fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from execution_assets.audit_log import Verification


class AuditLogVerifier:
    """Verifies by the environment's settings; see ``operations.audit.daily``."""

    def verify(self, url: str) -> Verification:
        """Verify what is new; raises ``AuditUnreadableError`` where something cannot be read."""
        from operations.audit.daily import DailyVerification  # noqa: PLC0415

        return DailyVerification().verify(url)
