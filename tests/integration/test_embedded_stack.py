"""The embedded stack: each server is really used, data outlives its owner, and nobody else's data is touched."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import hvac
import psycopg
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from mypy_boto3_s3 import S3Client

from operations.embedded import (
    EmbeddedError,
    EmbeddedStack,
    Endpoints,
    NotAStateFolder,
    ServerDidNotStart,
    ServerName,
    StateInUse,
    reset,
    valkey,
)
from operations.embedded.postgres import _remove_stale_pid_file

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder in pytest's folder: as root that one is closed to PostgreSQL's account."""
    path = tmp_path / "state"
    yield path
    reset(path)


def s3_client(endpoints: Endpoints) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoints.s3_endpoint,
        aws_access_key_id=endpoints.s3_access_key,
        aws_secret_access_key=endpoints.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )


def vault_client(endpoints: Endpoints) -> hvac.Client:
    return hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token)


def read_secret(endpoints: Endpoints, path: str) -> dict[str, str]:
    with closing(vault_client(endpoints).adapter) as adapter:
        answer = adapter.get(f"/v1/secret/data/{path}")
        return dict(answer["data"]["data"])


def write_secret(endpoints: Endpoints, path: str, value: dict[str, str]) -> None:
    with closing(vault_client(endpoints).adapter) as adapter:
        adapter.post(f"/v1/secret/data/{path}", json={"data": value})


# --- each server is used -----------------------------------------------------------------------------------


def test_postgres_answers_sql_with_a_password_only(database_url: str, endpoints: Endpoints) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE fills (price numeric)")
        connection.execute("INSERT INTO fills VALUES ('0.10'), ('0.20')")
        assert connection.execute("SELECT sum(price)::text FROM fills").fetchone() == ("0.30",)
        assert connection.execute("SHOW server_version_num").fetchone() >= ("180000",)  # type: ignore[operator]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database_url.replace(endpoints.postgres_password, "wrong"))


def test_valkey_sets_and_gets(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.set("order", "in flight")
        assert client.get("order") == b"in flight"


def test_a_redis_database_of_another_test_is_not_seen(redis_url: str) -> None:
    with closing(redis.Redis.from_url(redis_url)) as client:
        assert client.dbsize() == 0


def test_broker_carries_a_message_with_key_and_headers(endpoints: Endpoints, topic_prefix: str) -> None:
    topic = topic_prefix + "fills"
    create_topic(endpoints, topic)
    producer = Producer({"bootstrap.servers": endpoints.kafka_bootstrap})
    producer.produce(topic, b"value", b"key", headers=[("ce_id", b"1")])
    assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": endpoints.kafka_bootstrap, "group.id": "unused"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = consumer.poll(10)
        assert message is not None
        assert (message.key(), message.value(), message.headers()) == (b"key", b"value", [("ce_id", b"1")])
    finally:
        consumer.close()


def test_s3_refuses_to_delete_a_locked_version(s3: S3Client, worm_bucket: str) -> None:
    put = s3.put_object(
        Bucket=worm_bucket,
        Key="checkpoint",
        Body=b"root",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
    )
    with pytest.raises(ClientError) as refusal:
        s3.delete_object(Bucket=worm_bucket, Key="checkpoint", VersionId=put["VersionId"])
    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(ClientError):
        s3.delete_object(
            Bucket=worm_bucket, Key="checkpoint", VersionId=put["VersionId"], BypassGovernanceRetention=True
        )
    kept = s3.get_object(Bucket=worm_bucket, Key="checkpoint", VersionId=put["VersionId"])
    assert kept["Body"].read() == b"root"


def test_vault_keeps_versions_of_a_secret(endpoints: Endpoints) -> None:
    write_secret(endpoints, "venue", {"key": "1"})
    write_secret(endpoints, "venue", {"key": "2"})
    assert read_secret(endpoints, "venue") == {"key": "2"}
    assert read_secret(endpoints, "venue?version=1") == {"key": "1"}


# --- data and addresses outlive the owner ------------------------------------------------------------------


def test_a_second_run_finds_the_same_addresses_and_data(state: Path) -> None:
    servers = [ServerName.POSTGRES, ServerName.S3, ServerName.VAULT]
    with EmbeddedStack(state, servers) as stack:
        first = stack.endpoints
        store_a_number(first)
        write_secret(first, "venue", {"key": "kept"})
        with closing(s3_client(first)) as client:
            client.create_bucket(Bucket="archive", ObjectLockEnabledForBucket=True)
            client.put_object(Bucket="archive", Key="day", Body=b"x" * 6_000_000)
            locked = client.put_object(
                Bucket="archive",
                Key="locked",
                Body=b"kept",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=1),
            )
    assert not any(stack.alive().values())
    with EmbeddedStack(state, servers) as stack:
        assert stack.endpoints == first
        assert stored_numbers(first) == [7]
        assert read_secret(first, "venue") == {"key": "kept"}
        with closing(s3_client(first)) as client:
            assert client.get_object(Bucket="archive", Key="day")["Body"].read() == b"x" * 6_000_000
            with pytest.raises(ClientError):
                client.delete_object(Bucket="archive", Key="locked", VersionId=locked["VersionId"])


def test_a_port_taken_by_someone_else_is_replaced(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.VALKEY]) as stack:
        first = stack.endpoints.redis_url
    port = int(first.rsplit(":", 1)[1].removesuffix("/0"))
    ports = json.loads((state / "ports.json").read_text())
    assert ports == {"valkey": port}
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of ours may be in TIME_WAIT
        other.bind(("127.0.0.1", port))
        other.listen()
        with EmbeddedStack(state, [ServerName.VALKEY]) as stack:
            assert stack.endpoints.redis_url != first


OWNER = """
import sys, time
from pathlib import Path
from operations.embedded import EmbeddedStack, ServerName
stack = EmbeddedStack(Path(sys.argv[1]), [ServerName(name) for name in sys.argv[2:]])
stack.start()
print("up", flush=True)
time.sleep(600)
"""


def test_an_owner_killed_with_sigkill_leaves_a_state_that_starts_again_at_once(state: Path) -> None:
    servers = [ServerName.POSTGRES, ServerName.VALKEY, ServerName.S3, ServerName.VAULT]
    with EmbeddedStack(state, servers) as stack:
        first = stack.endpoints
        store_a_number(first)
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(state), *servers], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        store_a_number(first)
        with closing(psycopg.connect(first.postgres_url("postgres"))) as busy:
            busy.execute("SELECT 1")
            owner.kill()
            owner.wait()
            with EmbeddedStack(state, servers) as stack:
                assert stack.endpoints == first
                assert stored_numbers(first) == [7, 7]


def test_servers_stop_when_their_owner_is_killed(state: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(state), "valkey"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        port = json.loads((state / "ports.json").read_text())["valkey"]
        owner.kill()
    deadline = time.monotonic() + 5
    while listens(port):
        assert time.monotonic() < deadline, "the server outlived its owner"
        time.sleep(0.05)


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.VALKEY]) as stack:
        guard = stack._servers[ServerName.VALKEY].process._guard
        assert guard is not None
        assert os.getsid(guard.pid) != os.getsid(0)


# --- faults ------------------------------------------------------------------------------------------------


def test_a_killed_server_is_noticed_and_restarts_with_what_was_committed(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.POSTGRES, ServerName.VALKEY]) as stack:
        store_a_number(stack.endpoints)
        stack.kill(ServerName.POSTGRES)
        assert stack.alive() == {ServerName.POSTGRES: False, ServerName.VALKEY: True}
        with pytest.raises(psycopg.OperationalError):
            stored_numbers(stack.endpoints)
        stack.restart(ServerName.POSTGRES)
        assert stored_numbers(stack.endpoints) == [7]


def test_a_restarted_broker_is_a_new_incarnation_that_has_forgotten_all(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.BROKER]) as stack:
        create_topic(stack.endpoints, "fills")
        before, topics = cluster(stack.endpoints)
        assert topics == {"fills"}
        stack.restart(ServerName.BROKER)
        after, topics = cluster(stack.endpoints)
        assert before != after
        assert topics == set()


def test_a_server_that_ends_is_named_with_its_log(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "get_binary_path", lambda: "/bin/ls")
    with pytest.raises(ServerDidNotStart, match=r"valkey did not start: it ended\. Log .*valkey\.log") as error:
        EmbeddedStack(state).start()
    assert "valkey.conf" in error.value.last_lines
    monkeypatch.undo()
    with EmbeddedStack(state, [ServerName.VALKEY]) as stack:
        assert stack.alive() == {ServerName.VALKEY: True}


def test_a_pid_file_whose_process_id_is_someone_elses_now_is_removed(tmp_path: Path) -> None:
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{tmp_path}\n")
    _remove_stale_pid_file(tmp_path)
    assert not pid_file.exists()


def test_a_pid_file_of_a_server_that_runs_there_is_kept(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], cwd=tmp_path) as server:
        pid_file = tmp_path / "postmaster.pid"
        pid_file.write_text(f"{server.pid}\n{tmp_path}\n")
        _remove_stale_pid_file(tmp_path)
        assert pid_file.exists()
        server.send_signal(signal.SIGKILL)


# --- owners, folders, secrets ------------------------------------------------------------------------------


def test_a_second_owner_is_refused_and_told_who_the_first_is(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.VALKEY]) as stack:
        with pytest.raises(StateInUse, match=f"in use by process {os.getpid()}"):
            EmbeddedStack(state, [ServerName.VALKEY]).start()
        with pytest.raises(StateInUse):
            reset(state)
        assert stack.alive() == {ServerName.VALKEY: True}


def test_reset_deletes_the_state_and_what_was_put_elsewhere(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.POSTGRES]):
        record = state / "elsewhere.json"
        elsewhere = [Path(path) for path in json.loads(record.read_text()).values()] if record.exists() else []
        assert all(path.is_dir() for path in elsewhere)
    reset(state)
    assert not state.exists()
    assert not any(path.exists() for path in elsewhere)


def test_a_folder_of_something_else_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with pytest.raises(NotAStateFolder):
        reset(tmp_path)
    with pytest.raises(NotAStateFolder):
        EmbeddedStack(tmp_path, [ServerName.VALKEY]).start()
    with pytest.raises(NotAStateFolder):
        EmbeddedStack(precious, [ServerName.VALKEY]).start()
    assert precious.read_text() == "mine"


def test_a_password_that_was_replaced_by_hand_is_named_and_not_waited_for(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.POSTGRES]):
        pass
    (state / "secrets" / "postgres").write_text("another")
    with pytest.raises(ServerDidNotStart, match="secrets/postgres is not the database's"):
        EmbeddedStack(state, [ServerName.POSTGRES]).start()


def test_a_server_that_is_not_part_of_the_stack_is_named(state: Path) -> None:
    with pytest.raises(EmbeddedError, match="vault is not part of this stack"):
        EmbeddedStack(state, [ServerName.VALKEY]).restart(ServerName.VAULT)


def test_secrets_are_readable_by_their_owner_only(state: Path) -> None:
    with EmbeddedStack(state):
        secrets = list((state / "secrets").iterdir())
        assert {path.name for path in secrets} >= {"postgres", "valkey", "s3.access", "s3.secret", "vault.json"}
        assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
        assert (state / "secrets").stat().st_mode & 0o777 == 0o700


def test_locked_objects_cannot_be_deleted_behind_the_gateway(state: Path) -> None:
    with EmbeddedStack(state, [ServerName.S3]) as stack:
        with closing(s3_client(stack.endpoints)) as client:
            client.create_bucket(Bucket="archive", ObjectLockEnabledForBucket=True)
            client.put_object(Bucket="archive", Key="day", Body=b"kept")
        filer = json.loads((state / "ports.json").read_text())["s3.filer.port"]
        address = f"http://127.0.0.1:{filer}/buckets/archive?recursive=true"
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE"), timeout=5)
        refusal.value.close()
        assert refusal.value.code == 401


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


def create_topic(endpoints: Endpoints, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap})
    for created in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        created.result(10)


def cluster(endpoints: Endpoints) -> tuple[str | None, set[str]]:
    metadata = AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap}).list_topics(timeout=10)
    return metadata.cluster_id, set(metadata.topics)


def store_a_number(endpoints: Endpoints) -> None:
    with psycopg.connect(endpoints.postgres_url("postgres")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number int)")
        connection.execute("INSERT INTO numbers VALUES (7)")


def stored_numbers(endpoints: Endpoints) -> list[int]:
    with psycopg.connect(endpoints.postgres_url("postgres")) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers")]
