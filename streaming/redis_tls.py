"""The connection to Redis, with our identity where the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import Connection, ConnectionPool, Redis

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from streaming.trusting import Trust

_TIMEOUT_SECONDS = 2.0


class _TlsConnection(Connection):
    """The client's own TLS connection loads files when it is made; this one has a context that changes."""

    def __init__(self, *, tls: Callable[[], ssl.SSLContext | None], **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._tls()}


def redis_at(url: str, trust: Trust) -> Redis:
    """Make the client; it connects when it is used."""
    times: dict[str, Any] = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS}
    server = trust.of("redis")
    if not server:
        return Redis.from_url(url, **times)
    plain = "redis://" + url.partition("://")[2]  # rediss:// would bring the client's own TLS
    pool = ConnectionPool.from_url(
        plain, connection_class=_TlsConnection, tls=lambda: trust.client_tls(server), **times
    )
    return Redis.from_pool(pool)
