"""What the audit commands work with: the settings' table, the bucket, and the public keys that count."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr, ValidationError

from operations.audit.reading import AuditError
from streaming.audit_parts import bucket_of, signer_of
from streaming.settings import CONFIG_VARIABLE, AuditSettings
from trust.clients import clients_of, settings_environment
from trust.errors import KeyUnavailableError, StoreError
from trust.notes import parse_key
from trust.references import is_reference, parse_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trust.bucket_log import BucketLog
    from trust.notes import NoteKey


def settings_of(state: Path) -> AuditSettings | None:
    """Give the table [audit] of the settings' file; None where there is none. Raises ``AuditError``."""
    path = Path(os.environ.get(CONFIG_VARIABLE) or state / "stream" / "stream.toml")
    if not path.is_file():
        return None
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("audit")
        return None if table is None else _settled(AuditSettings.model_validate(table), path)
    except ValidationError as error:
        first = error.errors()[0]
        raise AuditError(f"{path}: setting audit.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError) as error:
        raise AuditError(f"{path}: {error}") from error


def _settled(settings: AuditSettings, path: Path) -> AuditSettings:
    """Put the values in place of references, by the Vault that ``path`` may name. Raises ``TrustError``."""
    given = {name: getattr(settings, name) for name in ("s3_access_key", "s3_secret_key")}
    texts = {n: v.get_secret_value() if isinstance(v, SecretStr) else str(v) for n, v in given.items()}
    references = {name: parse_reference(text) for name, text in texts.items() if is_reference(text)}
    if not references:
        return settings
    from trust.credentials import VaultReader  # noqa: PLC0415  half of it is loading HTTP clients

    reader = VaultReader(clients_of(settings_environment(path, os.environ)).vault, 0.0)
    found = {name: reader.read(r.place).value(r.field) for name, r in references.items()}
    return AuditSettings.model_validate({**settings.model_dump(), **texts, **found})


def keys_of(
    settings: AuditSettings | None, given: Sequence[str] | None, bucket: BucketLog | None
) -> list[NoteKey]:
    """Give the keys that count: those given, else of the settings, and what these vouch for in the bucket.

    Where none is named, the first key in the bucket counts. The signing key itself is asked only where the bucket
    has none, or earlier ones are named. Raises ``AuditError``, ``TrustError``.
    """
    pinned = [parse_key(text) for text in given or (settings.verifiers if settings is not None else ())]
    if settings is None:
        if not pinned:
            raise AuditError("which key? give --key, or name the settings in EXECUTION_AGENT_CONFIG ([audit])")
        return pinned
    found = _vouched(bucket or bucket_of(settings, []), pinned, needed=bucket is not None)
    if not given and (settings.verifiers or not found):
        try:
            found += [key for key in signer_of(settings).keys if key not in found]
        except KeyUnavailableError:
            if not found:
                raise
    if bucket is not None:
        bucket.trust(found)
    return found


def log_of(state: Path) -> BucketLog | None:
    """Give the log's bucket with the keys that count; None where none is set. Raises as ``keys_of``."""
    settings = settings_of(state)
    if settings is None:
        return None
    bucket = bucket_of(settings, [])
    keys_of(settings, None, bucket)
    return bucket


def _vouched(bucket: BucketLog, pinned: list[NoteKey], *, needed: bool) -> list[NoteKey]:
    try:
        return bucket.keys.trusted(pinned)
    except StoreError:
        if needed:
            raise
        return pinned
