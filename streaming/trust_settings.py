"""Settings of who we are and where secrets are. They are named in ``streaming.settings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

BY_NAME = "name"
_SPIFFE = "spiffe://"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _spiffe_id(text: str) -> str:
    domain, _, path = text.removeprefix(_SPIFFE).partition("/")
    if not text.startswith(_SPIFFE) or not domain or not path:
        raise PydanticCustomError(
            "spiffe_id", "{text} is no SPIFFE ID: spiffe://TRUST-DOMAIN/PATH is required", {"text": repr(text)}
        )
    return text


def _server(text: str) -> str:
    return text if text in {"", BY_NAME} else _spiffe_id(text)


def _named(text: str, info: ValidationInfo) -> str:
    if text not in {"", BY_NAME}:
        rule = "identity.{field} must be name: its client does not let us look at a SPIFFE ID, was {text}"
        raise PydanticCustomError("by_name", rule, {"field": info.field_name, "text": repr(text)})
    return text


SpiffeId = Annotated[str, AfterValidator(_spiffe_id)]
Server = Annotated[str, AfterValidator(_server)]
Named = Annotated[str, AfterValidator(_named)]


class IdentitySettings(_Part):
    """Our X.509-SVID by the Workload API, and the connections that show it.

    Of a server: empty is no TLS of ours; ``name``: its certificate must be of the host that its address names; a
    SPIFFE ID: its certificate must have that, whatever its host. Its authority is our trust domain's, or ``ca``.
    """

    socket: str = Field(default="", description="unix:///… of the Workload API; else SPIFFE_ENDPOINT_SOCKET")
    spiffe_id: SpiffeId | None = Field(default=None, description="that we must be; the setting source, else")
    start_seconds: float = Field(default=30.0, gt=0, description="that the first SVID may take")
    ca: Path | None = Field(default=None, description="authorities of servers beside our trust domain's")
    postgres: Server = ""
    redis: Server = ""
    s3: Named = Field(default="", description="name only")
    kafka: Named = Field(default="", description="name only")
    vault: Server = ""


class VaultSettings(_Part):
    """The Vault whose secrets other settings name by reference (``vault:MOUNT/PATH#FIELD``)."""

    address: str = Field(default="", description="else VAULT_ADDR")
    namespace: str = ""
    role: str = Field(default="", description="of the jwt auth method, for our JWT-SVID; without it VAULT_TOKEN")
    auth_mount: str = Field(default="jwt", description="where the jwt auth method is")
    audience: str = Field(default="vault", description="of the JWT-SVID")
    poll_seconds: float = Field(default=10.0, gt=0, description="between two looks at the secrets' versions")
    overlap_seconds: float = Field(
        default=86_400.0, ge=0, description="for so long a replaced webhook secret goes on counting"
    )
