"""Where the archives are: as the environment says, else those of the embedded servers; and the ledger, if any."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from execution_assets.archives.errors import ArchiveSettingsError
from execution_assets.archives.library import open_library
from execution_assets.archives.settings import BUCKET_VARIABLE, TRANSIT, settings_from
from operations.dead_letters import NoLedgerError, ledger_url
from trust.keys import rotate_key_file

if TYPE_CHECKING:
    from execution_assets.archives.library import Library
    from execution_assets.archives.settings import ArchiveSettings

EMBEDDED = "archive.json"  # in the state folder; written at each start of the embedded servers


def environment_of(state: Path) -> dict[str, str]:
    """Give the environment, completed by what the embedded servers' state folder says where it names no bucket."""
    path = state / EMBEDDED
    if os.environ.get(BUCKET_VARIABLE) or not path.is_file():
        return dict(os.environ)
    try:
        known: dict[str, str] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArchiveSettingsError(f"{path}: {error}") from error
    return {**known, **os.environ}


def open_archives(state: Path) -> tuple[Library, ArchiveSettings]:
    """Connect to the archives. Raises ``ArchiveSettingsError`` and ``TrustError``."""
    environment = environment_of(state)
    settings = settings_from(environment)
    return open_library(settings, environment), settings


def add_key(state: Path) -> int:
    """Add a version to the key file; give its number. Raises ``ArchiveSettingsError`` where Vault has the keys."""
    settings = settings_from(environment_of(state))
    if settings.keys.startswith(TRANSIT):
        raise ArchiveSettingsError(f"--new-key: {settings.keys} is Vault's: rotate it there")
    return rotate_key_file(Path(settings.keys))


def ledger_if_any(url: str | None, state: Path) -> str | None:
    """Give the ledger's URL, or None where nothing names one: archives open without it."""
    try:
        return ledger_url(url, state)
    except NoLedgerError:
        if url is not None:
            raise
        return None
