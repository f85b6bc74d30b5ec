"""Secrets of venues in a real OpenBao: versions, overlaps, leases, and what is done while it is away or sealed."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from execution_assets.archives.library import s3_client
from operations.alerts.resource import configured_sink
from operations.alerts.sinks import AllSinks
from operations.dead_letters import NoLedgerError, ledger_url
from streaming.arrivals import Arrival, Inbox
from streaming.credential_metrics import CredentialMetrics
from streaming.credentials import Credentials, NotHeldError
from streaming.errors import SettingsError, StreamingError
from streaming.feeds.fix import FixFeed
from streaming.feeds.webhook import SignatureError, Verifier, secret_key
from streaming.own_secrets import settled
from streaming.secret_events import RESTORED, WITHDRAWN, SecretChange, SecretEvents
from streaming.settings import FixFeedSettings, Settings
from streaming.topics import AUDIT_EVENT
from tests.integration.bao import Corner, OwnVault, corner_of
from tests.integration.database import until
from tests.integration.test_fix_feed import acceptor, certificates
from tests.integration.test_rest_feed import signed
from tests.unit.test_event_schemas import validator
from trust.clients import clients_of
from trust.credentials import VaultReader
from trust.errors import CredentialsError, GoneError
from trust.vault import VaultSession, client_at, token_login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from operations.embedded import Endpoints

OLD, NEW = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZA==", "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldw=="


@pytest.fixture
def corner(endpoints: Endpoints) -> Iterator[Corner]:
    with corner_of(endpoints.vault_addr, endpoints.vault_token) as corner:
        yield corner


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnVault]:
    vault = OwnVault(tmp_path_factory.mktemp("vault") / "state")
    yield vault
    vault.close()


def reader_of(address: str, token: str, overlap: float = 3600.0) -> VaultReader:
    return VaultReader(VaultSession(lambda: client_at(address), token_login(token)), overlap)


class Watched:
    """Credentials of some references, looked at by hand."""

    def __init__(self, reader: VaultReader, *references: str) -> None:
        self.registry = CollectorRegistry()
        self.credentials = Credentials(references, reader, CredentialMetrics(self.registry))

    def series(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_a_replaced_value_counts_for_the_overlap_and_a_deleted_one_no_more(
    corner: Corner, endpoints: Endpoints
) -> None:
    token, path = corner.token(), f"vault:{corner.mount}/venues/charlie"
    corner.put("venues/charlie", webhook=OLD)
    corner.put("venues/charlie", webhook=NEW)
    held = reader_of(endpoints.vault_addr, token).read(path)
    now = time.time()
    assert held.value("webhook") == NEW
    assert held.accepted("webhook", now) == (NEW, OLD)
    assert held.accepted("webhook", held.versions[0].made + 3600.1) == (NEW,)
    assert reader_of(endpoints.vault_addr, token, 0.0).read(path).accepted("webhook", now) == (NEW,)
    corner.client.secrets.kv.v2.delete_secret_versions("venues/charlie", [1], mount_point=corner.mount)
    assert reader_of(endpoints.vault_addr, token).read(path).accepted("webhook", now) == (NEW,)


@pytest.mark.parametrize(
    ("path", "said"),
    [("venues/nobody", "there is no such secret"), ("../../other/data/x", "other/data/x")],
)
def test_what_cannot_be_read_is_said(corner: Corner, endpoints: Endpoints, path: str, said: str) -> None:
    with pytest.raises(CredentialsError, match=said):
        reader_of(endpoints.vault_addr, corner.token()).read(f"vault:{corner.mount}/{path}")


def test_a_token_that_may_not_read_is_said(corner: Corner, endpoints: Endpoints) -> None:
    with corner_of(endpoints.vault_addr, endpoints.vault_token) as other:
        other.put("a", b="c")
        with pytest.raises(CredentialsError, match="we may not read it"):
            reader_of(endpoints.vault_addr, corner.token()).read(f"vault:{other.mount}/a")


async def test_whoever_uses_a_value_hears_of_its_change_and_nobody_else(
    corner: Corner, endpoints: Endpoints
) -> None:
    corner.put("venues/alpha", password="one", webhook=OLD)
    password, webhook = corner.reference("venues/alpha", "password"), corner.reference("venues/alpha", "webhook")
    watched = Watched(reader_of(endpoints.vault_addr, corner.token()), password, webhook)
    credentials, heard = watched.credentials, []
    end = credentials.subscribe([SecretStr(password)], lambda: heard.append("password"))
    credentials.subscribe([SecretStr(webhook)], lambda: heard.append("webhook"))
    with pytest.raises(NotHeldError, match="was not read from Vault yet"):
        credentials.value(SecretStr(password))
    await credentials.look()
    assert sorted(heard) == ["password", "webhook"], "the first value, too: somebody may wait for it"
    heard.clear()
    await credentials.look()
    corner.put("venues/alpha", password="two", webhook=OLD)
    assert credentials.value(SecretStr(password)) == "one"
    await credentials.look()
    assert heard == ["password"]
    assert credentials.value(SecretStr(password)) == "two"
    assert watched.series("execution_credential_rotations_total", path=f"vault:{corner.mount}/venues/alpha") == 1
    end()
    corner.put("venues/alpha", password="three", webhook=OLD)
    await credentials.look()
    assert heard == ["password"]


async def test_a_value_that_cannot_be_used_is_refused_and_the_old_one_stays(
    corner: Corner, endpoints: Endpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    corner.put("venues/charlie", webhook=OLD)
    webhook = SecretStr(corner.reference("venues/charlie", "webhook"))
    watched = Watched(reader_of(endpoints.vault_addr, corner.token()), webhook.get_secret_value())
    watched.credentials.check(webhook, secret_key)
    await watched.credentials.look()
    path = f"vault:{corner.mount}/venues/charlie"
    for bad in ({"webhook": "whsec_###not-base64###"}, {"other": "x"}):
        corner.put("venues/charlie", **bad)
        await watched.credentials.look()
        assert watched.credentials.accepted(webhook) == (OLD,)
        assert watched.series("execution_credentials_refused", path=path) == 1
    corner.put("venues/charlie", webhook=NEW)
    await watched.credentials.look()
    assert watched.credentials.accepted(webhook) == (NEW, OLD)
    assert watched.series("execution_credentials_refused", path=path) == 0
    told = capsys.readouterr()
    assert "write it again" in told.out + told.err
    assert "not-base64" not in told.out + told.err


async def test_sealed_or_gone_it_runs_on_what_is_held_and_takes_up_what_changed(own: OwnVault) -> None:
    with corner_of(own.address, own.token) as corner:
        corner.put("venues/bravo", token="one")
        place = SecretStr(corner.reference("venues/bravo", "token"))
        watched = Watched(reader_of(own.address, corner.token()), place.get_secret_value())
        for away, back in ((own.seal, own.unseal), (own.stop, own.start)):
            await watched.credentials.look()
            assert watched.series("execution_vault_away") == 0
            before = watched.credentials.value(place)
            await asyncio.to_thread(away)
            await watched.credentials.look()
            assert watched.series("execution_vault_away") == 1
            assert watched.credentials.value(place) == before
            assert watched.credentials.status()["troubles"]
            await asyncio.to_thread(back)
            async with asyncio.timeout(30):
                while watched.series("execution_vault_away"):  # it elects itself
                    await watched.credentials.look()
            corner.put("venues/bravo", token=f"after {before}")
            await watched.credentials.look()
            assert watched.credentials.value(place) == f"after {before}"


async def test_what_is_taken_back_in_vault_counts_no_more_from_the_next_look_on(
    corner: Corner, endpoints: Endpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    kv = corner.client.secrets.kv.v2
    path, place = "venues/charlie", f"vault:{corner.mount}/venues/charlie"
    webhook = SecretStr(corner.reference(path, "webhook"))
    watched = Watched(reader_of(endpoints.vault_addr, corner.token()), webhook.get_secret_value())
    credentials, told, heard = watched.credentials, list[SecretChange](), list[str]()
    credentials.tell = told.append
    credentials.subscribe([webhook], lambda: heard.append("webhook"))
    corner.put(path, webhook=OLD)
    await credentials.look()
    corner.put(path, webhook=NEW)
    await credentials.look()
    assert credentials.accepted(webhook) == (NEW, OLD)
    for taken_back, given_back in (
        # a version deleted, and undeleted; destroyed, and written anew; all of it gone, and written anew
        (kv.delete_secret_versions, lambda: kv.undelete_secret_versions(path, [2], mount_point=corner.mount)),
        (kv.destroy_secret_versions, lambda: corner.put(path, webhook=NEW)),
        (
            lambda *_, **where: kv.delete_metadata_and_all_versions(path, **where),
            lambda: corner.put(path, webhook=NEW),
        ),
    ):
        told.clear()
        heard.clear()
        taken_back(path, [2], mount_point=corner.mount)
        for _ in range(2):
            await credentials.look()
            assert credentials.accepted(webhook) == (), "also what it had replaced"
            for secret in (NEW, OLD):
                with pytest.raises(SignatureError, match="signature wrong"):
                    Verifier(credentials.accepted(webhook), 300).verify(signed(b"{}", secret), b"{}", time.time())
            with pytest.raises(NotHeldError, match="was taken back in Vault"):
                credentials.value(webhook)
        assert [(change.event, change.place) for change in told] == [(WITHDRAWN, place)]
        assert heard == ["webhook"]
        assert watched.series("execution_credentials_withdrawn", path=place) == 1
        assert watched.series("execution_vault_away") == 0
        assert list(credentials.status()["withdrawn"]) == [place]  # type: ignore[call-overload]
        given_back()
        await credentials.look()
        assert credentials.accepted(webhook)[0] == NEW
        assert [change.event for change in told] == [WITHDRAWN, RESTORED]
        assert watched.series("execution_credentials_withdrawn", path=place) == 0
    shown = capsys.readouterr()
    assert "was taken back" in shown.out + shown.err
    assert OLD not in shown.out + shown.err + repr(told)


async def test_of_several_secrets_the_others_go_on_when_one_is_taken_back(
    corner: Corner, endpoints: Endpoints
) -> None:
    references = [SecretStr(corner.reference(f"venues/{name}", "webhook")) for name in ("one", "two")]
    for name, secret in (("one", OLD), ("two", NEW)):
        corner.put(f"venues/{name}", webhook=secret)
    reader = reader_of(endpoints.vault_addr, corner.token())
    watched = Watched(reader, *(reference.get_secret_value() for reference in references))
    await watched.credentials.look()
    corner.client.secrets.kv.v2.delete_latest_version_of_secret("venues/one", mount_point=corner.mount)
    await watched.credentials.look()
    assert [watched.credentials.accepted(reference) for reference in references] == [(), (NEW,)]


async def test_only_vault_saying_so_takes_anything_back(own: OwnVault) -> None:
    """Sealed, stopped, its engine gone, our rights gone: all is held on to."""
    with corner_of(own.address, own.token) as corner:
        corner.put("venues/bravo", token="one")
        place = SecretStr(corner.reference("venues/bravo", "token"))
        watched = Watched(reader_of(own.address, corner.token()), place.get_secret_value())
        told: list[SecretChange] = []
        watched.credentials.tell = told.append
        await watched.credentials.look()
        client, policy = own.client(), f"reads-{corner.mount}"

        async def still(away: Callable[[], object], back: Callable[[], object]) -> None:
            await asyncio.to_thread(away)
            for _ in range(2):
                await watched.credentials.look()
                assert watched.credentials.value(place) == "one"
                assert watched.series("execution_vault_away") == 1
            await asyncio.to_thread(back)

        rules = client.sys.read_policy(policy)["data"]["rules"]
        await still(
            lambda: client.sys.create_or_update_policy(policy, 'path "none" { capabilities = ["read"] }'),
            lambda: client.sys.create_or_update_policy(policy, rules),
        )
        await still(own.seal, own.unseal)
        await still(own.stop, own.start)
        await still(lambda: client.sys.disable_secrets_engine(corner.mount), lambda: None)
        assert told == []


async def test_what_was_taken_back_is_an_audit_event_once(
    corner: Corner, endpoints: Endpoints, ledger_url: str
) -> None:
    """Two processes look: a leader, and a standby that becomes one."""
    place = SecretStr(corner.reference("venues/bravo", "token"))
    corner.put("venues/bravo", token="one")
    watched = [
        Watched(reader_of(endpoints.vault_addr, corner.token()), place.get_secret_value()) for _ in range(2)
    ]
    may_write = asyncio.Event()
    writers = [SecretEvents(lambda: asyncpg.connect(ledger_url), may_write) for _ in watched]
    for process, writer in zip(watched, writers, strict=True):
        process.credentials.tell = writer.tell
        await process.credentials.look()
    corner.client.secrets.kv.v2.delete_latest_version_of_secret("venues/bravo", mount_point=corner.mount)
    for process in watched:
        await process.credentials.look()
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    connection = await asyncpg.connect(ledger_url)
    assert await connection.fetchval("SELECT count(*) FROM execution.audit_events") == 0
    may_write.set()
    await asyncio.wait_for(asyncio.gather(*(writer.drained() for writer in writers)), 30)
    [row] = await connection.fetch("SELECT event_type, body FROM execution.audit_events")
    body = json.loads(row["body"])
    validator(AUDIT_EVENT).validate(body)
    assert (row["event_type"], body["detail"]["path"]) == (WITHDRAWN, f"vault:{corner.mount}/venues/bravo")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await connection.close()


async def test_the_event_of_a_secret_waits_for_a_ledger_that_is_away(ledger_url: str) -> None:
    may_write, tries = asyncio.Event(), 0

    async def connect() -> asyncpg.Connection[Any]:
        nonlocal tries
        tries += 1
        if tries == 2:  # what the driver says of a session that ends between two statements
            raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
        return await asyncpg.connect("postgresql://nobody@127.0.0.1:1/none" if tries == 1 else ledger_url)

    writer = SecretEvents(connect, may_write)
    writer.tell(SecretChange(WITHDRAWN, "venues/bravo", 1, 0.0, "it was deleted"))
    may_write.set()
    task = asyncio.create_task(writer.run())
    await asyncio.wait({task, asyncio.ensure_future(writer.drained())}, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), task.exception()
    connection = await asyncpg.connect(ledger_url)
    assert await connection.fetchval("SELECT event_type FROM execution.audit_events") == WITHDRAWN
    assert tries == 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connection.close()


async def test_our_own_secrets_are_in_vault_alone(
    corner: Corner, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"ledger": "postgresql://u:hidden-1@h/d", "redis": "redis://:hidden-2@h", "sasl": "hidden-3"}
    corner.put("agent", **values)
    monkeypatch.setenv("VAULT_TOKEN", corner.token())

    def named(field: str) -> str:
        return corner.reference("agent", field)

    def said(redis: str = "redis") -> Settings:
        return Settings.model_validate(
            {
                "postgres_url": named("ledger"), "redis_url": named(redis),
                "vault": {"address": endpoints.vault_addr},
                "kafka": {"bootstrap": "b:1", "options": {"sasl.password": named("sasl"), "client.id": "x"}},
                "venues": {"C": {"format": "canonical", "feed": {"kind": "rest", "secrets": [named("webhook")]}}},
            }
        )  # fmt: skip

    found = await settled(said())
    assert found.postgres_url.get_secret_value() == values["ledger"]
    assert found.redis_url.get_secret_value() == values["redis"]
    assert found.kafka.client_options() == {"sasl.password": "hidden-3", "client.id": "x"}
    assert found.venues == said().venues, "those of venues are watched, and stay references"
    with pytest.raises(SettingsError, match="there is no such field"):
        await settled(said("other"))
    corner.client.secrets.kv.v2.delete_latest_version_of_secret("agent", mount_point=corner.mount)
    with pytest.raises(SettingsError, match="was deleted"):
        await settled(said())
    monkeypatch.setenv("VAULT_TOKEN", "wrong")
    with pytest.raises(StreamingError, match="could not be asked for our own secrets"):
        await settled(said(), seconds=1.5)
    shown = capsys.readouterr()
    assert "hidden" not in shown.out + shown.err


def test_commands_and_alerts_take_references_too(
    corner: Corner, endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    corner.put(
        "agent", ledger="postgresql://u:hidden-1@h/d", alerts="https://hooks.example/hidden-2", s3="hidden-3"
    )
    environment = {"VAULT_ADDR": endpoints.vault_addr, "VAULT_TOKEN": corner.token()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ledger_url(corner.reference("agent", "ledger"), tmp_path) == "postgresql://u:hidden-1@h/d"
    monkeypatch.setenv("EXECUTION_AGENT_ALERT_WEBHOOK", corner.reference("agent", "alerts"))
    assert isinstance(configured_sink(), AllSinks)
    client = s3_client(
        {**environment, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": corner.reference("agent", "s3"),
         "AWS_DEFAULT_REGION": "us-east-1"},
        clients_of(environment),
    )  # fmt: skip
    assert client._request_signer._credentials.secret_key == "hidden-3"  # type: ignore[attr-defined]
    monkeypatch.setenv("EXECUTION_AGENT_ALERT_WEBHOOK", corner.reference("agent", "nothing"))
    with pytest.raises(OSError, match=r"EXECUTION_AGENT_ALERT_WEBHOOK: .*no such field"):
        configured_sink()
    with pytest.raises(NoLedgerError, match="no such secret"):
        ledger_url(corner.reference("nobody", "ledger"), tmp_path)


def test_a_lease_that_was_revoked_is_replaced_at_the_next_look(endpoints: Endpoints, corner: Corner) -> None:
    with lending(endpoints, corner, default_ttl="1h", max_ttl="2h") as mount:
        reader, place = reader_of(endpoints.vault_addr, endpoints.vault_token), f"vault-lease:{mount}/creds/agent"
        held = reader.read(place)
        assert reader.read(place, held) is held
        assert held.lease is not None
        corner.client.sys.revoke_lease(held.lease.lease_id)
        fresh = reader.read(place, held)
        assert fresh.value("username") != held.value("username")
        assert fresh.lease is not None
        corner.client.sys.revoke_lease(fresh.lease.lease_id)
        corner.client.secrets.database.delete_role("agent", mount_point=mount)
        with pytest.raises(GoneError) as gone:
            reader.read(place, fresh)
        assert gone.value.was_deleted


def test_a_token_is_renewed_and_a_lost_one_is_replaced(corner: Corner, endpoints: Endpoints) -> None:
    corner.put("a", b="c")
    logins: list[str] = []

    def login(client: Any) -> float | None:
        logins.append(corner.token(ttl="3s"))
        return token_login(logins[-1])(client)

    session = VaultSession(lambda: client_at(endpoints.vault_addr), login)
    reader = VaultReader(session, 0.0)
    until = time.monotonic() + 5
    while time.monotonic() < until:  # longer than one token lives
        assert reader.read(f"vault:{corner.mount}/a").value("b") == "c"
        time.sleep(0.25)
    assert len(logins) == 1, "it was renewed"
    corner.client.auth.token.revoke(logins[0])
    assert reader.read(f"vault:{corner.mount}/a").value("b") == "c"
    assert len(logins) == 2


@contextmanager
def lending(endpoints: Endpoints, corner: Corner, **ttls: str) -> Iterator[str]:
    """An engine that makes logins of Postgres: where it is mounted."""
    mount, client = f"db-{corner.mount}", corner.client
    client.sys.enable_secrets_engine("database", path=mount)
    try:
        client.secrets.database.configure(
            "ledger",
            "postgresql-database-plugin",
            allowed_roles=["*"],
            connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@{endpoints.postgres_host}:"
            f"{endpoints.postgres_port}/postgres?sslmode=disable",
            username=endpoints.postgres_user,
            password=endpoints.postgres_password,
            mount_point=mount,
        )
        makes = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        client.secrets.database.create_role("agent", "ledger", [makes], mount_point=mount, **ttls)
        yield mount
    finally:
        client.sys.disable_secrets_engine(mount)


def test_what_is_lent_is_kept_renewed_and_lent_anew(endpoints: Endpoints, corner: Corner) -> None:
    """A login of Postgres that OpenBao makes for a few seconds."""
    with lending(endpoints, corner, default_ttl="3s", max_ttl="6s") as mount:
        reader = reader_of(endpoints.vault_addr, endpoints.vault_token)
        place = f"vault-lease:{mount}/creds/agent"
        held, logins, leases = None, [], set()
        until = time.monotonic() + 9
        while time.monotonic() < until:
            held = reader.read(place, held)
            assert held.lease is not None
            leases.add(held.lease.since)
            if held.value("username") not in logins:
                logins.append(held.value("username"))
            login = {"user": held.value("username"), "password": held.value("password")}
            where = {"host": endpoints.postgres_host, "port": endpoints.postgres_port, "dbname": "postgres"}
            psycopg.connect(**where, **login).close()  # type: ignore[arg-type]
            time.sleep(0.3)
        assert 2 <= len(logins) <= 4, "another login at the end of the longest life, and not before"
        assert len(leases) > len(logins), "in between the lease was renewed"


async def test_a_fix_session_shows_a_certificate_whose_key_is_in_vault_alone(
    corner: Corner, endpoints: Endpoints, tmp_path: Path
) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    files = certificates(folder)
    pem = {name: files[f"agent.{name}"].read_text() for name in ("key", "pem")}
    for path in (files["agent.key"], files["agent.pem"]):
        path.unlink()
    corner.put("venues/alpha", **pem)
    named = {name: corner.reference("venues/alpha", name) for name in pem}
    watched = Watched(reader_of(endpoints.vault_addr, corner.token()), *named.values())
    settings = FixFeedSettings.model_validate(
        {
            "host": "127.0.0.1", "port": 1, "sender_comp_id": "AGENT", "target_comp_id": "VENUE",
            "store": tmp_path / "store", "tls": True, "tls_ca": files["ca.pem"],
            "tls_certificate": named["pem"], "tls_key": named["key"],
        }
    )  # fmt: skip
    venue_tls = [str(files[name]) for name in ("venue.pem", "venue.key", "ca.pem")]
    async with acceptor(tmp_path / "venue", *venue_tls) as venue:
        inbox = Inbox()
        states: list[str] = []
        settings = settings.model_copy(update={"port": venue.port})
        feed = FixFeed("v", settings, inbox, None, states.append, credentials=watched.credentials)
        task = asyncio.create_task(feed.run())
        await asyncio.sleep(0.1)
        assert "live" not in states, "its key is not here yet"
        await watched.credentials.look()
        await until(lambda: "live" in states, 30)
        corner.put("venues/alpha", **{**pem, "key": pem["key"] + "\n"})
        states.clear()
        await watched.credentials.look()
        await until(lambda: "live" in states, 30)
        await venue.say("burst 1 10")
        taken: list[Arrival] = []
        async with asyncio.timeout(30):
            while len(taken) < 10:
                taken += await inbox.take(100)
        task.cancel()
        await asyncio.wait({task})
    secret = pem["key"].splitlines()[3].encode()
    for path in (tmp_path / "store").rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
