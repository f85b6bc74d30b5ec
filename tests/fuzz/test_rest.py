"""The HTTP edge fuzzed by its own OpenAPI document: bodies of all kinds, signed, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streaming.feeds.webhook import secret_key
from streaming.process import Process
from tests.conftest import ROOT
from tests.integration.test_rest_feed import NEW, World, running, settings_at

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.json")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# `make fuzz` asks for more
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
SECONDS = 5.0


@pytest.fixture(scope="module")
def edge() -> Iterator[str]:
    """The edge's address: it runs in a thread of its own, with a lander that commits."""
    up, over = threading.Event(), threading.Event()
    address: list[str] = []

    async def serve() -> None:
        process = Process(settings_at(0))  # connects to nothing before it runs; its status is the real one
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(World, "status", lambda _: process.status() | {"ready": True})
            await _serve()

    async def _serve() -> None:
        async with running() as world:
            address.append(f"http://127.0.0.1:{world.server.port}")
            world.commit_seconds = 0.0
            up.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(30)
    yield address[0]
    over.set()
    thread.join(30)


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_the_edge_answers_as_its_document_says(case: Any, edge: str) -> None:
    if case.path_parameters:
        case.path_parameters["venue"] = "BETA" if "/backup/" in case.path else "CHARLIE"
    prepared = requests.Request(**case.as_transport_kwargs(base_url=edge)).prepare()
    if prepared.method == "POST":
        body = prepared.body or b""
        raw = body.encode() if isinstance(body, str) else body
        assert isinstance(raw, bytes), "no body is a stream"
        prepared.headers.update(signed_bytes(raw))
    with requests.Session() as session:
        session.trust_env = False
        response = session.send(prepared, timeout=SECONDS)  # one that hangs fails
    case.validate_response(response, checks=CHECKS)
    assert response.status_code not in {401, 404}, "signed, and to a venue that is there"


def signed_bytes(body: bytes) -> dict[str, str]:
    """Sign as Standard Webhooks says, whatever the bytes are: the package signs texts."""
    at = str(int(time.time()))
    mac = hmac.digest(secret_key(NEW), b"fuzz." + at.encode() + b"." + body, "sha256")
    signature = "v1," + base64.b64encode(mac).decode()
    return {"webhook-id": "fuzz", "webhook-timestamp": at, "webhook-signature": signature}


BODY_BYTES, BODIES = 400_000, 250  # 100 MB in all
MAY_GROW_BYTES = 30_000_000


def resident() -> int:
    """Bytes of this process, where the edge is, in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_bodies_that_were_answered_are_let_go(edge: str) -> None:
    """Of callbacks that nobody signed nothing stays: a third of what was sent would be too much."""
    url = f"{edge}/v1/venues/CHARLIE/fills"
    with requests.Session() as session:
        session.trust_env = False

        def send(count: int) -> None:
            for _ in range(count):
                answer = session.post(url, data=os.urandom(BODY_BYTES), timeout=SECONDS)
                assert answer.status_code in {401, 413}

        send(25)  # what is made once is there
        before = resident()
        send(BODIES)
    grown = resident() - before
    assert grown < MAY_GROW_BYTES, f"{grown} bytes more after {BODIES * BODY_BYTES} were sent"
