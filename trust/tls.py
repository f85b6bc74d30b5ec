"""TLS with an identity that changes: each new connection is made with the newest, those that stand go on.

A peer is known by the URI of its certificate (its SPIFFE ID, SPIFFE X509-SVID 5.2), or by its host's name where it
has a certificate of the usual kind. Keys are in memory only: what wants a path gets one of a file in memory.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BY_NAME = "name"


class Shown(NamedTuple):
    """What we show, and whom we believe: PEM."""

    chain: bytes
    key: bytes
    authorities: bytes


def peer_id(certificate: dict[str, Any] | None) -> str | None:
    """Give the SPIFFE ID of a peer's certificate (``getpeercert()``); None where it has none, or more than one."""
    names = (certificate or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    return uris[0] if len(uris) == 1 and uris[0].startswith("spiffe://") else None


class _Checked(ssl.SSLContext):
    """A context whose peers must have an ID; empty: any that the authorities have signed."""

    wanted = ""


def _check(context: ssl.SSLContext, certificate: dict[str, Any] | None) -> None:
    wanted = context.wanted if isinstance(context, _Checked) else ""
    if wanted and peer_id(certificate) != wanted:
        shown = peer_id(certificate) or "a certificate without one SPIFFE ID"
        raise ssl.SSLCertVerificationError(f"the server must be {wanted}, and showed {shown}")


class _Object(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self.context, self.getpeercert())


class _Socket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self.context, self.getpeercert())


class RotatingContext(ssl.SSLContext):
    """Makes each connection by the context that ``newest`` gives then."""

    newest: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        """Begin a connection in memory, as asyncio and uvloop do."""
        return self.newest().wrap_bio(*given, **named)

    def wrap_socket(self, *given: Any, **named: Any) -> ssl.SSLSocket:
        """Begin a connection over a socket."""
        return self.newest().wrap_socket(*given, **named)


def rotating(protocol: int, newest: Callable[[], ssl.SSLContext]) -> RotatingContext:
    """Make one; what drivers ask of it beforehand is as of the newest now."""
    context = RotatingContext(protocol)
    now = newest()
    context.check_hostname, context.verify_mode = now.check_hostname, now.verify_mode
    context.newest = newest
    return context


def client_context(shown: Shown, server: str) -> ssl.SSLContext:
    """Make a context for connections to a server: of that SPIFFE ID, or ``name``: of the host's name."""
    context = _Checked(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = server == BY_NAME
    context.wanted = "" if server == BY_NAME else server
    context.sslobject_class, context.sslsocket_class = _Object, _Socket
    return _filled(context, shown)


def server_context(shown: Shown) -> ssl.SSLContext:
    """Make a context for a server: callers may show a certificate of our authorities, and need not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    return _filled(context, shown)


def _filled(context: ssl.SSLContext, shown: Shown) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with in_memory(shown.chain + shown.key) as path:
        context.load_cert_chain(path)
    context.load_verify_locations(cadata=shown.authorities.decode())
    return context


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """Give the path of a file that is in no file system, while it is needed."""
    descriptor = _file(content)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class MemoryFile:
    """A path that stays and whose content is replaced whole, for libraries that read it at each connection."""

    def __init__(self, content: bytes) -> None:
        self._descriptor = _file(content)
        self.path = f"/proc/self/fd/{self._descriptor}"

    def replace(self, content: bytes) -> None:
        """Put another content there; whoever has opened the old one reads on."""
        fresh = _file(content)
        os.dup2(fresh, self._descriptor, inheritable=False)
        os.close(fresh)


def _file(content: bytes) -> int:
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    return descriptor
