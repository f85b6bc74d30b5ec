"""The scheduled verification: what is new since the last one that found nothing wrong; once a week all of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
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
    from collections.abc import Callable, Iterator
    from datetime import date

    from ledger.db.audit_entries import AuditRow
    from streaming.settings import AuditSettings

WHOLE_DAYS = 7
_SAMPLE = 500  # checkpoints that are compared: a day has 86,400, and each is two requests
_NOWHERE = Path("/nonexistent")
_NO_SETTINGS = (
    "the ledger has an audit log, and its bucket is not known: name a file with the table [audit] in "
    "EXECUTION_AGENT_CONFIG"
)


class DailyVerification:
    """Verifies by the settings of the environment: EXECUTION_AGENT_CONFIG, and those of the archives."""

    def verify(self, url: str) -> Verification:
        """Verify what is new, and remember it. Raises ``AuditUnreadableError``."""
        try:
            settings = settings_of(_NOWHERE)
            with opened(url) as log:
                if not log.is_planted():
                    return Verification(skipped="the ledger has no audit log: [audit] is not set")
                last, faults_before = log.last_verified(), log.faults_told()
            if settings is None:
                raise AuditUnreadableError(_NO_SETTINGS)
            return _verified(url, settings, last, faults_before)
        except (AuditError, ArchiveError, ArchiveSettingsError, TrustError, psycopg.Error) as error:
            raise AuditUnreadableError(str(error)) from error


def _verified(url: str, settings: AuditSettings, last: Verified | None, before: set[str]) -> Verification:
    bucket = bucket_of(settings, [])
    keys = keys_of(settings, None, bucket)
    since = 0 if last is None or is_whole_due(last, datetime.now(UTC)) else last.size
    scan = 0 if last is None else last.size
    verdict = verify(url, bucket, keys, _SAMPLE, lambda *_: None, since=since, scan=scan, archived=_archived())
    faults = [fault for fault in verdict.faults if fault not in before]
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


def is_whole_due(last: Verified, now: datetime) -> bool:
    """Whether all is to be verified again: what was well once can be changed later."""
    return last.whole_at is None or now - last.whole_at >= timedelta(days=WHOLE_DAYS)


def _archived() -> Callable[[date], Iterator[AuditRow]] | None:
    """Give what reads archived leaves, where archives are configured."""
    try:
        library = open_library(settings_from(os.environ))
    except ArchiveSettingsError:
        return None
    return lambda day: events_of(library, day)
