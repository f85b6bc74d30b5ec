"""The audit log's checkpoints in the bucket, as somebody sees them who goes past the proxies."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from streaming.audit_parts import bucket_of, signer_of
from streaming.settings import AuditSettings
from trust.errors import TrustError

if TYPE_CHECKING:
    from pathlib import Path


class Bucket:
    """The bucket of the streaming process's settings, at ``endpoint``."""

    def __init__(self, settings: Path, endpoint: str) -> None:
        told = tomllib.loads(settings.read_text("utf-8"))["audit"]
        audit = AuditSettings.model_validate(told | {"s3_endpoint": endpoint})
        self._log = bucket_of(audit, [signer_of(audit).key])
        self._newest = 0

    def signed(self) -> int:
        """Give over how many events the newest checkpoint is, its signature verified; the last known if away."""
        try:
            newest = self._log.newest(self._newest)
        except TrustError:
            return self._newest
        self._newest = newest.size if newest is not None else 0
        return self._newest
