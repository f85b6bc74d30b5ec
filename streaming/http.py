"""The HTTP edge: venues' callbacks, health, readiness, status and metrics, inside the process's event loop."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streaming.errors import SettingsError
from streaming.feeds.names import backup_feed, primary_feed
from streaming.feeds.rest import PEER, RestFeed
from streaming.problems import Problem, problem
from streaming.settings import RestFeedSettings, feed_settings
from trust.tls import peer_id

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request

    from streaming.arrivals import Intake
    from streaming.credentials import Credentials
    from streaming.metrics import Metrics
    from streaming.settings import Settings

CALLBACK_PATH = "/v1/venues/{venue}/fills"
BACKUP_PATH = "/v1/venues/{venue}/backup/fills"
_KEEP_ALIVE_SECONDS = 75  # longer than venues' clients keep a connection: who closes first loses a request
_BACKLOG = 512

log = structlog.get_logger()


def build_app(
    feeds: Mapping[str, RestFeed],
    *,
    ready: Callable[[], bool],
    status: Callable[[], dict[str, Any]],
    registry: CollectorRegistry,
) -> Starlette:
    """Build the app; ``feeds`` are by name.

    ``ready`` is the ledger's; a feed that is down is shown, and does not turn callbacks away.
    """

    async def fills(request: Request) -> Response:
        return await take(request, feeds.get(primary_feed(request.path_params["venue"], "rest")), CALLBACK_PATH)

    async def backup_fills(request: Request) -> Response:
        return await take(request, feeds.get(backup_feed(request.path_params["venue"], "rest")), BACKUP_PATH)

    async def take(request: Request, feed: RestFeed | None, path: str) -> Response:
        if feed is None:
            detail = f"the path is {path} with a venue that has such a REST feed here"
            return problem(Problem.UNKNOWN_VENUE, detail, request.url.path)
        return await feed.receive(request)

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(_: Request) -> Response:
        return _json(status(), 200 if ready() else 503)

    async def show_status(_: Request) -> Response:
        return _json(status())

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    app = Starlette(
        routes=[
            Route(CALLBACK_PATH, fills, methods=["POST"]),
            Route(BACKUP_PATH, backup_fills, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/status", show_status),
            Route("/metrics", metrics),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = Problem.METHOD if error.status_code == Problem.METHOD.status else Problem.NOT_FOUND
    return problem(kind, f"{request.method} {request.url.path}", request.url.path, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, error=repr(error))
    return problem(Problem.INTERNAL, "it is in the log; send it again", request.url.path)


def _json(value: object, code: int = 200) -> Response:
    return Response(msgspec.json.encode(value), code, media_type="application/json")


class HttpServer:
    """uvicorn as one task among the others: it stops when its task is cancelled, after what is in flight."""

    def __init__(
        self,
        settings: Settings,
        taps: Mapping[str, Intake],
        metrics: Metrics,
        *,
        ready: Callable[[], bool],
        status: Callable[[], dict[str, Any]],
        grace_seconds: int = 2,
        credentials: Credentials | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        http = settings.http
        feeds = {
            feed: RestFeed(name, of, http, taps[feed], ready, feed=feed, credentials=credentials)
            for name, venue in settings.venues.items()
            for feed, of in feed_settings(name, venue)
            if isinstance(of, RestFeedSettings)
        }
        self._app = build_app(feeds, ready=ready, status=status, registry=metrics.registry)
        self._host = http.host
        self._port = http.port
        self._grace_seconds = grace_seconds
        self._tls = tls
        self._socket: socket.socket | None = None
        self.started = asyncio.Event()

    @property
    def port(self) -> int:
        """The port in use, once bound."""
        assert self._socket is not None, "bind() comes first"
        return int(self._socket.getsockname()[1])

    def bind(self) -> int:
        """Take the address and give the port. Raises ``SettingsError`` when it cannot be had."""
        if self._socket is None:
            try:
                self._socket = _listen(self._host, self._port)
            except OSError as error:
                raise SettingsError(
                    f"settings http.host, http.port: {self._host}:{self._port}: {error.strerror or error}"
                ) from error
        return self.port

    async def run(self) -> None:
        """Serve until cancelled; then accept no more, finish what is in flight, and stop."""
        self.bind()
        assert self._socket is not None
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=self._grace_seconds,
            backlog=_BACKLOG,
            http=_Protocol,
            ssl_context_factory=self._context if self._tls is not None else None,
        )
        server = _Server(config, self.started)
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        finally:
            self.started.clear()
            serving.cancel()

    def _context(self, _config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        assert self._tls is not None
        return self._tls()


class _Protocol(HttpToolsProtocol):
    """Puts who the caller is into the state of its requests, where it has shown a certificate (mTLS)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = peer_id(transport.get_extra_info("peercert"))
        if peer is not None:
            self.app_state = {**self.app_state, PEER: peer}


def _listen(host: str, port: int) -> socket.socket:
    # socket.create_server() leaves the protocol 0, asyncio then sets no TCP_NODELAY on what it accepts, and an
    # answer's head and body are 40 ms apart (Nagle and delayed acknowledgement)
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def __init__(self, config: uvicorn.Config, up: asyncio.Event) -> None:
        super().__init__(config)
        self._up = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
