"""What tests of every tier share: one embedded stack for the whole run, and a private corner of each server.

The stack starts when the first test asks for it, whichever xdist worker that is, and runs in a process of its
own (`fixtures/serve_stack.py`) that ends with the run. Tests that use it get the marker `servers`.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import boto3
import msgspec
import psycopg
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import settings
from mypy_boto3_s3 import S3Client
from psycopg import sql

from ledger.db.migrate import migrate
from operations.embedded import Endpoints

ROOT = Path(__file__).parents[1]
START_SECONDS = 120
RUN = pytest.StashKey[Path]()


# --- one stack for the whole run ---------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[RUN] = Path(worker_input["servers_run"])
        return
    run = Path(tempfile.mkdtemp(prefix="execution-agent-tests-"))
    # As root, PostgreSQL's own account must get through.
    run.chmod(0o711)
    (run / "controller").write_text(str(os.getpid()))
    config.stash[RUN] = run


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - xdist has no types
    node.workerinput["servers_run"] = str(node.config.stash[RUN])


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or RUN not in config.stash:
        return
    run = config.stash[RUN]
    with (run / "running.lock").open("w") as running:
        (run / "stop").touch()
        # The stack's process inherited this lock and holds it until all servers have stopped.
        fcntl.flock(running, fcntl.LOCK_EX)
    shutil.rmtree(run, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "endpoints" in getattr(item, "fixturenames", ()):
            item.add_marker("servers")


# a busy machine is no failure; what fails is printed so that it can be run again
settings.register_profile("here", deadline=None, print_blob=True)
settings.load_profile("here")


@pytest.fixture(scope="session")
def endpoints(request: pytest.FixtureRequest) -> Endpoints:
    """Addresses and credentials of the run's servers."""
    run = request.config.stash[RUN]
    with (run / "start.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (run / "running.lock").exists():
            _start_servers(run)
        _wait_for_servers(run)
    return msgspec.json.decode((run / "endpoints.json").read_bytes(), type=Endpoints)


def _start_servers(run: Path) -> None:
    script = ROOT / "tests" / "fixtures" / "serve_stack.py"
    with (run / "running.lock").open("w") as running, (run / "servers.log").open("w") as log:
        fcntl.flock(running, fcntl.LOCK_EX)
        # It is meant to outlive this worker; waiting for it is the controller's business.
        subprocess.Popen(
            [sys.executable, str(script), str(run), (run / "controller").read_text()],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(running.fileno(),),
            start_new_session=True,
        ).returncode = 0


def _wait_for_servers(run: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (run / "endpoints.json").exists():
        if (run / "failure.txt").exists():
            pytest.fail((run / "failure.txt").read_text(), pytrace=False)
        if time.monotonic() > deadline:
            pytest.fail(f"the embedded stack is not up after {START_SECONDS} s: {run / 'servers.log'}")
        time.sleep(0.05)


# --- PostgreSQL --------------------------------------------------------------------------------------------


@contextmanager
def fresh_database(endpoints: Endpoints, template: str = "template1") -> Iterator[str]:
    """A database that is a copy of `template`, by its name; dropped afterwards, whoever is connected."""
    name = f"t_{uuid.uuid4().hex}"
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        admin.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield name
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(endpoints: Endpoints) -> Iterator[str]:
    """A fresh, empty database: a plain `postgresql://` URL."""
    with fresh_database(endpoints) as name:
        yield endpoints.postgres_url(name)


@pytest.fixture(scope="session")
def _ledger_template(endpoints: Endpoints) -> Iterator[str]:
    """One migrated database a worker, to copy from: nobody may be connected to it."""
    with fresh_database(endpoints) as name:
        migrate(endpoints.postgres_url(name))
        yield name


@pytest.fixture
def ledger_url(endpoints: Endpoints, _ledger_template: str) -> Iterator[str]:
    """A fresh database with the ledger's schema: a plain `postgresql://` URL."""
    with fresh_database(endpoints, template=_ledger_template) as name:
        yield endpoints.postgres_url(name)


@pytest.fixture(scope="session")
def _logins(endpoints: Endpoints, _ledger_template: str) -> Iterator[dict[str, Endpoints]]:
    """The servers by a login of each role: roles are the cluster's, so each worker has logins of its own."""
    worker = uuid.uuid4().hex[:12]
    groups = ("writer", "publisher", "dagster", "analyst", "auditor")
    names = {group: f"t_{group}_{worker}" for group in groups}
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as admin:
        for group, name in names.items():
            make = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
            admin.execute(make.format(sql.Identifier(name), name, sql.Identifier(f"execution_{group}")))
    yield {
        group: msgspec.structs.replace(endpoints, postgres_user=name, postgres_password=name)
        for group, name in names.items()
    }
    with psycopg.connect(endpoints.postgres_url("postgres"), autocommit=True) as admin:
        for name in names.values():
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [name])
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def urls(ledger_url: str, _logins: dict[str, Endpoints]) -> dict[str, str]:
    """The URLs of ``ledger_url``'s database by a login of each role (without its ``execution_``)."""
    database = ledger_url.rpartition("/")[2]
    return {group: seen.postgres_url(database) for group, seen in _logins.items()}


# --- Redis, Kafka, S3 --------------------------------------------------------------------------------------


@pytest.fixture
def redis_url(endpoints: Endpoints) -> Iterator[str]:
    """A Redis database of the test's own: empty, with a number that no other running test has."""
    with closing(redis.Redis.from_url(endpoints.redis_url)) as counter:
        number = 1 + counter.incr("tests") % 1023
    url = f"{endpoints.redis_url.rsplit('/', 1)[0]}/{number}"
    with closing(redis.Redis.from_url(url)) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture
def topic_prefix(endpoints: Endpoints) -> str:
    """What the names of the test's topics begin with."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def s3(endpoints: Endpoints) -> Iterator[S3Client]:
    """A client of the S3 server."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoints.s3_endpoint,
        aws_access_key_id=endpoints.s3_access_key,
        aws_secret_access_key=endpoints.s3_secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    yield client
    client.close()


@contextmanager
def _fresh_bucket(s3: S3Client, *, object_lock: bool) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
    yield name
    # A bucket with locked objects cannot go before the whole server does.
    with suppress(ClientError):
        s3.delete_bucket(Bucket=name)


@pytest.fixture
def bucket(s3: S3Client) -> Iterator[str]:
    """A bucket of the test's own."""
    with _fresh_bucket(s3, object_lock=False) as name:
        yield name


@pytest.fixture
def worm_bucket(s3: S3Client) -> Iterator[str]:
    """A bucket of the test's own with Object Lock."""
    with _fresh_bucket(s3, object_lock=True) as name:
        yield name
