"""What connections show of an identity: TLS contexts and files of the newest SVID, made as they are needed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from trust.tls import MemoryFile, client_context, rotating, server_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from trust.spiffe import Identity, Svid
    from trust.tls import Shown


class Showing:
    """Shows an identity to servers, each known by its SPIFFE ID or by ``name``, and to who calls us.

    All raise ``IdentityError`` before the first SVID.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._contexts: dict[str, tuple[Shown, ssl.SSLContext]] = {}
        self._files: dict[str, MemoryFile] = {}
        identity.on_change.append(self._changed)

    def client_tls(self, server: str) -> ssl.SSLContext:
        """Give the TLS of connections to a server."""
        return rotating(ssl.PROTOCOL_TLS_CLIENT, self._newest(server, lambda shown: client_context(shown, server)))

    def server_tls(self) -> ssl.SSLContext:
        """Give the TLS of what we serve."""
        return rotating(ssl.PROTOCOL_TLS_SERVER, self._newest("server", server_context))

    def kafka_options(self) -> dict[str, str]:
        """Give librdkafka's TLS settings as of now; a client keeps those that it was made with."""
        shown = self.identity.svid.shown
        return {
            "security.protocol": "ssl",
            "ssl.certificate.pem": shown.chain.decode(),
            "ssl.key.pem": shown.key.decode(),
            "ssl.ca.pem": shown.authorities.decode(),
        }

    def s3_options(self) -> dict[str, Any]:
        """Give what boto3 reads at each connection: paths of files in memory, which change with the SVID."""
        shown = self.identity.svid.shown
        if not self._files:
            contents = {"pem": shown.chain + shown.key, "ca": shown.authorities}
            self._files = {name: MemoryFile(content) for name, content in contents.items()}
        return {"client_cert": self._files["pem"].path, "verify": self._files["ca"].path}

    def _newest(self, name: str, make: Callable[[Shown], ssl.SSLContext]) -> Callable[[], ssl.SSLContext]:
        def newest() -> ssl.SSLContext:
            shown = self.identity.svid.shown
            known = self._contexts.get(name)
            if known is None or known[0] is not shown:
                known = self._contexts[name] = (shown, make(shown))
            return known[1]

        return newest

    def _changed(self, svid: Svid) -> None:
        if self._files:
            self._files["pem"].replace(svid.shown.chain + svid.shown.key)
            self._files["ca"].replace(svid.shown.authorities)
