"""Who we are: an X.509-SVID and JWT-SVIDs by the Workload API of SPIFFE, whoever serves it (SPIRE in production).

The server sends a new SVID before the old one ends. A server that goes away is tried again for ever; meanwhile the
SVID that is held serves until it ends. Peers are of our own trust domain: bundles of federated ones are not
believed.
"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import SpiffeId, WorkloadApiClient
from spiffe.errors import PySpiffeError

from trust.errors import IdentityError
from trust.tls import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from spiffe.workloadapi.workload_api_client import StreamCancelHandler
    from spiffe.workloadapi.x509_context import X509Context

_AGAIN_SECONDS = 1.0
_JWT_SECONDS = 5.0


class Svid(NamedTuple):
    """An X.509-SVID: ``shown`` is what TLS needs of it; ``ends`` is Unix time."""

    spiffe_id: str
    serial: str
    ends: float
    shown: Shown


class Identity:
    """The newest SVID. ``on_change`` is called from a thread of ours; it must be quick."""

    def __init__(self, socket: str | None, spiffe_id: str, *, authorities: bytes = b"") -> None:
        """Connect to nothing yet. ``authorities`` (PEM) are believed beside our trust domain's."""
        self._socket = socket or None
        self._wanted = spiffe_id
        self._authorities = authorities
        self._client: WorkloadApiClient | None = None
        self._watching: StreamCancelHandler | None = None
        self._svid: Svid | None = None
        self._came = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.on_change: list[Callable[[Svid], None]] = []
        self.trouble = ""
        """Why no newer SVID comes; empty while nothing is known to be wrong."""

    @property
    def svid(self) -> Svid:
        """The newest. Raises ``IdentityError`` before the first."""
        if self._svid is None:
            raise IdentityError(f"the Workload API has given no SVID yet: {self.trouble or 'it was not asked'}")
        return self._svid

    def start(self, seconds: float) -> Svid:
        """Wait for the first SVID and give it. Raises ``IdentityError``; then it is closed."""
        self._watch()
        if not self._came.wait(seconds) or self._svid is None:
            why = self.trouble or "is its server running, and is there a registration entry for this process?"
            self.close()
            raise IdentityError(f"no X.509-SVID of {self._wanted} within {seconds:g} s: {why}")
        return self._svid

    def close(self) -> None:
        """End the watch; what was taken from it goes on being usable."""
        self._ended.set()
        with self._lock:
            if self._watching is not None:
                self._watching.cancel()
            if self._client is not None:
                self._client.close()
            self._watching = self._client = None

    def jwt(self, audience: str) -> str:
        """Fetch a JWT-SVID, a new one each time. Raises ``IdentityError``."""
        with self._lock:
            client = self._client
        if client is None:
            raise IdentityError("the Workload API is not connected")
        try:
            return client.fetch_jwt_svid({audience}, SpiffeId(self._wanted), timeout=_JWT_SECONDS).token
        except PySpiffeError as error:
            raise IdentityError(f"no JWT-SVID of {self._wanted} for {audience}: {error}") from error

    def _watch(self) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            try:
                if self._client is None:
                    self._client = WorkloadApiClient(self._socket)
                self._watching = self._client.stream_x509_contexts(self._take, self._failed)
            except PySpiffeError as error:  # its socket is not there (yet)
                self.trouble = str(error)
                self._later()

    def _failed(self, error: Exception) -> None:
        # what the client does not try again by itself: an answer that it cannot read, a request that is refused
        self.trouble = str(error)
        self._later()

    def _later(self) -> None:
        timer = threading.Timer(_AGAIN_SECONDS, self._watch)
        timer.daemon = True
        timer.start()

    def _take(self, context: X509Context) -> None:
        found = {str(svid.spiffe_id): svid for svid in context.x509_svids}
        svid = found.get(self._wanted)
        if svid is None:
            self.trouble = f"it gives {', '.join(sorted(found)) or 'none'}, and {self._wanted} is required"
            return
        bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        if bundle is None:
            self.trouble = f"it gives no bundle of {svid.spiffe_id.trust_domain.name}"
            return
        believed = sorted(one.public_bytes(Encoding.PEM) for one in bundle.x509_authorities)
        shown = Shown(
            b"".join(one.public_bytes(Encoding.PEM) for one in svid.cert_chain),
            svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            b"".join(believed) + self._authorities,
        )
        ends = svid.leaf.not_valid_after_utc.timestamp()
        self._svid = Svid(self._wanted, f"{svid.leaf.serial_number:x}", ends, shown)
        self.trouble = ""
        self._came.set()
        for call in [*self.on_change]:
            call(self._svid)


def fetch_jwt(socket: str | None, audience: str) -> str:
    """Fetch one JWT-SVID of whoever we are. Raises ``IdentityError``."""
    try:
        with closing(WorkloadApiClient(socket)) as client:
            return client.fetch_jwt_svid({audience}, timeout=_JWT_SECONDS).token
    except PySpiffeError as error:
        raise IdentityError(f"no JWT-SVID for {audience}: {error}") from error
