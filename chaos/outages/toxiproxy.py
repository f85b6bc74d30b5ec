"""toxiproxy in front of a server (https://github.com/Shopify/toxiproxy): built once by ``go install``, and kept.

It is slow, cuts connections in mid-stream and refuses them, as others know it; the cases in which a connection
stays half-open while new ones work, or hangs and then delivers what was held back, are those of our own proxy
(``chaos.outages.proxy``): a ``timeout`` toxic drops what it holds, and is on all connections or on none.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.resting import ChaosError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "2.5.0"
_MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
_BUILD_SECONDS, _UP_SECONDS = 600, 20.0
_STREAMS = ("upstream", "downstream")


def binary() -> Path | None:
    """Give the server, built if it has not been; None where Go is missing or cannot have its source."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "execution-agent" / f"toxiproxy-{VERSION}"
    place, go = folder / "server", shutil.which("go")
    if place.exists():
        return place
    if go is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [go, "install", _MODULE],
            env={**os.environ, "GOBIN": str(folder)},
            capture_output=True,
            check=True,
            timeout=_BUILD_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return place if place.exists() else None


class Toxiproxy:
    """One server of toxiproxy with one way through it, from ``port`` to ``upstream``."""

    def __init__(self, server: Path, upstream: int, *, seed: int = 1) -> None:
        self._server = server
        self._upstream = upstream
        self._random = random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._control = 0
        self.port = 0

    def start(self) -> None:
        """Listen. Raises ``ChaosError``."""
        self._control, self.port = _free_port(), _free_port()
        self._process = subprocess.Popen(
            [str(self._server), "-host", "127.0.0.1", "-port", str(self._control)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        way = {"name": "way", "listen": f"127.0.0.1:{self.port}", "upstream": f"127.0.0.1:{self._upstream}"}
        deadline = time.monotonic() + _UP_SECONDS
        while True:
            try:
                self._ask("POST", "/proxies", {**way, "enabled": True})
            except urllib.error.URLError as error:
                if time.monotonic() > deadline or isinstance(error, urllib.error.HTTPError):
                    raise ChaosError(f"toxiproxy did not come up: {error}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def heal(self) -> None:
        """Pass everything again."""
        self._ask("POST", "/reset", {})  # all toxics go, and what was disabled is enabled

    def refuse(self) -> None:
        """End what is open, and refuse what comes."""
        self._ask("POST", "/proxies/way", {"enabled": False})

    def slow(self, delay: float, rate: float) -> None:
        """Hold every chunk for ``delay`` seconds, and pass at most ``rate`` bytes a second and direction."""
        for stream in _STREAMS:
            self._add("latency", stream, {"latency": int(delay * 1000)})
            self._add("bandwidth", stream, {"rate": max(1, int(rate / 1000))})

    def cut_in_stream(self, least: int, most: int) -> None:
        """Cut each connection, old and new, after so many bytes of each direction."""
        for stream in _STREAMS:
            self._add("limit_data", stream, {"bytes": self._random.randint(least, most)})

    def _add(self, kind: str, stream: str, attributes: dict[str, int]) -> None:
        toxic = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": attributes}
        self._ask("POST", "/proxies/way/toxics", toxic)

    def _ask(self, method: str, path: str, body: Mapping[str, object]) -> None:
        url = f"http://127.0.0.1:{self._control}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            answer.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
