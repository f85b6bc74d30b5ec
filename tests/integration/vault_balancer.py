"""A load balancer before a Vault: passes requests on, or, with no endpoint ready, answers them itself."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answer(NamedTuple):
    """What is answered without asking anybody; ``only``: where the path has this in it."""

    status: int
    kind: str
    body: str
    only: str = ""


class Balancer:
    """``answer`` None passes requests on."""

    def __init__(self, behind: str) -> None:
        self.behind = behind
        self.answer: Answer | None = None
        self.answered = 0
        self.tokens: set[str] = set()
        """All that were shown."""
        self.address = ""


@contextmanager
def balancer(behind: str) -> Iterator[Balancer]:
    """Listen on a free port before the server at ``behind``."""
    made = Balancer(behind)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            own = made.answer
            if own is not None and own.only in self.path:
                made.answered += 1
                self._say(own.status, own.kind, own.body.encode())
                return
            passed = {k: v for k, v in self.headers.items() if k.lower().startswith("x-vault")}
            made.tokens.update(v for k, v in passed.items() if k.lower() == "x-vault-token")
            url = f"{made.behind}{self.path}"
            got = requests.request(self.command, url, headers=passed, data=content, timeout=10)
            self._say(got.status_code, got.headers.get("Content-Type", ""), got.content)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  http.server names them

        def _say(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
