"""The Prometheus series of secrets and of our identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class CredentialMetrics:
    """Whether Vault answers, what it holds for us, and until when our identity counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.vault_away = Gauge(
            "execution_vault_away",
            "1 while secrets cannot be read from Vault: the process runs on what it holds.",
            registry=registry,
        )
        self.refused = Gauge(
            "execution_credentials_refused",
            "1 while what Vault holds at the path cannot be used: what was held before is.",
            ["path"],
            registry=registry,
        )
        self.withdrawn = Gauge(
            "execution_credentials_withdrawn",
            "1 while the secret at the path is taken back in Vault: it counts no more.",
            ["path"],
            registry=registry,
        )
        self.rotations = Counter(
            "execution_credential_rotations", "Secrets that were replaced, by path.", ["path"], registry=registry
        )
        self.identity_expires = Gauge(
            "execution_identity_expires_timestamp_seconds",
            "When our X.509-SVID ends; 0 without one.",
            registry=registry,
        )
        self.identity_rotations = Counter(
            "execution_identity_rotations", "X.509-SVIDs that were taken over.", registry=registry
        )
