"""REST callbacks over real sockets: uvicorn, signed bodies, and a lander of the test's own."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import signal
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook, WebhookVerificationError

from ledger.domain.identity import dead_letter_id
from streaming.arrivals import Arrival, ArrivalKind, DeadLettered, Inbox, Outcome
from streaming.errors import SettingsError
from streaming.feeds import rest
from streaming.feeds.webhook import SignatureError, Verifier, secret_key
from streaming.http import CALLBACK_PATH, HttpServer, build_app
from streaming.metrics import Metrics
from streaming.problems import MEDIA_TYPE, Problem
from streaming.settings import Settings
from streaming.venues.canonical import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOCS = Path(__file__).parents[2] / "docs"
FILL: dict[str, Any] = json.loads((DOCS / "events/canonical.report.schema.json").read_text())["examples"][0]
OPENAPI: dict[str, Any] = json.loads((DOCS / "openapi.json").read_text())
OLD, NEW = (
    ("whsec_" + base64.b64encode(f"{name} secret of CHARLIE".encode()).decode()) for name in ("old", "new")
)
PATH = "/v1/venues/CHARLIE/fills"


def settings_at(port: int) -> Settings:
    """CHARLIE calls us; BETA, which we connect to, does so over its backup feed only."""
    return Settings.model_validate(
        {
            "postgres_url": "postgresql://nowhere",
            "redis_url": "redis://nowhere",
            "kafka": {"bootstrap": "nowhere:9092"},
            "http": {"port": port},
            "venues": {
                "BETA": {
                    "format": "canonical",
                    "feed": {"kind": "websocket", "url": "ws://nowhere"},
                    "backup": {"feed": {"kind": "rest", "secrets": [NEW]}},
                },
                "CHARLIE": {"format": "canonical", "feed": {"kind": "rest", "secrets": [NEW, OLD]}},
            },
        }
    )


def body_of(*fills: dict[str, Any]) -> bytes:
    return json.dumps({"fills": fills}).encode()


def signed(body: bytes, secret: str = OLD, at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(int(time.time() if at is None else at), tz=UTC)
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", moment, body.decode()),
    }


class World:
    """The app on a port, and a lander that commits a little later."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.committed: list[Arrival] = []
        self.commit_seconds = 0.02
        self.is_ready = True
        self.seen: set[str] = set()
        self.metrics = Metrics()
        self.server: HttpServer
        self.client: httpx.AsyncClient
        self.landing: asyncio.Task[None]
        self.serving: asyncio.Task[None]

    def status(self) -> dict[str, Any]:
        return {"ready": self.is_ready, "feeds": {"BETA.ws": "recovering"}}

    def serve(self, port: int) -> HttpServer:
        return HttpServer(
            settings_at(port),
            {"CHARLIE.rest": self.inbox, "BETA.backup.rest": self.inbox},
            self.metrics,
            ready=lambda: self.is_ready,
            status=self.status,
            grace_seconds=5,
        )

    async def land(self) -> None:
        while True:
            arrivals = await self.inbox.take(100)
            await asyncio.sleep(self.commit_seconds)
            for arrival in arrivals:
                self.committed.append(arrival)
                if arrival.done is not None:
                    arrival.done(self.outcome(arrival))

    def outcome(self, arrival: Arrival) -> Outcome:
        decoded = decode(arrival.venue or "", arrival.raw)
        ids = [report.report_id for report, _ in decoded.reports]
        fresh = {report_id for report_id in ids if report_id not in self.seen}
        self.seen |= fresh
        letters = tuple(DeadLettered(dead_letter_id("CHARLIE", raw), defect) for defect, raw in decoded.defects)
        return Outcome(len(fresh), len(ids) - len(fresh), 0, letters)

    async def post(self, body: bytes, headers: dict[str, str] | None = None, path: str = PATH) -> httpx.Response:
        return await self.client.post(path, content=body, headers=signed(body) if headers is None else headers)

    async def until_committed(self, number: int) -> None:
        async with asyncio.timeout(5):
            while len(self.committed) < number:  # noqa: ASYNC110  a plain list is what the fake lander fills
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(inbox: Inbox | None = None) -> AsyncIterator[World]:
    world = World(Inbox() if inbox is None else inbox)
    world.metrics.count_landed("CHARLIE", [0.01] * 3)
    world.server = world.serve(0)
    port = world.server.bind()
    world.landing = asyncio.create_task(world.land())
    world.serving = asyncio.create_task(world.server.run())
    await world.server.started.wait()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as world.client:
        try:
            yield world
        finally:
            for task in (world.serving, world.landing):
                task.cancel()
            await asyncio.gather(world.serving, world.landing, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running() as up:
        yield up


def problem_of(response: httpx.Response, kind: Problem) -> dict[str, Any]:
    assert response.status_code == kind.status
    assert response.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = response.json()
    assert body["type"] == kind.urn
    assert body["title"] == kind.title
    assert body["status"] == kind.status
    assert body["detail"]
    assert body["instance"] == response.request.url.path
    return body


async def test_good_fills_are_answered_after_their_commit(world: World) -> None:
    world.commit_seconds = 0.1
    body = body_of(FILL, FILL | {"exec_id": "E-2"})
    before = time.monotonic()
    response = await world.post(body)
    assert time.monotonic() - before >= 0.1
    assert response.status_code == 200
    assert response.json() == {"landed": 2, "duplicates": 0, "pending": 0}
    (arrival,) = world.committed
    assert (arrival.feed, arrival.venue, arrival.kind, arrival.raw, arrival.position) == (
        "CHARLIE.rest",
        "CHARLIE",
        ArrivalKind.REPORT,
        body,
        None,
    )
    assert abs(arrival.received_ns - time.time_ns()) < 5e9


async def test_answers_do_not_wait_for_an_acknowledgement(world: World) -> None:
    world.commit_seconds = 0
    body = body_of(FILL)
    seconds: list[float] = []
    for _ in range(10):
        before = time.monotonic()
        await world.post(body)
        seconds.append(time.monotonic() - before)
    assert sorted(seconds)[5] < 0.03  # 40 ms and more without TCP_NODELAY


async def test_a_retry_is_a_duplicate(world: World) -> None:
    body = body_of(FILL)
    await world.post(body)
    assert (await world.post(body)).json() == {"landed": 0, "duplicates": 1, "pending": 0}


async def test_a_backup_has_a_path_and_secrets_of_its_own(world: World) -> None:
    body, path = body_of(FILL), "/v1/venues/BETA/backup/fills"
    problem_of(await world.post(body, path=path), Problem.NOT_SIGNED)  # CHARLIE's old secret
    response = await world.post(body, signed(body, NEW), path)
    assert response.json() == {"landed": 1, "duplicates": 0, "pending": 0}
    (arrival,) = world.committed
    assert (arrival.feed, arrival.venue) == ("BETA.backup.rest", "BETA")
    problem_of(await world.post(body, signed(body, NEW), "/v1/venues/BETA/fills"), Problem.UNKNOWN_VENUE)
    problem_of(await world.post(body, path="/v1/venues/CHARLIE/backup/fills"), Problem.UNKNOWN_VENUE)


async def test_either_secret_signs_during_a_rotation(world: World) -> None:
    body = body_of(FILL)
    assert (await world.post(body, signed(body, OLD))).status_code == 200
    assert (await world.post(body, signed(body, NEW))).status_code == 200
    both = signed(body, NEW)
    both["webhook-signature"] = "v1a,zzz v1,AAAA " + both["webhook-signature"]
    assert (await world.post(body, both)).status_code == 200


async def test_a_wrong_signature_keeps_nothing(world: World) -> None:
    body = body_of(FILL)
    stranger = "whsec_" + base64.b64encode(b"a stranger's secret").decode()
    for headers in (signed(body, stranger), signed(body + b" "), signed(body) | {"webhook-id": "msg_2"}):
        answer = problem_of(await world.post(body, headers), Problem.NOT_SIGNED)
        assert answer["detail"].startswith("signature wrong")
    assert not world.committed
    assert not len(world.inbox)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_missing_header_is_named(world: World, name: str) -> None:
    body = body_of(FILL)
    headers = {key: value for key, value in signed(body).items() if key != name}
    response = await world.post(body, headers)
    assert problem_of(response, Problem.NOT_SIGNED)["detail"] == f"header missing: {name}"
    assert response.headers["www-authenticate"]


@pytest.mark.parametrize(("off", "says"), [(-400, "timestamp too old"), (400, "timestamp too new")])
async def test_a_clock_that_is_off_is_told_so(world: World, off: float, says: str) -> None:
    body = body_of(FILL)
    answer = problem_of(await world.post(body, signed(body, at=time.time() + off)), Problem.NOT_SIGNED)
    assert answer["detail"].startswith(says)
    assert not world.committed


async def test_a_timestamp_that_is_none(world: World) -> None:
    body = body_of(FILL)
    answer = problem_of(await world.post(body, signed(body) | {"webhook-timestamp": "noon"}), Problem.NOT_SIGNED)
    assert answer["detail"].startswith("timestamp wrong")


async def test_unknown_venue(world: World) -> None:
    body = body_of(FILL)
    for venue in ("BETA", "DELTA"):
        problem_of(await world.post(body, path=f"/v1/venues/{venue}/fills"), Problem.UNKNOWN_VENUE)


async def test_other_paths_and_methods_are_problems_too(world: World) -> None:
    problem_of(await world.client.get("/"), Problem.NOT_FOUND)
    problem_of(await world.client.get("/healthz/"), Problem.NOT_FOUND)
    response = await world.client.get(PATH)
    problem_of(response, Problem.METHOD)
    assert response.headers["allow"] == "POST"
    problem_of(await world.client.post("/healthz"), Problem.METHOD)


@pytest.mark.parametrize("body", [b"not json", b"", b'{"fills":[', b'{"fills":[{"symbol":"\\ud800"}]}'])
async def test_a_body_that_cannot_be_read_is_400(world: World, body: bytes) -> None:
    answer = problem_of(await world.post(body), Problem.MALFORMED)
    assert answer["errors"][0]["reason"] == "malformed"
    assert answer["errors"][0]["dead_letter_id"]


async def test_a_signed_body_that_is_not_utf8_becomes_a_dead_letter(world: World) -> None:
    body = body_of(FILL).replace(b"DC-1", b"DC\xff")
    now = int(time.time())
    key = secret_key(OLD)
    mac = base64.b64encode(hmac.digest(key, f"msg_1.{now}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": f"v1,{mac}"}
    answer = problem_of(await world.post(body, headers), Problem.MALFORMED)
    assert [error["reason"] for error in answer["errors"]] == ["malformed"]
    assert world.committed[0].raw == body


async def test_nan_is_422_and_the_good_fill_beside_it_has_landed(world: World) -> None:
    bad = FILL | {"exec_id": "E-2", "last_qty": "NaN"}
    answer = problem_of(await world.post(body_of(FILL, bad)), Problem.BAD_REPORT)
    (error,) = answer["errors"]
    assert (error["field"], error["value"], error["reason"]) == ("last_qty", "NaN", "not_a_number")
    assert error["rule"]
    assert error["remedy"]
    assert error["dead_letter_id"] == dead_letter_id("CHARLIE", json.dumps(bad).encode())
    assert (answer["landed"], answer["duplicates"], answer["pending"]) == (1, 0, 0)


async def test_a_thousand_errors_are_not_all_said(world: World) -> None:
    answer = problem_of(await world.post(b'{"fills":[' + b"1," * 999 + b"1]}"), Problem.BAD_REPORT)
    assert len(answer["errors"]) == rest.MAX_ERRORS
    assert "1000" in answer["detail"]


async def test_a_full_inbox_is_429_with_retry_after() -> None:
    async with running(Inbox(max_arrivals=1)) as world:
        world.landing.cancel()
        waiting = asyncio.create_task(world.post(body_of(FILL)))
        while not len(world.inbox):  # noqa: ASYNC110  the inbox has no event for this
            await asyncio.sleep(0.005)
        response = await world.post(body_of(FILL))
        problem_of(response, Problem.QUEUE_FULL)
        assert int(response.headers["retry-after"]) >= 1
        world.landing = asyncio.create_task(world.land())
        assert (await waiting).status_code == 200


async def test_too_many_open_calls_are_429(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "MAX_OPEN", 2)
    world.commit_seconds = 0.3
    responses = await asyncio.gather(*(world.post(body_of(FILL)) for _ in range(4)))
    assert sorted(response.status_code for response in responses) == [200, 200, 429, 429]


async def test_a_ledger_that_is_away_is_503_and_keeps_nothing(world: World) -> None:
    world.is_ready = False
    response = await world.post(body_of(FILL))
    problem_of(response, Problem.LEDGER_AWAY)
    assert response.headers["retry-after"]
    assert not len(world.inbox)


async def test_a_commit_that_does_not_come_is_503_and_may_still_come(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "OUTCOME_SECONDS", 0.05)
    world.commit_seconds = 0.3
    response = await world.post(body_of(FILL))
    problem_of(response, Problem.NOT_COMMITTED)
    assert response.headers["retry-after"]
    await world.until_committed(1)
    world.commit_seconds = 0
    assert (await world.post(body_of(FILL))).json()["duplicates"] == 1  # the late answer hurt nobody


async def post_raw(world: World, head: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nhost: here\r\n{head}\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_100_mb_body_is_refused_before_it_is_here(world: World, *, chunked: bool) -> None:
    size = 100 << 20
    head = "transfer-encoding: chunked\r\n" if chunked else f"content-length: {size}\r\n"
    reader, writer = await post_raw(world, head)
    piece = b"x" * (64 << 10)
    sent = 0
    answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    async with asyncio.timeout(10):
        while not answered.done():
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await writer.drain()
            sent += len(piece)
            await asyncio.sleep(0.001)
    head_of_answer = (await answered).decode()
    assert head_of_answer.startswith("HTTP/1.1 413")
    assert f"content-type: {MEDIA_TYPE}" in head_of_answer
    assert "connection: close" in head_of_answer
    assert sent < size // 10
    writer.close()


async def test_a_client_that_sends_it_all_before_it_reads_still_sees_413(world: World) -> None:
    problem_of(await world.post(b"x" * (4 << 20), {}), Problem.TOO_LARGE)


async def test_a_content_length_of_a_thousand_digits(world: World) -> None:
    reader, writer = await post_raw(world, f"content-length: {'9' * 18}\r\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_body_that_never_ends_is_408(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BODY_SECONDS", 0.1)
    reader, writer = await post_raw(world, "content-length: 1000\r\n")
    writer.write(b"{")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_client_that_hangs_up_while_it_waits_has_its_fills_landed(world: World) -> None:
    world.commit_seconds = 0.5
    body = body_of(FILL)
    head = "".join(f"{name}: {value}\r\n" for name, value in signed(body).items())
    _, writer = await post_raw(world, f"{head}content-length: {len(body)}\r\n")
    writer.write(body)
    await writer.drain()
    await asyncio.sleep(0.15)
    assert not world.committed
    writer.transport.abort()
    await world.until_committed(1)
    assert (await world.client.get("/healthz")).status_code == 200


async def test_a_client_that_hangs_up_in_the_middle_of_the_body_leaves_nothing(world: World) -> None:
    _, writer = await post_raw(world, "content-length: 1000\r\n")
    writer.write(b"{")
    await writer.drain()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert not len(world.inbox)
    assert (await world.client.get("/healthz")).status_code == 200


async def test_health_readiness_and_metrics(world: World) -> None:
    assert (await world.client.get("/healthz")).json() == {"status": "ok"}
    ready = await world.client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "feeds": {"BETA.ws": "recovering"}}
    assert (await world.client.get("/status")).json() == ready.json()
    world.is_ready = False
    away = await world.client.get("/readyz")
    assert (away.status_code, away.json()["ready"]) == (503, False)
    status = await world.client.get("/status")
    assert (status.status_code, status.json()) == (200, away.json())
    assert (await world.client.get("/healthz")).status_code == 200
    metrics = await world.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'execution_reports_landed_total{venue="CHARLIE"} 3.0' in metrics.text


async def test_cancelling_finishes_what_is_in_flight_and_accepts_no_more(world: World) -> None:
    world.commit_seconds = 0.4
    waiting = asyncio.create_task(world.post(body_of(FILL)))
    await asyncio.sleep(0.1)
    port = world.server.port
    world.serving.cancel()
    assert (await waiting).status_code == 200
    with pytest.raises(asyncio.CancelledError):
        await world.serving
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_the_servers_signal_handlers_are_not_installed(world: World) -> None:
    assert world.server.started.is_set()
    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        assert not isinstance(getattr(handler, "__self__", None), uvicorn.Server)


async def test_an_address_in_use_is_named(world: World) -> None:
    other = world.serve(world.server.port)
    with pytest.raises(SettingsError, match=r"http\.port: 127\.0\.0\.1:\d+"):
        other.bind()


async def test_a_bug_is_a_500_problem_and_not_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Verifier, "verify", broken)
    answer = problem_of(await world.post(body_of(FILL)), Problem.INTERNAL)
    assert "a bug" not in answer["detail"]


def test_openapi_says_what_is_served() -> None:
    app = build_app({}, ready=bool, status=dict, registry=CollectorRegistry())
    served = {(r.path, m.lower()) for r in app.routes for m in getattr(r, "methods", ()) if m != "HEAD"}  # type: ignore[attr-defined]
    items = {path: OPENAPI["paths"][CALLBACK_PATH] if "$ref" in i else i for path, i in OPENAPI["paths"].items()}
    said = {(path, method) for path, item in items.items() for method in item if method != "parameters"}
    assert served == said
    statuses = set(OPENAPI["paths"]["/v1/venues/{venue}/fills"]["post"]["responses"])
    method = {str(Problem.METHOD.status)}  # said by the path's other methods, which are not in the document
    assert statuses == {"200"} | {str(kind.status) for kind in Problem} - method
    assert set(OPENAPI["paths"]["/readyz"]["get"]["responses"]) == {"200", "503"}
    documented = OPENAPI["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert documented == [kind.urn for kind in Problem]


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_my secret!", "whsec_?"])
def test_a_secret_that_is_none_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Verifier([secret], 300)
    shown = secret.removeprefix("whsec_")
    assert not shown or shown not in str(caught.value)


@given(st.binary(min_size=1, max_size=40), st.text(max_size=80), st.integers(0, 3), st.booleans())
def test_our_verdict_is_that_of_the_standardwebhooks_package(
    key: bytes, text: str, tampering: int, unpadded: bool
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    if unpadded:
        secret = secret.rstrip("=")
    body = text.encode()
    headers = signed(body, secret)
    if tampering == 1:
        body += b"!"
    elif tampering == 2:
        headers["webhook-id"] += "x"
    elif tampering == 3:
        headers["webhook-signature"] = "v1," + base64.b64encode(b"y" * 32).decode()
    theirs = ours = True
    with suppress(WebhookVerificationError):
        Webhook(secret).verify(body, headers, json_parse=False)
        theirs = False
    with suppress(SignatureError):
        Verifier([secret], 300).verify(headers, body, time.time())
        ours = False
    assert ours == theirs
    assert ours == (tampering != 0)
