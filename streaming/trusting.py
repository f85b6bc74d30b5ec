"""Who this process is and what it may read, as the settings say: made once, and used by all of its parts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streaming.credentials import Credentials
from streaming.errors import SettingsError
from streaming.references import references_in

if TYPE_CHECKING:
    from streaming.metrics import Metrics
    from streaming.settings import Settings
    from streaming.trust_settings import VaultSettings
    from trust.vault import VaultSession


class Trust:
    """Our secrets."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        """Read nothing yet. Raises ``SettingsError``."""
        self.vault = None if settings.vault is None else self._session(settings.vault)
        references = sorted(set(references_in(settings.venues)))
        self.credentials = Credentials()
        self.watches = bool(references)
        if references:
            from trust.credentials import VaultReader  # noqa: PLC0415  half of it is loading HTTP clients

            assert settings.vault is not None, "settings without it are refused"
            assert self.vault is not None
            reader = VaultReader(self.vault, settings.vault.overlap_seconds)
            seconds = settings.vault.poll_seconds
            self.credentials = Credentials(references, reader, metrics.credentials, poll_seconds=seconds)

    def _session(self, vault: VaultSettings) -> VaultSession:
        from trust.vault import VaultSession, client_at, token_login  # noqa: PLC0415

        address = vault.address or os.environ.get("VAULT_ADDR", "")
        if not address:
            raise SettingsError("setting vault.address: neither it nor VAULT_ADDR says where Vault is")
        token = os.environ.get("VAULT_TOKEN", "")
        if not token:
            raise SettingsError("setting vault.role: neither it nor VAULT_TOKEN says how to log in to Vault")
        return VaultSession(lambda: client_at(address, namespace=vault.namespace), token_login(token))
