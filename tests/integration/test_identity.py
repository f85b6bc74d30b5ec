"""Our identity by a Workload API, in every connection that shows it: rotated, refused, gone and back."""

# ruff: noqa: ASYNC110, SIM117  tests wait by looking, and a server stands within the other
from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from prometheus_client import CollectorRegistry
from spiffe.svid.x509_svid import X509Svid

from execution_assets.archives.assets import ArchiveResource
from operations.embedded.broker import Broker as Tansu
from operations.embedded.endpoints import Endpoints
from operations.embedded.state import StateFolder
from operations.embedded.workload_api import WorkloadApi, let_in
from streaming.arrivals import Inbox, Outcome
from streaming.audit_parts import bucket_of, signer_of
from streaming.credential_metrics import CredentialMetrics
from streaming.errors import StreamingError
from streaming.http import HttpServer
from streaming.metrics import Metrics
from streaming.process import Process
from streaming.producing import TopicWriter, read_tails
from streaming.redis_tls import redis_at
from streaming.settings import AuditSettings, Settings
from streaming.topics import AUDIT_EVENT, Broker
from streaming.trusting import Trust
from tests.integration.bao import OwnVault, corner_of
from tests.integration.database import until
from tests.integration.test_rest_feed import FILL, body_of, signed
from tests.integration.tls_front import Front, front
from tests.integration.workload import served
from tests.ports import free_port
from trust.clients import clients_of
from trust.errors import IdentityError, KeyUnavailableError
from trust.keys import TransitKeys
from trust.spiffe import Identity, Svid
from trust.tls import Shown, client_context
from trust.vault import session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DOMAIN = "spiffe://dynamic.capital"
US, THEM, VENUE = f"{DOMAIN}/agent/execution", f"{DOMAIN}/server", f"{DOMAIN}/venue/charlie"
ROOT = Path(__file__).parents[2]
NOBODY = "postgresql://nowhere"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnVault]:
    vault = OwnVault(tmp_path_factory.mktemp("vault") / "state")
    yield vault
    vault.close()


@contextmanager
def serving(own: OwnVault, spiffe_id: str = US, ttl: float = 3600.0) -> Iterator[WorkloadApi]:
    with served(lambda socket: WorkloadApi(own.client(), socket, spiffe_id, ttl_seconds=ttl)) as api:
        yield api


@pytest.fixture
def api(own: OwnVault) -> Iterator[WorkloadApi]:
    with serving(own) as api:
        yield api


def shown_by(api: WorkloadApi, spiffe_id: str) -> Shown:
    """An SVID of somebody else."""
    issued = api.x509_svid(spiffe_id)
    svid = X509Svid.parse_raw(issued.x509_svid, issued.x509_svid_key)
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in svid.cert_chain)
    key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Shown(chain, key, ssl.DER_cert_to_PEM_cert(issued.bundle).encode())


def settings_with(**changes: Any) -> Settings:
    return Settings.model_validate(
        {
            "postgres_url": NOBODY,
            "redis_url": "redis://nowhere",
            "kafka": {"bootstrap": "nowhere:9092"},
            "venues": {"C": {"format": "canonical", "feed": {"kind": "rest", "secrets": ["whsec_c2ltdWxhdG9y"]}}},
            **changes,
        }
    )


@asynccontextmanager
async def trusting(api: WorkloadApi, **changes: Any) -> AsyncIterator[Trust]:
    identity = {"socket": api.socket, "start_seconds": 10, **changes.pop("identity", {})}
    trust = Trust(settings_with(identity=identity, **changes), CredentialMetrics(CollectorRegistry()))
    await trust.start()
    try:
        yield trust
    finally:
        trust.close()


async def rotated(trust: Trust, api: WorkloadApi) -> str:
    """Have another SVID sent, and give its serial."""
    before = serial(trust)
    api.rotate()
    async with asyncio.timeout(10):
        while serial(trust) == before:
            await asyncio.sleep(0.01)
    return serial(trust)


def serial(trust: Trust) -> str:
    assert trust.identity is not None
    return trust.identity.svid.serial


# --- the Workload API --------------------------------------------------------------------------------------


def test_an_svid_is_taken_over_long_before_it_ends(own: OwnVault) -> None:
    with serving(own, ttl=3.0) as api:
        identity, taken = Identity(api.socket, US), threading.Semaphore(0)
        serials: list[str] = []

        def take(svid: Svid) -> None:
            serials.append(svid.serial)
            taken.release()

        identity.on_change.append(take)
        assert identity.start(10).spiffe_id == US
        for _ in range(3):
            assert taken.acquire(timeout=10)
        identity.close()
    assert len(set(serials)) == len(serials)


def test_an_identity_that_is_not_ours_is_not_taken(own: OwnVault) -> None:
    with serving(own, THEM) as api:
        with pytest.raises(IdentityError, match=f"it gives {THEM}, and {US} is required"):
            Identity(api.socket, US).start(1.5)


def test_a_workload_api_that_goes_away_is_found_again(own: OwnVault) -> None:
    with serving(own) as api:
        identity = Identity(api.socket, US)
        first = identity.start(10)
        changed = threading.Event()
        identity.on_change.append(lambda _: changed.set())
        api.stop()
        assert identity.svid == first, "it serves until it ends"
        with pytest.raises(IdentityError):
            identity.jwt("vault")
        api.start()
        assert changed.wait(20)
        assert identity.svid.serial != first.serial
        identity.close()


async def test_without_a_workload_api_the_start_says_so() -> None:
    trust = Trust(
        settings_with(identity={"socket": "unix:///nowhere/api.sock", "start_seconds": 0.3}),
        CredentialMetrics(CollectorRegistry()),
    )
    with pytest.raises(StreamingError, match=r"no X.509-SVID of spiffe://.*within 0.3 s"):
        await trust.start()


async def test_vault_is_logged_in_to_as_who_we_are(own: OwnVault, api: WorkloadApi) -> None:
    with corner_of(own.address, own.token) as corner:
        corner.put("venues/c", webhook="whsec_c2ltdWxhdG9y")
        corner.token()  # its policy
        let_in(own.client(), US, "execution-agent", [f"reads-{corner.mount}"])
        rest = {"kind": "rest", "secrets": [corner.reference("venues/c", "webhook")]}
        changes = {
            "vault": {"address": own.address, "role": "execution-agent"},
            "venues": {"C": {"format": "canonical", "feed": rest}},
        }
        async with trusting(api, **changes) as trust:
            await trust.credentials.look()
            feed: Any = settings_with(**changes, identity={}).venues["C"].feed
            assert trust.credentials.value(feed.secrets[0]) == "whsec_c2ltdWxhdG9y"
            assert trust.vault is not None
            found = trust.vault().auth.token.lookup_self()["data"]
            assert found["meta"]["role"] == "execution-agent"
            assert "root" not in found["policies"]


@pytest.mark.parametrize("server", [THEM, "name"])
async def test_archive_and_audit_commands_show_who_we_are(
    own: OwnVault, api: WorkloadApi, endpoints: Endpoints, worm_bucket: str, tmp_path: Path, server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client, mount = own.client(), f"transit-{worm_bucket[:12]}-{server[:4]}"
    policy = {"path": {f"{mount}/*": {"capabilities": ["read", "update"]}}}
    client.sys.create_or_update_policy("archives", json.dumps(policy))
    client.sys.enable_secrets_engine("transit", path=mount)
    client.secrets.transit.create_key("keys", mount_point=mount)
    client.secrets.transit.create_key("signer", key_type="ed25519", mount_point=mount)
    let_in(client, US, "archives", ["archives"])
    them = shown_by(api, THEM)
    async with front(endpoints.s3_endpoint, them) as s3, front(own.address, them) as vault:
        environment = {
            "AWS_ENDPOINT_URL_S3": f"https://127.0.0.1:{s3.port}", "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key, "AWS_DEFAULT_REGION": "us-east-1",
            "VAULT_ADDR": f"https://127.0.0.1:{vault.port}", "VAULT_ROLE": "archives",
            "SPIFFE_ENDPOINT_SOCKET": api.socket, "EXECUTION_AGENT_ARCHIVE_BUCKET": worm_bucket,
            "EXECUTION_AGENT_ARCHIVE_KEYS": f"transit:{mount}/keys",
            "EXECUTION_AGENT_ARCHIVE_SIGNER": f"transit:{mount}/signer",
        }  # fmt: skip
        shown = {"EXECUTION_AGENT_IDENTITY__S3": "name", "EXECUTION_AGENT_IDENTITY__VAULT": server}
        # as a person runs it, with the streaming process's file of settings
        config = tmp_path / "agent.toml"
        config.write_text(f'[identity]\ns3 = "name"\nvault = "{server}"\n')
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "AWS_"))}
        words = ["archive", "list", "--from", "2026-11-20"]
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "operations.cli", *words, cwd=ROOT, stderr=asyncio.subprocess.PIPE,
            env={**kept, **environment, "EXECUTION_AGENT_CONFIG": str(config)},
        )  # fmt: skip
        _, said = await command.communicate()
        assert "there is no archive of fills" in said.decode(), "everything was reached"
        assert {who for who, _ in (*s3.seen, *vault.seen)} == {US}
        # as Dagster's assets do it, while the identity is rotated
        s3.seen.clear()
        archives = ArchiveResource(environment={**environment, **shown})
        library = await asyncio.to_thread(archives.library, archives.settings())
        wrapped = await asyncio.to_thread(library.keys.wrap, b"k" * 32)
        await asyncio.to_thread(library.store.check)
        first = s3.seen[-1]
        api.rotate()
        async with asyncio.timeout(20):
            while s3.seen[-1] == first:
                await asyncio.to_thread(archives.library(archives.settings()).store.check)
        assert s3.seen[-1][0] == US
        assert await asyncio.to_thread(library.keys.unwrap, wrapped) == b"k" * 32
        # the audit log's commands
        for name, value in {**environment, **shown}.items():
            monkeypatch.setenv(name, value)
        audit = AuditSettings(
            bucket=worm_bucket,
            signer=f"transit:{mount}/signer",
            s3_endpoint=environment["AWS_ENDPOINT_URL_S3"],
        )
        s3.seen.clear()
        await asyncio.to_thread(bucket_of(audit, []).check)
        assert [who for who, _ in s3.seen] == [US]
        assert await asyncio.to_thread(lambda: signer_of(audit).key.name) == audit.origin
        # a server that is not who it must be is told nothing
        if server != "name":
            wrong = {**environment, **shown, "EXECUTION_AGENT_IDENTITY__VAULT": VENUE}
            library = ArchiveResource(environment=wrong).library(archives.settings())
            with pytest.raises(KeyUnavailableError, match=f"must be {VENUE}, and showed {THEM}"):
                await asyncio.to_thread(library.keys.wrap, b"k" * 32)
    client.sys.disable_secrets_engine(mount)


def test_an_identity_that_cannot_be_shown_is_said(tmp_path: Path) -> None:
    for environment, said in (
        ({"EXECUTION_AGENT_IDENTITY__S3": THEM}, "identity.s3: name is required"),
        ({"EXECUTION_AGENT_IDENTITY__VAULT": "vault"}, "identity.vault: name or spiffe://"),
        ({"EXECUTION_AGENT_IDENTITY__VAULT": "name", "EXECUTION_AGENT_IDENTITY__START_SECONDS": "x"}, "a number"),
        ({"EXECUTION_AGENT_CONFIG": str(tmp_path / "none.toml")}, "No such file"),
    ):
        with pytest.raises(IdentityError, match=said):
            clients_of(environment)
    assert clients_of({"EXECUTION_AGENT_IDENTITY__POSTGRES": "name"}).of("s3") == ""


async def test_archives_log_in_to_vault_as_who_we_are(own: OwnVault, api: WorkloadApi) -> None:
    client = own.client()
    policy = {"path": {"transit-archive/*": {"capabilities": ["update"]}}}
    client.sys.create_or_update_policy("archives", json.dumps(policy))
    client.sys.enable_secrets_engine("transit", path="transit-archive")
    client.secrets.transit.create_key("keys", mount_point="transit-archive")
    let_in(client, US, "archives", ["archives"])
    where = {"VAULT_ADDR": own.address, "VAULT_ROLE": "archives", "SPIFFE_ENDPOINT_SOCKET": api.socket}
    session = session_of(where)
    keys = TransitKeys(session, "keys", "transit-archive")
    wrapped = keys.wrap(b"k" * 32)
    token = session().token
    client.auth.token.revoke(token)
    with pytest.raises(KeyUnavailableError, match="permission denied"):
        keys.unwrap(wrapped)
    assert keys.unwrap(wrapped) == b"k" * 32, "the next call has logged in anew"
    assert session().token != token
    api.stop()
    with pytest.raises(KeyUnavailableError, match="no JWT-SVID for vault"):
        TransitKeys(session_of(where), "keys", "transit-archive").wrap(b"k" * 32)
    api.start()


# --- servers that we connect to ----------------------------------------------------------------------------


async def test_postgres_sees_who_we_are_and_we_who_it_is(api: WorkloadApi, ledger_url: str) -> None:
    async with trusting(api) as trust:
        async with front(ledger_url, shown_by(api, THEM), is_postgres=True) as before:
            parts = urlsplit(ledger_url)
            url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{before.port}").geturl()
            first = await asyncpg.connect(url, ssl=trust.client_tls(THEM))
            fresh = await rotated(trust, api)
            second = await asyncpg.connect(url, ssl=trust.client_tls(THEM))
            by_name = await asyncpg.connect(url, ssl=trust.client_tls("name"))
            assert await first.fetchval("SELECT 1") == 1, "it goes on with what it was made with"
            assert before.seen[0][0] == before.seen[1][0] == US
            assert before.seen[0][1] != before.seen[1][1] == fresh
            for connection in (first, second, by_name):
                await connection.close()
            with pytest.raises(ssl.SSLCertVerificationError, match=f"must be {VENUE}, and showed {THEM}"):
                await asyncpg.connect(url, ssl=trust.client_tls(VENUE))
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            await asyncpg.connect(ledger_url, ssl=trust.client_tls(THEM))  # no TLS is no connection


async def test_redis_sees_who_we_are(api: WorkloadApi, redis_url: str) -> None:
    async with trusting(api, identity={"redis": THEM}) as trust:
        async with front(redis_url, shown_by(api, THEM)) as before:
            parts = urlsplit(redis_url)
            netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{before.port}"
            redis = redis_at(parts._replace(scheme="rediss", netloc=netloc).geturl(), trust)
            assert await redis.ping()
            fresh = await rotated(trust, api)
            assert await redis.ping()
            assert len(before.seen) == 1, "the connection stands"
            await redis.connection_pool.disconnect()
            assert await redis.ping()
            assert before.seen[1] == (US, fresh)
            await redis.aclose()


async def test_the_object_store_sees_who_we_are(api: WorkloadApi, endpoints: Endpoints, worm_bucket: str) -> None:
    async with trusting(api, identity={"s3": "name"}) as trust:
        async with front(endpoints.s3_endpoint, shown_by(api, THEM)) as before:
            audit = AuditSettings.model_validate(
                {
                    "bucket": worm_bucket,
                    "signer": "/nowhere",
                    "s3_endpoint": f"https://127.0.0.1:{before.port}",
                    "s3_access_key": endpoints.s3_access_key,
                    "s3_secret_key": endpoints.s3_secret_key,
                }
            )
            await asyncio.to_thread(bucket_of(audit, [], trust).check)
            fresh = await rotated(trust, api)
            await asyncio.to_thread(bucket_of(audit, [], trust).check)
            assert [who for who, _ in before.seen] == [US, US]
            assert before.seen[1][1] == fresh


@pytest.mark.parametrize("server", [THEM, "name"])
async def test_vault_sees_who_we_are(own: OwnVault, api: WorkloadApi, server: str) -> None:
    let_in(own.client(), US, "execution-agent", ["default"])
    async with front(own.address, shown_by(api, THEM)) as before:
        vault = {"address": f"https://127.0.0.1:{before.port}", "role": "execution-agent"}
        async with trusting(api, identity={"vault": server}, vault=vault) as trust:
            assert trust.vault is not None
            client = await asyncio.to_thread(trust.vault)
            assert await asyncio.to_thread(client.is_authenticated)
            assert {who for who, _ in before.seen} == {US}


@asynccontextmanager
async def broker_with_tls(api: WorkloadApi, folder: Path) -> AsyncIterator[Front]:
    """A broker of one's own that sends its clients to the TLS end."""
    state, port = StateFolder(folder), free_port()
    state.acquire()
    server = Tansu(state, advertised=f"127.0.0.1:{port}")
    await asyncio.to_thread(server.start)
    try:
        address = server.describe(Endpoints()).kafka_bootstrap
        async with front(address, shown_by(api, THEM), port=port) as before:
            yield before
    finally:
        server.process.kill()
        state.release()


async def test_kafka_sees_who_we_are(api: WorkloadApi, tmp_path: Path) -> None:
    async with trusting(api, identity={"kafka": "name"}) as trust, broker_with_tls(api, tmp_path / "b") as before:
        kafka = settings_with(kafka={"bootstrap": f"127.0.0.1:{before.port}"}).kafka.showing(trust.kafka_options)
        assert await asyncio.to_thread(Broker(kafka).partitions, AUDIT_EVENT)
        fresh = await rotated(trust, api)
        writer = TopicWriter(kafka, US)
        await asyncio.to_thread(writer.open)
        writer.abandon()
        assert {who for who, _ in before.seen} == {US}
        assert before.seen[-1][1] == fresh != before.seen[0][1]


# --- callbacks ---------------------------------------------------------------------------------------------

SECRET = "whsec_c2ltdWxhdG9y"
CALLED = {
    "PEERS": {"format": "canonical", "feed": {"kind": "rest", "peers": [VENUE]}},
    "BOTH": {"format": "canonical", "feed": {"kind": "rest", "peers": [VENUE], "secrets": [SECRET]}},
    "SIGNED": {"format": "canonical", "feed": {"kind": "rest", "secrets": [SECRET]}},
}
FILLS = body_of(FILL)


class Callee:
    """The HTTP edge with TLS, and a lander that takes all."""

    def __init__(self, trust: Trust, port: int) -> None:
        self.trust = trust
        self.port = port

    def caller(self, shown: Shown, server: str = US) -> httpx.AsyncClient:
        context = client_context(shown, server)
        return httpx.AsyncClient(base_url=f"https://127.0.0.1:{self.port}", verify=context, trust_env=False)


@asynccontextmanager
async def called(api: WorkloadApi) -> AsyncIterator[Callee]:
    changes = {"venues": CALLED, "http": {"tls": True, "port": 0}}
    async with trusting(api, **changes) as trust:
        inbox = Inbox()
        server = HttpServer(
            settings_with(identity={}, **changes),
            {f"{name}.rest": inbox for name in CALLED},
            Metrics(),
            ready=lambda: True,
            status=dict,
            tls=trust.server_tls,
        )

        async def land() -> None:
            while True:
                for arrival in await inbox.take(100):
                    assert arrival.done is not None
                    arrival.done(Outcome(1, 0, 0, ()))

        port = server.bind()
        tasks = [asyncio.create_task(server.run()), asyncio.create_task(land())]
        await server.started.wait()
        try:
            yield Callee(trust, port)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def path_of(venue: str) -> str:
    return f"/v1/venues/{venue}/fills"


async def test_a_venue_is_known_by_its_certificate_or_by_its_signature(api: WorkloadApi) -> None:
    async with called(api) as callee:
        signature = signed(FILLS, SECRET)
        for who, answers in (
            (VENUE, {"PEERS": 200, "BOTH": 200, "SIGNED": 401}),
            (THEM, {"PEERS": 401, "BOTH": 401, "SIGNED": 401}),
        ):
            async with callee.caller(shown_by(api, who)) as client:
                found = {v: (await client.post(path_of(v), content=FILLS)).status_code for v in CALLED}
                assert found == answers, who
        plain = ssl.create_default_context(cadata=shown_by(api, VENUE).authorities.decode())
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{callee.port}", verify=plain) as client:
            found = {v: (await client.post(path_of(v), content=FILLS)).status_code for v in CALLED}
            assert found == {"PEERS": 401, "BOTH": 401, "SIGNED": 401}
            said = [await client.post(path_of(v), content=FILLS, headers=signature) for v in CALLED]
            assert [answer.status_code for answer in said] == [401, 200, 200]
            assert "showed no certificate with a SPIFFE ID" in said[0].json()["detail"]


async def test_a_stranger_with_a_certificate_of_its_own_is_hung_up_on(api: WorkloadApi, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path)
    own = shown_by(api, VENUE)
    async with called(api) as callee:
        async with callee.caller(stranger._replace(authorities=own.authorities)) as client:
            with pytest.raises((httpx.ConnectError, httpx.ReadError)):
                await client.post(path_of("SIGNED"), content=FILLS, headers=signed(FILLS, SECRET))


async def test_callbacks_go_on_while_the_identity_is_rotated(api: WorkloadApi) -> None:
    async with called(api) as callee, callee.caller(shown_by(api, VENUE)) as old:
        assert (await old.post(path_of("PEERS"), content=FILLS)).status_code == 200
        for _ in range(3):
            stood = len(old._transport._pool.connections)  # type: ignore[attr-defined]
            fresh = await rotated(callee.trust, api)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", callee.port, ssl=client_context(shown_by(api, VENUE), US)
            )
            assert writer.get_extra_info("peercert")["serialNumber"].lower().lstrip("0") == fresh
            writer.close()
            del reader
            assert (await old.post(path_of("PEERS"), content=FILLS)).status_code == 200
            assert len(old._transport._pool.connections) == stood == 1  # type: ignore[attr-defined]


def make_authority(folder: Path) -> Shown:
    """A certificate that says it is the venue's, of an authority that nobody knows."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",  # noqa: S607
         "-subj", "/CN=stranger", "-addext", f"subjectAltName=URI:{VENUE}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return Shown(certificate.read_bytes(), key.read_bytes(), certificate.read_bytes())


# --- all of it ---------------------------------------------------------------------------------------------


async def test_the_process_lands_on_while_its_identity_is_rotated(
    api: WorkloadApi, ledger_url: str, redis_url: str, tmp_path: Path
) -> None:
    them, (database, cache) = shown_by(api, THEM), map(urlsplit, (ledger_url, redis_url))
    async with (
        front(ledger_url, them, is_postgres=True) as postgres,
        front(redis_url, them) as redis,
        broker_with_tls(api, tmp_path / "broker") as broker,
    ):
        secrets_of = [of.netloc.rpartition("@")[0] for of in (database, cache)]
        settings = settings_with(
            postgres_url=database._replace(netloc=f"{secrets_of[0]}@127.0.0.1:{postgres.port}").geturl(),
            redis_url=cache._replace(netloc=f"{secrets_of[1]}@127.0.0.1:{redis.port}").geturl(),
            kafka={"bootstrap": f"127.0.0.1:{broker.port}"},
            http={"tls": True, "port": 0},
            identity={"socket": api.socket, "postgres": THEM, "redis": THEM, "kafka": "name"},
            venues=CALLED,
        )
        process, stop = Process(settings), asyncio.Event()
        running = asyncio.create_task(process.run(stop))
        await until(lambda: process.metrics.feed_states.get("kafka") == "live", 60)
        context = client_context(shown_by(api, VENUE), US)
        async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{process.http.port}", verify=context) as client:
            for number in range(100):
                if number % 25 == 24:
                    await rotated(process.trust, api)
                answer = await client.post(path_of("PEERS"), content=body_of(FILL | {"exec_id": f"E-{number}"}))
                assert answer.json()["landed"] == 1, answer.text
            identity = (await client.get("/status")).json()["identity"]
        assert identity["id"] == US
        assert identity["serial"] == serial(process.trust)
        assert {who for who, _ in [*postgres.seen, *redis.seen, *broker.seen]} == {US}
        restarts = process.metrics.registry.get_sample_value("execution_recoveries_total", {"part": "lander"})
        assert not restarts, "the landing's connections stood"
        connection = await asyncpg.connect(ledger_url)
        assert await connection.fetchval("SELECT count(*) FROM execution.fills") == 100
        kafka = settings.kafka.showing(process.trust.kafka_options)
        partitions = {AUDIT_EVENT: await asyncio.to_thread(Broker(kafka).partitions, AUDIT_EVENT)}
        async with asyncio.timeout(60):  # publisher and consumer have changed their clients
            while True:
                events = await connection.fetchval("SELECT count(*) FROM execution.audit_events")
                found = await asyncio.to_thread(read_tails, kafka, partitions, {})
                if len(found) == events >= 100 and broker.seen[-1][1] == serial(process.trust):
                    break
                await asyncio.sleep(0.5)
        await until(lambda: process.publisher.state == "live", 30)
        await connection.close()
        stop.set()
        await running


# --- the commands ------------------------------------------------------------------------------------------


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    kept = {
        name: value for name, value in os.environ.items() if name not in {"SPIFFE_ENDPOINT_SOCKET", "VAULT_TOKEN"}
    }
    return subprocess.Popen(
        [sys.executable, "-m", "operations.cli", "identity", *words],
        cwd=ROOT, env={**kept, **environment}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_what_is_served_is_shown_without_its_key(own: OwnVault) -> None:
    folder = Path(tempfile.mkdtemp(prefix="spiffe-"))
    socket = folder / "served" / "api.sock"
    with command("serve", "--socket", str(socket), VAULT_ADDR=own.address, VAULT_TOKEN=own.token) as serving_it:
        assert serving_it.stderr is not None
        assert "WITHOUT ATTESTATION" in serving_it.stderr.readline()
        assert socket.stat().st_mode & 0o077 == 0
        with command("show", "--socket", f"unix://{socket}", "--audience", "vault", "--json") as shown:
            out, _ = shown.communicate(timeout=30)
        assert shown.returncode == 0
        found = json.loads(out)
        assert found["id"] == US
        assert 0 < found["seconds_left"] <= 3600
        assert "PRIVATE KEY" not in out
        with command("show", "--socket", f"unix://{socket}", "--spiffe-id", VENUE, "--seconds", "1") as refused:
            _, said = refused.communicate(timeout=30)
        assert refused.returncode == 1
        assert f"it gives {US}, and {VENUE} is required" in said
        serving_it.terminate()
        assert serving_it.wait(10) == 0
    shutil.rmtree(folder)


def test_commands_without_a_socket_or_a_vault_say_what_is_missing(tmp_path: Path) -> None:
    for words, missing in (
        (("show",), "SPIFFE_ENDPOINT_SOCKET"),
        (("serve", "--socket", str(tmp_path / "s")), "VAULT_ADDR and VAULT_TOKEN"),
    ):
        with command(*words) as refused:
            _, said = refused.communicate(timeout=30)
        assert refused.returncode == 2
        assert missing in said
