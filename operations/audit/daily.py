"""The scheduled verification: what is new since the last one that found nothing wrong; on Sundays all of it.

What was verified before is remembered in the ledger that is verified, so it counts only as far as it can do no
harm: the checkpoint has to be the bucket's, and as old as a night before. On Sundays it does not count at all.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from execution_assets.archives.errors import ArchiveError, ArchiveSettingsError
from execution_assets.archives.leaves import events_of
from execution_assets.archives.library import open_library
from execution_assets.archives.settings import settings_from
from execution_assets.audit_log import AuditUnreadableError, Verification
from operations.audit.opening import keys_of, settings_of
from operations.audit.reading import AuditError, Verified, opened, remember
from operations.audit.verifying import verify
from streaming.audit_parts import bucket_of
from trust.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from execution_assets.archives.library import Library
    from streaming.settings import AuditSettings
    from trust.bucket_log import BucketLog

WHOLE_WEEKDAY = 6  # Sunday
WHOLE_DAYS = 7
_EARLIER_HOURS = 20  # since a checkpoint was stored that an earlier night can have verified
_EARLIER = 20  # verifications that are looked through for one that counts
_SAMPLE = 500  # checkpoints that are compared: a day has 86,400, and each is two requests
_NOWHERE = Path("/nonexistent")
_NO_SETTINGS = (
    "the ledger has an audit log, and its bucket is not known: name a file with the table [audit] in "
    "EXECUTION_AGENT_CONFIG"
)
_NO_TREE = (
    "[audit] is set, and the ledger has no audit log (execution.audit_tree is empty): either no streaming process "
    "has run with [audit] yet, or somebody has deleted the row. Compare with the newest checkpoint in the bucket"
)


class DailyVerification:
    """Verifies by the settings of the environment: EXECUTION_AGENT_CONFIG, and those of the archives."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def verify(self, url: str) -> Verification:
        """Verify what is new, and remember it. Raises ``AuditUnreadableError``."""
        try:
            settings = settings_of(_NOWHERE)
            with opened(url) as log:
                is_planted = log.is_planted()
                before, faults_before = log.last_verified(_EARLIER), log.faults_told()
            if settings is None and not is_planted:
                return Verification(skipped="the ledger has no audit log: [audit] is not set")
            if settings is None or not is_planted:
                raise AuditUnreadableError(_NO_SETTINGS if settings is None else _NO_TREE)
            return _verified(url, settings, before, faults_before, self._clock())
        except (AuditError, ArchiveError, ArchiveSettingsError, TrustError, psycopg.Error) as error:
            raise AuditUnreadableError(str(error)) from error


def _verified(
    url: str, settings: AuditSettings, earlier: list[Verified], before: set[str], now: datetime
) -> Verification:
    bucket = bucket_of(settings, [])
    keys = keys_of(settings, None, bucket)
    scan = _verified_before(bucket, earlier, now)
    since = 0 if is_whole_due(earlier, now) else scan
    library = _archives()
    archived = None if library is None else partial(events_of, library)
    verdict = verify(url, bucket, keys, _SAMPLE, lambda *_: None, since=since, scan=scan, archived=archived)
    left_out = [] if library is None else library.doubts
    faults = [fault for fault in [*verdict.faults, *left_out] if fault not in before]
    root = bytes.fromhex(verdict.stored_root)
    remember(url, since, max(since, verdict.stored_newest), root, verdict.problems, faults)
    return Verification(
        since=since,
        size=verdict.stored_newest,
        rows=verdict.rows,
        dropped=sum(verdict.dropped.values()),
        problems=verdict.problems,
        faults=faults,
        first=verdict.first,
    )


def is_whole_due(earlier: list[Verified], now: datetime) -> bool:
    """Whether all is to be verified again: what was well once can be changed later.

    On Sundays whatever the ledger says; on other days where it says that a Sunday's has not gone well.
    """
    whole_at = earlier[0].whole_at if earlier else None
    return now.weekday() == WHOLE_WEEKDAY or whole_at is None or now - whole_at > timedelta(days=WHOLE_DAYS)


def _verified_before(bucket: BucketLog, earlier: list[Verified], now: datetime) -> int:
    """Give how many events an earlier night has verified; 0 where nothing but the ledger says so.

    A row for tonight's checkpoint, with its root, can be planted by whoever changes what is below it.
    """
    for verified in earlier:
        checkpoint, written = bucket.checkpoint(verified.size), bucket.written(verified.size)
        if checkpoint is None or written is None or checkpoint.root != verified.root:
            continue
        if now - written >= timedelta(hours=_EARLIER_HOURS):
            return verified.size
    return 0


def _archives() -> Library | None:
    """Give where archived leaves are read from, where archives are configured."""
    try:
        return open_library(settings_from(os.environ))
    except ArchiveSettingsError:
        return None
