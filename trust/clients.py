"""Who we are towards S3 and Vault, for programs that live for a command or a run: as the environment says.

The settings are those of the streaming process, ``[identity]`` of the file that ``EXECUTION_AGENT_CONFIG`` names
or ``EXECUTION_AGENT_IDENTITY__…``, which win: one place says how a server is known. The Workload API is watched
until the program ends, so that what takes longer than an SVID lives shows the next one.
"""

from __future__ import annotations

import atexit
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from trust.errors import CredentialsError, IdentityError
from trust.references import is_reference, parse_reference
from trust.tls import BY_NAME
from trust.vault import session_of, transport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trust.showing import Showing
    from trust.vault import VaultSession

AGENT = "spiffe://dynamic.capital/agent/execution"
CONFIG_VARIABLE = "EXECUTION_AGENT_CONFIG"
PREFIX = "EXECUTION_AGENT_IDENTITY__"
_SPIFFE = "spiffe://"
_START_SECONDS = 30.0
_IDENTITY = ("socket", "spiffe_id", "ca", "s3", "vault", "start_seconds")
_VAULT = {
    "address": "VAULT_ADDR",
    "role": "VAULT_ROLE",
    "audience": "VAULT_AUDIENCE",
    "namespace": "VAULT_NAMESPACE",
}

_made: dict[IdentityOptions, Showing] = {}
_making = threading.Lock()


class IdentityOptions(NamedTuple):
    """``s3``: ``name`` or empty; ``vault``: a SPIFFE ID, ``name`` or empty; empty is no TLS of ours."""

    socket: str
    spiffe_id: str
    ca: str
    s3: str
    vault: str
    start_seconds: float


class Clients:
    """What S3 and Vault clients are made with."""

    def __init__(self, options: IdentityOptions | None, environment: Mapping[str, str]) -> None:
        self._options = options
        self._environment = environment

    def of(self, server: str) -> str:
        """Say how a server is known: ``s3`` or ``vault``; empty is no TLS of ours."""
        return "" if self._options is None else str(getattr(self._options, server))

    def s3_options(self) -> dict[str, Any]:
        """Give what boto3 reads at each connection. Raises ``IdentityError``."""
        return self._showing().s3_options()

    @property
    def vault(self) -> VaultSession:
        """Give the Vault of ``VAULT_ADDR``; it is asked when it is used."""
        server = self.of("vault")
        if not server:
            return session_of(self._environment)

        def made() -> Any:
            try:
                return transport(self._showing().client_tls(server), by_name=server == BY_NAME)
            except IdentityError as error:
                raise CredentialsError(str(error)) from error

        return session_of(self._environment, made)

    def _showing(self) -> Showing:
        assert self._options is not None, "without an identity nothing is shown"
        with _making:
            found = _made.get(self._options)
            if found is None:
                found = _made[self._options] = _started(self._options)
            return found


def clients_of(environment: Mapping[str, str]) -> Clients:
    """Give them; nothing is asked before it is used. Raises ``IdentityError`` where a setting is wrong."""
    return Clients(options_of(environment), environment)


def secret_of(text: str, environment: Mapping[str, str]) -> str:
    """Give a secret: the text itself, or what it refers to, as the Vault of the environment has it now.

    Raises ``TrustError``; a text that is no reference is not asked about.
    """
    if not is_reference(text):
        return text
    from trust.credentials import VaultReader  # noqa: PLC0415  half of it is loading HTTP clients

    try:
        reference = parse_reference(text)
        return VaultReader(clients_of(environment).vault, 0.0).read(reference.place).value(reference.field)
    except KeyError:
        raise CredentialsError(f"{text}: there is no such field, or it is no text") from None
    except ValueError as error:
        raise CredentialsError(str(error)) from None


def environment_with(environment: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """Give the environment with what ``[identity]`` and ``[vault]`` of a process's settings say; it wins.

    Where it names a Vault of its own (``VAULT_ADDR``), that of the settings is not asked. ``VAULT_TOKEN`` logs in,
    where it is set, in place of the settings' role: a person's own rights.
    """
    vault, identity = settings.get("vault") or {}, settings.get("identity") or {}
    found = {f"{PREFIX}{name.upper()}": str(identity[name]) for name in _IDENTITY if identity.get(name)}
    if identity.get("socket"):
        found["SPIFFE_ENDPOINT_SOCKET"] = str(identity["socket"])
    if "VAULT_ADDR" not in environment:
        named = _VAULT if "VAULT_TOKEN" not in environment else {"address": "VAULT_ADDR"}
        found |= {variable: str(vault[name]) for name, variable in named.items() if vault.get(name)}
    return {**found, **environment}


def settings_environment(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment with what a settings' file says. Raises ``IdentityError``."""
    return environment_with(environment, _file(str(path)))


def options_of(environment: Mapping[str, str]) -> IdentityOptions | None:
    """Read how S3 and Vault are known; None where neither is by an identity of ours. Raises ``IdentityError``."""
    whole = _file(environment.get(CONFIG_VARIABLE))
    said: dict[str, Any] = {**whole.get("identity", {})}
    said |= {
        name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)
    }
    s3, vault = str(said.get("s3", "")), str(said.get("vault", ""))
    if s3 not in {"", BY_NAME}:
        raise IdentityError(
            f"setting identity.s3: name is required, S3's client looks at no SPIFFE ID; was {s3!r}"
        )
    if vault not in {"", BY_NAME} and not vault.startswith(_SPIFFE):
        raise IdentityError(f"setting identity.vault: name or {_SPIFFE}… is required, was {vault!r}")
    if not (s3 or vault):
        return None
    try:
        seconds = float(said.get("start_seconds", _START_SECONDS))
    except ValueError:
        raise IdentityError(f"setting identity.start_seconds: a number is required, was {said!r}") from None
    socket = str(said.get("socket") or environment.get("SPIFFE_ENDPOINT_SOCKET", ""))
    named = said.get("spiffe_id") or environment.get("EXECUTION_AGENT_SOURCE") or whole.get("source") or AGENT
    return IdentityOptions(socket, str(named), str(said.get("ca", "")), s3, vault, seconds)


def _file(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise IdentityError(f"{CONFIG_VARIABLE}={path}: {error}") from error


def _started(options: IdentityOptions) -> Showing:
    from trust.showing import Showing  # noqa: PLC0415
    from trust.spiffe import Identity  # noqa: PLC0415  gRPC is loaded by those who use it

    try:
        authorities = Path(options.ca).read_bytes() if options.ca else b""
    except OSError as error:
        raise IdentityError(f"setting identity.ca: {options.ca}: {error.strerror}") from error
    identity = Identity(options.socket, options.spiffe_id, authorities=authorities)
    showing = Showing(identity)
    identity.start(options.start_seconds)
    atexit.register(identity.close)
    return showing
