"""No secret is told: one process with every kind of secret, troubled at each of them, and searched all over.

The secrets: of Postgres, Redis, the object store, Kafka, Vault (its own token and the JWT that it is logged in to
with), three venues and a venue's API. The places: the log, HTTP answers, every table, every topic, the bucket, the
FIX session's files, the answers of the commands.
"""

# ruff: noqa: ASYNC110  tests wait by looking
from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner

from operations.cli import app
from operations.embedded.workload_api import WorkloadApi, let_in
from tests.integration.bao import Corner, OwnVault, corner_of
from tests.integration.test_rest_feed import FILL, body_of, signed
from tests.integration.test_stream_command import Command
from tests.integration.topics import kafka_settings
from tests.integration.untold import check_untold, tables, topics
from tests.integration.vault_balancer import balancer
from tests.integration.workload import served
from tests.ports import free_port
from trust.signing import make_key_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import hvac
    from mypy_boto3_s3 import S3Client

    from operations.embedded import Endpoints

US = "spiffe://dynamic.capital/agent/execution"


class Recording(WorkloadApi):
    """Remembers what it gave away."""

    def __init__(self, client: hvac.Client, socket: Path) -> None:
        super().__init__(client, socket, US)
        self.given: list[str] = []

    def jwt_svid(self, audience: list[str]) -> str:
        made = super().jwt_svid(audience)
        self.given.append(made)
        return made


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnVault]:
    vault = OwnVault(tmp_path / "vault")
    yield vault
    vault.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A venue's API that refuses us and shows what it was asked, key and all."""
    head = await reader.readuntil(b"\r\n\r\n")
    shown = sorted(head.decode().split("\r\n"), key=lambda line: "look-back" not in line)
    body = json.dumps({"wrong": shown}).encode()
    writer.write(
        b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await writer.drain()
    writer.close()


def made_up() -> dict[str, str]:
    return {
        "the webhook's secret": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
        "the bearer": secrets.token_hex(24),
        "the password of FIX": secrets.token_hex(24),
        "the API's key": secrets.token_hex(24),
        "the API's secret": base64.b64encode(secrets.token_bytes(24)).decode(),
        "the password of Kafka": secrets.token_hex(24),
    }


def of_servers(endpoints: Endpoints) -> dict[str, str]:
    return {
        "the password of Postgres": endpoints.postgres_password,
        "the password of Redis": urlsplit(endpoints.redis_url).password or "",
        "the key of the bucket": endpoints.s3_secret_key,
    }


def settings_of(
    endpoints: Endpoints,
    corner: Corner,
    made: dict[str, str],
    folder: Path,
    *,
    ledger: str,
    redis: str,
    api_port: int,
) -> dict[str, Any]:
    """Everything that may be a reference is one."""
    corner.put(
        "agent", ledger=ledger, redis=redis, s3=endpoints.s3_secret_key, kafka=made["the password of Kafka"]
    )
    corner.put("charlie", webhook=made["the webhook's secret"])
    corner.put("charlie-api", key=made["the API's key"], secret=made["the API's secret"])
    corner.put("bravo", token=made["the bearer"])
    corner.put("alpha", password=made["the password of FIX"])
    named = corner.reference
    make_key_file(folder / "signer.pem")
    fix = {"kind": "fix", "host": "127.0.0.1", "port": free_port(), "store": str(folder / "store")}
    comp_ids = {"sender_comp_id": "EXECUTIONAGENT", "target_comp_id": "ALPHA", "username": "agent"}
    return {
        "POSTGRES_URL": named("agent", "ledger"),
        "PUBLISHER_POSTGRES_URL": named("agent", "ledger"),
        "REDIS_URL": named("agent", "redis"),
        "KAFKA__OPTIONS": {"sasl.username": "agent", "sasl.password": named("agent", "kafka")},
        "AUDIT": {
            "bucket": "", "signer": str(folder / "signer.pem"), "origin": "example.com/audit",
            "s3_endpoint": endpoints.s3_endpoint, "s3_access_key": endpoints.s3_access_key,
            "s3_secret_key": named("agent", "s3"),
        },
        "VENUES": {
            "ALPHA": {"format": "fix44", "feed": {**fix, **comp_ids, "password": named("alpha", "password")}},
            "BRAVO": {
                "format": "canonical",
                "feed": {
                    "kind": "websocket", "url": f"ws://127.0.0.1:{api_port}/v1", "token": named("bravo", "token"),
                },
            },
            "CHARLIE": {
                "format": "canonical",
                "feed": {"kind": "rest", "secrets": [named("charlie", "webhook")]},
                "look_back": {
                    "url": f"http://127.0.0.1:{api_port}", "key": named("charlie-api", "key"),
                    "secret": named("charlie-api", "secret"), "audit_minutes": 0.01, "grace_seconds": 0,
                },
            },
        },
    }  # fmt: skip


async def call_wrongly(port: int, secret: str) -> dict[str, bytes]:
    """Call as nobody should; give all that is answered."""
    url = f"http://127.0.0.1:{port}/v1/venues/CHARLIE/fills"
    good = body_of(FILL)
    calls: dict[str, tuple[str, bytes, dict[str, str]]] = {
        "one that is good": (url, good, signed(good, secret)),
        "one that nobody signed": (url, good, {}),
        "one that another has signed": (url, good, signed(good, "whsec_" + base64.b64encode(b"x" * 24).decode())),
        "one of yesterday": (url, good, signed(good, secret, time.time() - 86_400)),
        "one that is no JSON": (url, b"{nonsense", signed(b"{nonsense", secret)),
        "one with a wrong fill": (url, body_of({"exec_id": 7}), signed(body_of({"exec_id": 7}), secret)),
        "one to nowhere": (url.replace("CHARLIE", "DELTA"), good, signed(good, secret)),
    }
    found: dict[str, bytes] = {}
    async with httpx.AsyncClient() as client:
        for name, (where, body, headers) in calls.items():
            answer = await client.post(where, content=body, headers=headers)
            found[f"the answer to {name}"] = str(answer.headers).encode() + answer.content
            found[f"the status of {name}"] = str(answer.status_code).encode()
        for page in ("status", "metrics", "healthz", "readyz", "nowhere"):
            answer = await client.get(f"http://127.0.0.1:{port}/{page}")
            found[f"/{page}"] = str(answer.headers).encode() + answer.content
    assert found["the status of one that is good"] == b"200"
    assert found["the status of one that nobody signed"] == b"401"
    return found


async def until_live(command: Command, *feeds: str) -> None:
    async with asyncio.timeout(60):
        while {(await command.status()).get("feeds", {}).get(feed) for feed in feeds} != {"live"}:
            await asyncio.sleep(0.05)


async def ready(port: int) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code != 200:
            await asyncio.sleep(0.05)


async def hang_up(url: str) -> None:
    """End every connection of the process to its ledger."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


def bucket_of(s3: S3Client, bucket: str) -> dict[str, bytes]:
    return {
        f"s3://{bucket}/{found['Key']}": s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()
        for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    }


async def test_no_secret_is_told_anywhere_whatever_goes_wrong(
    endpoints: Endpoints, ledger_url: str, redis_url: str, topic_prefix: str, worm_bucket: str, s3: S3Client,
    tmp_path: Path, own: OwnVault,
) -> None:  # fmt: skip
    made = made_up()
    port = free_port()
    venue = await asyncio.start_server(echo, "127.0.0.1", 0)
    with (
        corner_of(own.address, own.token) as corner,
        served(lambda socket: Recording(own.client(), socket)) as api,
        balancer(own.address) as vault,
    ):
        given = settings_of(
            endpoints, corner, made, tmp_path,
            ledger=ledger_url, redis=redis_url, api_port=venue.sockets[0].getsockname()[1],
        )  # fmt: skip
        given["AUDIT"]["bucket"] = worm_bucket
        corner.token()  # its policy
        let_in(own.client(), US, "execution-agent", [f"reads-{corner.mount}"])
        given |= {
            "IDENTITY": {"socket": api.socket},
            "VAULT": {"address": vault.address, "role": "execution-agent", "poll_seconds": 0.3},
            "KAFKA__BOOTSTRAP": endpoints.kafka_bootstrap, "KAFKA__TOPIC_PREFIX": topic_prefix, "HTTP__PORT": port,
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTION_AGENT_")}
        said = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
        environment = {**kept, **{f"EXECUTION_AGENT_{name}": value for name, value in said.items()}}
        command = Command(environment)
        lines: list[bytes] = []
        async with command.running() as process:
            reading = asyncio.create_task(log_of(process, lines))
            await until_live(command, "CHARLIE.rest", "kafka")  # the others never are
            answers = await call_wrongly(port, made["the webhook's secret"])
            await until_told(lines, b"answers 401")
            await asyncio.to_thread(own.seal)
            await until_told(lines, b"a secret cannot be had from Vault")
            answers |= {
                f"sealed: {k}": v for k, v in (await call_wrongly(port, made["the webhook's secret"])).items()
            }
            await asyncio.to_thread(own.unseal)
            await hang_up(ledger_url)
            await until_told(lines, b"ledger unavailable")
            await ready(port)
            answers |= {
                f"later: {k}": v for k, v in (await call_wrongly(port, made["the webhook's secret"])).items()
            }
            await command.stop()
            await reading
        venue.close()
    hidden = {**made, **of_servers(endpoints), "the root token of Vault": own.token}
    hidden |= {f"the process's token {n}": token for n, token in enumerate(sorted(vault.tokens))}
    hidden |= {f"JWT {n}": token for n, token in enumerate(api.given)}
    assert vault.tokens, "it was logged in"
    assert api.given, "by a JWT"
    files = {str(path): path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    stored = bucket_of(s3, worm_bucket)
    assert stored
    check_untold(
        hidden,
        {
            "the log": b"".join(lines), **answers, **files, **stored, **await tables(ledger_url),
            **await asyncio.to_thread(topics, kafka_settings(endpoints, topic_prefix)),
        },
    )  # fmt: skip


async def log_of(process: asyncio.subprocess.Process, lines: list[bytes]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        lines.append(line)


async def until_told(lines: list[bytes], text: bytes) -> None:
    async with asyncio.timeout(40):
        while not any(text in line for line in lines):
            await asyncio.sleep(0.05)


# --- settings that are wrong, and commands -----------------------------------------------------------------

WRONG = {
    "POSTGRES_URL": "postgres//agent:{0}@db/execution",
    "PUBLISHER_POSTGRES_URL": "{0}",
    "REDIS_URL": "{0}",
    "KAFKA__OPTIONS": '{{"sasl.password": {{"is": "{0}"}}}}',
    "VENUES": '{{"C": {{"format": "canonical", "feed": {{"kind": "rest", "secrets": [["{0}"]]}}}}}}',
    "AUDIT": '{{"bucket": "b", "signer": "s", "s3_secret_key": ["{0}"]}}',
}


def wrong(name: str, secret: str) -> dict[str, str]:
    given = {
        "POSTGRES_URL": "postgresql://agent@127.0.0.1:1/execution",
        "REDIS_URL": "redis://127.0.0.1:1",
        "KAFKA__BOOTSTRAP": "127.0.0.1:1",
        "VENUES": '{"C": {"format": "canonical", "feed": {"kind": "rest", "secrets": ["whsec_c2ltdWxhdG9y"]}}}',
        name: WRONG[name].format(secret),
    }
    return {f"EXECUTION_AGENT_{key}": value for key, value in given.items()}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_that_is_wrong_is_named_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "streaming.logs.configure_logs", lambda: None
    )  # the loggers would keep the runner's stream
    secret = secrets.token_hex(24)
    for variable, value in wrong(name, secret).items():
        monkeypatch.setenv(variable, value)
    for command in ("config", "stream"):
        done = CliRunner().invoke(app, [command])
        assert done.exit_code == 2, done.output
        check_untold({name: secret}, {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()})


async def test_a_url_that_leads_nowhere_is_not_shown() -> None:
    """It is tried again for ever: what is said meanwhile does not hold it."""
    made = {name: secrets.token_hex(24) for name in ("POSTGRES_URL", "PUBLISHER_POSTGRES_URL")}
    given = {
        f"EXECUTION_AGENT_{name}": f"postgresql://agent:{secret}@127.0.0.1:1/execution"
        for name, secret in made.items()
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EXECUTION_AGENT_")}
    command = Command(
        {**kept, **wrong("POSTGRES_URL", ""), "EXECUTION_AGENT_HTTP__PORT": str(free_port()), **given}
    )
    lines: list[bytes] = []
    async with command.running() as process:
        reading = asyncio.create_task(log_of(process, lines))
        await until_told(lines, b"ledger unavailable")
        status = json.dumps(await command.status()).encode()
        await command.stop()
        await reading
    check_untold(made, {"the log": b"".join(lines), "/status": status})
