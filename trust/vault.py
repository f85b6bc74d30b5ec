"""A client of Vault or OpenBao that is logged in, and stays so: its token is renewed, or a new one is had.

The token is in memory only. It comes by a JWT-SVID (the workload's identity), or is handed over by the
environment, as where people work by hand.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import hvac
import requests
import requests.adapters

from trust.errors import CredentialsError, IdentityError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

TIMEOUT_SECONDS = 5.0
_RENEW_AT = 0.5  # of a token's life: half of it is left to try again in
_FAILURES = (hvac.exceptions.VaultError, requests.RequestException)


class Login(Protocol):
    """Gets a token for a client."""

    def __call__(self, client: hvac.Client) -> float | None:
        """Set the client's token; give for how many seconds it lives, None for ever."""


def token_login(token: str) -> Login:
    """Log in with a token that is there already."""

    def login(client: hvac.Client) -> float | None:
        client.token = token
        seconds = float(client.auth.token.lookup_self()["data"]["ttl"])
        return seconds or None

    return login


def jwt_login(fetch: Callable[[], str], role: str, mount: str = "jwt") -> Login:
    """Log in with a JWT, a new one each time (docs of the jwt auth method)."""

    def login(client: hvac.Client) -> float | None:
        answer = client.auth.jwt.jwt_login(role, fetch(), path=mount)
        return float(answer["auth"]["lease_duration"]) or None

    return login


class VaultSession:
    """Gives the logged-in client to whoever calls it, from any thread.

    ``made`` makes a client without a token. Raises ``CredentialsError`` where Vault cannot be reached, or does not
    let us in.
    """

    def __init__(self, made: Callable[[], hvac.Client], login: Login) -> None:
        self._made, self._login = made, login
        self._lock = threading.Lock()
        self._client: hvac.Client | None = None
        self._is_refused = False
        self._renew_at: float | None = 0.0
        self._dead_at: float | None = 0.0

    def __call__(self) -> hvac.Client:
        """Give the client, after its token was renewed where that was due."""
        with self._lock:
            now = time.monotonic()
            is_dead = self._dead_at is not None and now >= self._dead_at
            if self._client is None or self._is_refused or is_dead:
                self._log_in()
            elif self._renew_at is not None and now >= self._renew_at:
                self._renew(self._client)
            assert self._client is not None
            return self._client

    def forget(self) -> None:
        """Log in anew at the next call: the token was refused."""
        with self._lock:
            self._client = None

    def _log_in(self) -> None:
        client = self._made()
        client.adapter.session.hooks["response"].append(self._look)
        try:
            seconds = self._login(client)
        except _FAILURES as error:
            raise CredentialsError(f"Vault does not let us in: {error}") from error
        self._client, self._is_refused = client, False
        self._lives(seconds)

    def _look(self, answer: requests.Response, **_: Any) -> None:
        # a token that was revoked cannot be told from a policy that says no: the next call logs in anew
        if answer.status_code == requests.codes.forbidden:
            self._is_refused = True

    def _renew(self, client: hvac.Client) -> None:
        # a token at the end of its longest life cannot be renewed, and one that is lost cannot be either
        seconds: float | None = None
        with suppress(*_FAILURES):
            answer = client.auth.token.renew_self()["auth"]
            seconds = float(answer["lease_duration"]) if answer["renewable"] else None
        left = (self._dead_at or 0.0) - time.monotonic()
        if seconds is not None and seconds > left:
            self._lives(seconds)
            return
        try:
            self._log_in()
        except CredentialsError:
            # what is left of the old token is used; soon it is tried again
            self._renew_at = time.monotonic() + max(1.0, left * _RENEW_AT)

    def _lives(self, seconds: float | None) -> None:
        now = time.monotonic()
        self._renew_at = None if seconds is None else now + seconds * _RENEW_AT
        self._dead_at = None if seconds is None else now + seconds


def session_of(
    environment: Mapping[str, str], tls: Callable[[], requests.adapters.HTTPAdapter] | None = None
) -> VaultSession:
    """Give the Vault of ``VAULT_ADDR``, as commands and Dagster's processes have it.

    ``tls`` makes what speaks TLS, where we show an identity of ours. With ``VAULT_ROLE`` we log in by our JWT-SVID
    (``SPIFFE_ENDPOINT_SOCKET``), whose audience is ``VAULT_AUDIENCE`` or ``vault``; without it ``VAULT_TOKEN`` is
    used.
    """
    role = environment.get("VAULT_ROLE", "")

    def fetch() -> str:
        from trust.spiffe import fetch_jwt  # noqa: PLC0415  gRPC is loaded by those who use it

        try:
            return fetch_jwt(environment.get("SPIFFE_ENDPOINT_SOCKET"), environment.get("VAULT_AUDIENCE", "vault"))
        except IdentityError as error:
            raise CredentialsError(str(error)) from error

    login = jwt_login(fetch, role) if role else token_login(environment.get("VAULT_TOKEN", ""))
    namespace = environment.get("VAULT_NAMESPACE", "")
    address = environment.get("VAULT_ADDR") or "http://127.0.0.1:8200"

    def made() -> hvac.Client:
        return client_at(address, namespace=namespace, transport=None if tls is None else tls())

    return VaultSession(made, login)


class _Transport(requests.adapters.HTTPAdapter):
    """Speaks TLS by a context of ours, and by no certificates of anybody else."""

    def __init__(self, context: ssl.SSLContext, *, by_name: bool) -> None:
        self._options: dict[str, Any] = {"ssl_context": context}
        if not by_name:
            self._options["assert_hostname"] = False  # the context looks at who it is
        super().__init__()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        del verify, cert
        host, _ = super().build_connection_pool_key_attributes(request, True)
        return host, self._options

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection as it is: the context says all."""


def transport(context: ssl.SSLContext, *, by_name: bool) -> requests.adapters.HTTPAdapter:
    """Make what speaks TLS by ``context``; ``by_name``: the server's certificate is of its host."""
    return _Transport(context, by_name=by_name)


def client_at(
    address: str,
    *,
    namespace: str = "",
    verify: str | bool | None = None,
    transport: requests.adapters.HTTPAdapter | None = None,
) -> hvac.Client:
    """Make a client without a token; ``transport`` is what speaks TLS where we show an identity of ours."""
    session = requests.Session()
    session.trust_env = False  # a proxy or a .netrc of the environment is none of Vault's
    if transport is not None:
        session.mount("https://", transport)
    client = hvac.Client(
        url=address,
        token="",
        verify=verify,
        timeout=TIMEOUT_SECONDS,
        namespace=namespace or None,
        session=session,
    )
    client.token = None
    return client
