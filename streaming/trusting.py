"""Who this process is and what it may read, as the settings say: made once, and used by all of its parts."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import structlog

from ledger.faultpoints import at
from streaming.credentials import Credentials
from streaming.errors import SettingsError, StreamingError
from streaming.references import references_in
from trust.errors import CredentialsError, IdentityError
from trust.showing import Showing

if TYPE_CHECKING:
    import ssl

    from streaming.credential_metrics import CredentialMetrics
    from streaming.settings import Settings
    from streaming.trust_settings import IdentitySettings, VaultSettings
    from trust.spiffe import Identity, Svid
    from trust.vault import VaultSession

log = structlog.get_logger()


class Trust:
    """Our identity, and our secrets. Without either in the settings it gives nothing, and costs nothing."""

    def __init__(self, settings: Settings, metrics: CredentialMetrics) -> None:
        """Ask for nothing yet. Raises ``SettingsError``."""
        self._settings = settings.identity
        self._metrics = metrics
        self.identity = None if settings.identity is None else _identity(settings.identity, settings.source)
        self.vault = None if settings.vault is None else self._session(settings.vault)
        self._showing = None if self.identity is None else Showing(self.identity)
        references = sorted(set(references_in(settings.venues)))
        self.credentials = Credentials()
        self.watches = bool(references)
        if references:
            from trust.credentials import VaultReader  # noqa: PLC0415  half of it is loading HTTP clients

            assert settings.vault is not None, "settings without it are refused"
            assert self.vault is not None
            reader = VaultReader(self.vault, settings.vault.overlap_seconds)
            seconds = settings.vault.poll_seconds
            self.credentials = Credentials(references, reader, metrics, poll_seconds=seconds)

    async def start(self) -> None:
        """Get the first SVID, where there is to be one. Raises ``StreamingError``."""
        if self.identity is None or self._settings is None:
            return
        self.identity.on_change.append(self._changed)
        try:
            await asyncio.to_thread(self.identity.start, self._settings.start_seconds)
        except IdentityError as error:
            raise StreamingError(str(error)) from error

    def close(self) -> None:
        """Let go of the Workload API."""
        if self.identity is not None:
            self.identity.close()

    def status(self) -> dict[str, object]:
        """Give what /status shows of the identity."""
        if self.identity is None:
            return {"state": "off"}
        try:
            svid = self.identity.svid
        except IdentityError as error:
            return {"state": "none", "reason": str(error)}
        return {"state": "held", "id": svid.spiffe_id, "serial": svid.serial, "ends": svid.ends}

    def client_tls(self, server: str) -> ssl.SSLContext | None:
        """Give the TLS of connections to a server; None where it gets none of ours."""
        return self._shown().client_tls(server) if server else None

    def server_tls(self) -> ssl.SSLContext:
        """Give the TLS of what we serve. Raises ``IdentityError`` before ``start``."""
        return self._shown().server_tls()

    def of(self, server: str) -> str:
        """Say how a server is known, by the setting of that name."""
        return "" if self._settings is None else str(getattr(self._settings, server))

    def kafka_options(self) -> dict[str, str]:
        """Give librdkafka's TLS settings as of now; a client keeps those that it was made with."""
        return self._shown().kafka_options()

    def s3_options(self) -> dict[str, Any]:
        """Give what boto3 reads at each connection: paths of files in memory, which change with the SVID."""
        return self._shown().s3_options()

    def _shown(self) -> Showing:
        if self._showing is None:
            raise IdentityError("there is no setting identity")
        return self._showing

    def _changed(self, svid: Svid) -> None:
        self._metrics.identity_expires.set(svid.ends)
        self._metrics.identity_rotations.inc()
        at("identity.replaced")
        log.info("an X.509-SVID was taken over", id=svid.spiffe_id, serial=svid.serial, ends=svid.ends)

    def _session(self, vault: VaultSettings) -> VaultSession:
        from trust.vault import VaultSession, client_at, jwt_login, token_login, transport  # noqa: PLC0415

        address = vault.address or os.environ.get("VAULT_ADDR", "")
        if not address:
            raise SettingsError("setting vault.address: neither it nor VAULT_ADDR says where Vault is")
        if vault.role:
            login = jwt_login(lambda: self._jwt(vault.audience), vault.role, vault.auth_mount)
        elif token := os.environ.get("VAULT_TOKEN", ""):
            login = token_login(token)
        else:
            raise SettingsError("setting vault.role: neither it nor VAULT_TOKEN says how to log in to Vault")
        server = self.of("vault")

        def made() -> Any:
            tls = self.client_tls(server)
            way = None if tls is None else transport(tls, by_name=server == "name")
            return client_at(address, namespace=vault.namespace, transport=way)

        return VaultSession(made, login)

    def _jwt(self, audience: str) -> str:
        try:
            return self._shown().identity.jwt(audience)
        except IdentityError as error:
            raise CredentialsError(str(error)) from error


def _identity(settings: IdentitySettings, source: str) -> Identity:
    from trust.spiffe import Identity  # noqa: PLC0415  gRPC is loaded by those who use it

    try:
        authorities = b"" if settings.ca is None else settings.ca.read_bytes()
    except OSError as error:
        raise SettingsError(f"setting identity.ca: {settings.ca}: {error.strerror}") from error
    return Identity(settings.socket, settings.spiffe_id or source, authorities=authorities)
