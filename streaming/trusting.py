"""Who this process is and what it may read, as the settings say: made once, and used by all of its parts."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Any

import structlog

from streaming.credentials import Credentials
from streaming.errors import SettingsError, StreamingError
from streaming.references import references_in
from trust.errors import CredentialsError, IdentityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.credential_metrics import CredentialMetrics
    from streaming.settings import Settings
    from streaming.trust_settings import IdentitySettings, VaultSettings
    from trust.spiffe import Identity, Svid
    from trust.tls import MemoryFile, Shown
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
        self._contexts: dict[str, tuple[Shown, ssl.SSLContext]] = {}
        self._files: dict[str, MemoryFile] = {}
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
        if not server:
            return None
        from trust.tls import client_context, rotating  # noqa: PLC0415

        newest = self._newest(server, lambda shown: client_context(shown, server))
        return rotating(ssl.PROTOCOL_TLS_CLIENT, newest)

    def server_tls(self) -> ssl.SSLContext:
        """Give the TLS of what we serve. Raises ``IdentityError`` before ``start``."""
        from trust.tls import rotating, server_context  # noqa: PLC0415

        return rotating(ssl.PROTOCOL_TLS_SERVER, self._newest("server", server_context))

    def of(self, server: str) -> str:
        """Say how a server is known, by the setting of that name."""
        return "" if self._settings is None else str(getattr(self._settings, server))

    def kafka_options(self) -> dict[str, str]:
        """Give librdkafka's TLS settings as of now; a client keeps those that it was made with."""
        shown = self._held().svid.shown
        return {
            "security.protocol": "ssl",
            "ssl.certificate.pem": shown.chain.decode(),
            "ssl.key.pem": shown.key.decode(),
            "ssl.ca.pem": shown.authorities.decode(),
        }

    def s3_options(self) -> dict[str, Any]:
        """Give what boto3 reads at each connection: paths of files in memory, which change with the SVID."""
        from trust.tls import MemoryFile  # noqa: PLC0415

        shown = self._held().svid.shown
        if not self._files:
            contents = {"pem": shown.chain + shown.key, "ca": shown.authorities}
            self._files = {name: MemoryFile(content) for name, content in contents.items()}
        return {"client_cert": self._files["pem"].path, "verify": self._files["ca"].path}

    def _held(self) -> Identity:
        if self.identity is None:
            raise IdentityError("there is no setting identity")
        return self.identity

    def _newest(self, name: str, make: Callable[[Shown], ssl.SSLContext]) -> Callable[[], ssl.SSLContext]:
        def newest() -> ssl.SSLContext:
            shown = self._held().svid.shown
            known = self._contexts.get(name)
            if known is None or known[0] is not shown:
                known = self._contexts[name] = (shown, make(shown))
            return known[1]

        return newest

    def _changed(self, svid: Svid) -> None:
        self._metrics.identity_expires.set(svid.ends)
        self._metrics.identity_rotations.inc()
        if self._files:
            self._files["pem"].replace(svid.shown.chain + svid.shown.key)
            self._files["ca"].replace(svid.shown.authorities)
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
            return self._held().jwt(audience)
        except IdentityError as error:
            raise CredentialsError(str(error)) from error


def _identity(settings: IdentitySettings, source: str) -> Identity:
    from trust.spiffe import Identity  # noqa: PLC0415  gRPC is loaded by those who use it

    try:
        authorities = b"" if settings.ca is None else settings.ca.read_bytes()
    except OSError as error:
        raise SettingsError(f"setting identity.ca: {settings.ca}: {error.strerror}") from error
    return Identity(settings.socket, settings.spiffe_id or source, authorities=authorities)
