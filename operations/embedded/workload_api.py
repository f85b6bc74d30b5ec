"""A small Workload API server for development and tests. IT DOES NOT ATTEST.

Whoever can connect to its socket (this user and root: mode 0600) gets the identity that it was started with. In
production SPIRE's agent serves that socket and finds out who is calling (docs/identity.md). X.509-SVIDs are issued
by OpenBao's PKI engine, JWT-SVIDs are signed by a key of its Transit engine: no signing key is in this process.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt.algorithms import ECAlgorithm
from spiffe._proto import workload_pb2 as messages
from spiffe._proto import workload_pb2_grpc as service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import hvac

PKI, TRANSIT, ROLE, JWT_KEY = "spiffe-pki", "spiffe-jwt", "svid", "svid"
_HEADER = ("workload.spiffe.io", "true")  # SPIFFE Workload API 4: requests without it are refused
_STREAMS = 32
_LOOK_SECONDS = 0.2


def prepare(client: hvac.Client, trust_domain: str) -> None:
    """Set OpenBao up to issue SVIDs of a trust domain; what is there stays."""
    mounted = client.sys.list_mounted_secrets_engines()["data"]
    if f"{PKI}/" not in mounted:
        client.sys.enable_secrets_engine("pki", path=PKI, config={"max_lease_ttl": "87600h"})
        root = {"ttl": "87600h", "key_type": "ec", "key_bits": 256, "uri_sans": f"spiffe://{trust_domain}"}
        client.secrets.pki.generate_root("internal", f"{trust_domain} (development)", root, mount_point=PKI)
    client.secrets.pki.create_or_update_role(
        ROLE,
        {
            "allowed_uri_sans": f"spiffe://{trust_domain}/*",
            "allowed_domains": "localhost",
            "allow_bare_domains": True,
            "allow_ip_sans": True,
            "require_cn": False,
            "key_type": "ec",
            "key_bits": 256,
            "key_usage": ["DigitalSignature"],
            "basic_constraints_valid_for_non_ca": True,  # the client wants to see that it is no authority
            "max_ttl": "24h",
        },
        mount_point=PKI,
    )
    if f"{TRANSIT}/" not in mounted:
        client.sys.enable_secrets_engine("transit", path=TRANSIT)
        client.secrets.transit.create_key(JWT_KEY, key_type="ecdsa-p256", mount_point=TRANSIT)


def jwt_keys(client: hvac.Client) -> dict[str, str]:
    """Give the public keys of JWT-SVIDs, PEM by key id."""
    found = client.secrets.transit.read_key(JWT_KEY, mount_point=TRANSIT)["data"]["keys"]
    return {version: key["public_key"] for version, key in found.items()}


def let_in(client: hvac.Client, spiffe_id: str, role: str, policies: list[str], audience: str = "vault") -> None:
    """Let who shows a JWT-SVID of ``spiffe_id`` log in to OpenBao's jwt method."""
    if "jwt/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("jwt")
    client.auth.jwt.configure(jwt_validation_pubkeys=list(jwt_keys(client).values()), path="jwt")
    client.auth.jwt.create_role(
        role,
        user_claim="sub",
        allowed_redirect_uris=[],
        role_type="jwt",
        bound_subject=spiffe_id,
        bound_audiences=[audience],
        token_policies=policies,
        token_ttl="1h",  # noqa: S106
        path="jwt",
    )


class WorkloadApi:
    """Serves one identity on a Unix socket. ``ttl_seconds`` of each SVID; a new one comes at half of it."""

    def __init__(
        self,
        client: hvac.Client,
        socket: Path,
        spiffe_id: str,
        *,
        ttl_seconds: float = 3600.0,
        names: tuple[str, ...] = ("localhost",),
        addresses: tuple[str, ...] = ("127.0.0.1",),
    ) -> None:
        self._client = client
        self._path = socket
        self.spiffe_id = spiffe_id
        self.trust_domain = spiffe_id.removeprefix("spiffe://").partition("/")[0]
        self._ttl = ttl_seconds
        self._names = {"alt_names": ",".join(names), "ip_sans": ",".join(addresses)}
        self._stopping = threading.Event()
        self._renew = threading.Condition()
        self._round = 0
        self._server: grpc.Server | None = None

    @property
    def socket(self) -> str:
        """For SPIFFE_ENDPOINT_SOCKET."""
        return f"unix://{self._path}"

    def start(self) -> None:
        """Serve."""
        prepare(self._client, self.trust_domain)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._stopping.clear()
        server = grpc.server(ThreadPoolExecutor(_STREAMS, thread_name_prefix="workload api"))
        service.add_SpiffeWorkloadAPIServicer_to_server(_Servicer(self), server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(self.socket)
        server.start()
        self._path.chmod(0o600)
        self._server = server

    def stop(self) -> None:
        """Hang up on everybody."""
        self._stopping.set()
        self.rotate()
        if self._server is not None:
            self._server.stop(0.5).wait()
            self._server = None

    def rotate(self) -> None:
        """Send everybody a new SVID now."""
        with self._renew:
            self._round += 1
            self._renew.notify_all()

    def rounds(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Come round whenever an SVID is due, until the caller is gone or the server stops."""
        while not self._stopping.is_set():
            with self._renew:
                seen = self._round
            yield
            until = time.monotonic() + self._ttl / 2
            with self._renew:
                while self._round == seen and time.monotonic() < until and context.is_active():
                    self._renew.wait(_LOOK_SECONDS)
            if not context.is_active():
                return

    def x509_svid(self, spiffe_id: str | None = None) -> messages.X509SVID:
        """Issue one."""
        spiffe_id = spiffe_id or self.spiffe_id
        wanted = {"uri_sans": spiffe_id, "ttl": f"{max(1, int(self._ttl))}s", **self._names}
        issued = self._client.secrets.pki.generate_certificate(ROLE, "", wanted, mount_point=PKI)["data"]
        key = load_pem_private_key(issued["private_key"].encode(), None)
        return messages.X509SVID(
            spiffe_id=spiffe_id,
            x509_svid=_der(issued["certificate"]),
            x509_svid_key=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            bundle=_der(issued["issuing_ca"]),
        )

    def bundle(self) -> bytes:
        """Give the authorities of the trust domain (DER)."""
        return _der(self._client.secrets.pki.read_ca_certificate(mount_point=PKI))

    def jwt_svid(self, audience: list[str]) -> str:
        """Sign one (SPIFFE JWT-SVID 3)."""
        keys = jwt_keys(self._client)
        version, now = max(keys, key=int), int(time.time())
        header = {"alg": "ES256", "kid": version, "typ": "JWT"}
        claims = {"sub": self.spiffe_id, "aud": audience, "iat": now, "exp": now + 300}
        signed = ".".join(_url(json.dumps(part).encode()) for part in (header, claims))
        answer = self._client.secrets.transit.sign_data(
            JWT_KEY,
            hash_input=base64.b64encode(signed.encode()).decode(),
            key_version=int(version),
            hash_algorithm="sha2-256",
            marshaling_algorithm="jws",
            mount_point=TRANSIT,
        )
        return f"{signed}.{answer['data']['signature'].rpartition(':')[2]}"

    def jwks(self) -> bytes:
        """Give the keys of JWT-SVIDs (RFC 7517)."""
        keys = []
        for version, pem in jwt_keys(self._client).items():
            key: Any = load_pem_public_key(pem.encode())
            keys.append({**ECAlgorithm.to_jwk(key, as_dict=True), "kid": version, "use": "jwt-svid"})
        return json.dumps({"keys": keys}).encode()


class _Servicer(service.SpiffeWorkloadAPIServicer):
    def __init__(self, api: WorkloadApi) -> None:
        self._api = api

    def FetchX509SVID(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        _check(context)
        for _ in self._api.rounds(context):
            yield messages.X509SVIDResponse(svids=[self._api.x509_svid()])

    def FetchX509Bundles(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        _check(context)
        for _ in self._api.rounds(context):
            yield messages.X509BundlesResponse(bundles={f"spiffe://{self._api.trust_domain}": self._api.bundle()})

    def FetchJWTSVID(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        _check(context)
        if not request.audience:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an audience is required")
        if request.spiffe_id not in ("", self._api.spiffe_id):
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the only identity here is {self._api.spiffe_id}")
        svid = self._api.jwt_svid(list(request.audience))
        return messages.JWTSVIDResponse(svids=[messages.JWTSVID(spiffe_id=self._api.spiffe_id, svid=svid)])

    def FetchJWTBundles(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        _check(context)
        for _ in self._api.rounds(context):
            yield messages.JWTBundlesResponse(bundles={f"spiffe://{self._api.trust_domain}": self._api.jwks()})


def _check(context: grpc.ServicerContext) -> None:
    if _HEADER not in context.invocation_metadata():
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")


def _der(pem: str) -> bytes:
    found = x509.load_pem_x509_certificates(pem.encode())
    return b"".join(one.public_bytes(Encoding.DER) for one in found)


def _url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
