"""What the audit log is signed with and where it is stored, as the settings say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from trust.bucket_log import BucketLog
from trust.clients import clients_of, secret_of
from trust.locked_store import LockedStore
from trust.notes import parse_key
from trust.signing import FileSigner, TransitSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import hvac
    from mypy_boto3_s3 import S3Client

    from streaming.settings import AuditSettings
    from streaming.trusting import Trust
    from trust.clients import Clients
    from trust.notes import NoteKey
    from trust.signing import RotatedSigner

TRANSIT = "transit:"
_VAULT_SECONDS = 5
_CONNECT_SECONDS, _READ_SECONDS = 2, 2  # of the bucket: when it is back it has the checkpoints within 5 s


def signer_of(audit: AuditSettings, trust: Trust | Clients | None = None) -> RotatedSigner:
    """Give the key that signs checkpoints. Nothing is read or asked before it is used.

    Vault is that of the setting ``vault``, logged in to as who we are; else by VAULT_ADDR and VAULT_TOKEN or
    VAULT_ROLE. Without ``trust``, as for commands, we are who the environment says.
    """
    trust = trust or _by_environment()
    if not audit.signer.startswith(TRANSIT):
        from pathlib import Path  # noqa: PLC0415

        return FileSigner(audit.origin, Path(audit.signer))
    mount, _, key = audit.signer.removeprefix(TRANSIT).rpartition("/")
    if trust is not None and trust.vault is not None:
        return TransitSigner(audit.origin, trust.vault, key, mount)
    clients: list[hvac.Client] = []

    def client() -> hvac.Client:
        import hvac  # noqa: PLC0415

        if not clients:
            clients.append(hvac.Client(timeout=_VAULT_SECONDS))
        return clients[0]

    return TransitSigner(audit.origin, client, key, mount)


def bucket_of(
    audit: AuditSettings,
    keys: Sequence[NoteKey],
    trust: Trust | Clients | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> BucketLog:
    """Give the log's place in the bucket; ``keys`` beside those of ``audit.verifiers`` may have signed it.

    ``tell`` hears of what is there and should not be.
    """
    known = [*keys, *(parse_key(text) for text in audit.verifiers)]
    client = _client(audit, trust or _by_environment())
    return BucketLog(LockedStore(client, audit.bucket), audit.prefix, audit.origin, known, tell)


def _by_environment() -> Clients | None:
    """Who commands are; None where the environment names no identity: then Vault's and S3's own settings count."""
    clients = clients_of(os.environ)
    return clients if clients.of("vault") or clients.of("s3") or os.environ.get("VAULT_ROLE") else None


def _client(audit: AuditSettings, trust: Trust | Clients | None) -> S3Client:
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    own = audit.s3_endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {}
    if audit.s3_endpoint:
        options["endpoint_url"] = audit.s3_endpoint
    if audit.s3_access_key:
        # the process has read them by now; a command has the references
        options["aws_access_key_id"] = secret_of(audit.s3_access_key, os.environ)
        options["aws_secret_access_key"] = secret_of(audit.s3_secret_key.get_secret_value(), os.environ)
    if own and not os.environ.get("AWS_REGION"):
        options["region_name"] = "us-east-1"  # an address of one's own has no regions, and the SDK wants one
    shown = {} if trust is None or not trust.of("s3") else trust.s3_options()
    if shown:
        options["verify"] = shown.pop("verify")
    config: Any = Config(
        **shown,
        s3={"addressing_style": "path"} if own else {},
        retries={"total_max_attempts": 1},  # whoever asks comes again
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    return boto3.client("s3", config=config, **options)
