"""The programs of the main job beside the servers: started under the same guard, each with a log of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from execution_assets.archives.settings import BUCKET_VARIABLE, KEYS_VARIABLE, SIGNER_VARIABLE
from operations.archive.opening import EMBEDDED
from operations.embedded.process import ServerProcess
from operations.main_job.logins import Login, as_login
from streaming.settings import CONFIG_VARIABLE
from trust import keys, signing
from trust.signing import make_key_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder
    from operations.main_job.plan import Plan

PROJECT = Path(__file__).resolve().parents[2]
LEDGER_DATABASE = "execution"
DAGSTER_DATABASE = "dagster"
ARCHIVE_BUCKET = "execution-archive"
OWN_PATH = "execution-agent"  # of what the programs themselves need, in the KV engine "secret"
_SENDER, _VENUE = "EXECAGENT", "ALPHA"


class Ports:
    """The ports of the programs, remembered like the servers'."""

    def __init__(self, state: StateFolder) -> None:
        self.http = state.port("stream-http")
        self.fix = state.port("simulator-fix")
        self.websocket = state.port("simulator-websocket")
        self.control = state.port("simulator-control")
        self.webserver = state.port("dagster-webserver")
        self.analysts = state.port("dagster-analysts")


class Program:
    """One program of the run, started again when it should run and does not."""

    def __init__(
        self,
        name: str,
        state: StateFolder,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        grace: float = 10.0,
    ) -> None:
        self.name = name
        self.restarts = 0
        self._state = state
        self._command = list(command)
        self._environment = dict(environment)
        self._process = ServerProcess(name, state, grace=grace)

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._process.log

    def start(self) -> None:
        """Start it; its working directory is a folder of its own below the state."""
        with self._process.lock() as lock:
            self._process.new_log()
            folder = self._state.folder(self.name)
            self._process.spawn(self._command, lock=lock, folder=folder, environment=self._environment)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.alive()

    def keep_alive(self) -> None:
        """Start it again if it has ended."""
        if not self.alive():
            self.restarts += 1
            self._process.wait_stopped()
            self.start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._process.ask_to_stop()

    def wait_stopped(self) -> None:
        """Wait until it has ended; after its grace time it is killed."""
        self._process.wait_stopped()


def stream_program(
    plan: Plan, state: StateFolder, endpoints: Endpoints, ports: Ports, trust: Sequence[str] = ()
) -> Program:
    """Write the streaming process's settings and give the program. ``trust``: lines of identity and Vault."""
    secret = "whsec_" + base64.b64encode(state.secret("charlie-webhook").encode()).decode()
    store = state.folder("stream") / "fix"
    own = _named(own_secrets(state, endpoints), in_vault=plan.identity)
    lines = [
        *(f"{name} = {_quoted(own[name])}" for name in ("postgres_url", "publisher_postgres_url", "redis_url")),
        "[kafka]",
        f"bootstrap = {_quoted(endpoints.kafka_bootstrap)}",
        "[http]",
        f"port = {ports.http}",
        *_audit(state, endpoints, own),
        *trust,
        "[venues.ALPHA]",
        'format = "fix44"',
        "[venues.ALPHA.feed]",
        'kind = "fix"',
        'host = "127.0.0.1"',
        f"port = {ports.fix}",
        f"sender_comp_id = {_quoted(_SENDER)}",
        f"target_comp_id = {_quoted(_VENUE)}",
        f"store = {_quoted(str(store))}",
        *([f"password = {_quoted('vault:secret/venues/alpha#password')}"] if plan.identity else []),
        "[venues.BRAVO]",
        'format = "canonical"',
        "[venues.BRAVO.feed]",
        'kind = "websocket"',
        f'url = "ws://127.0.0.1:{ports.websocket}"',
        *([f"token = {_quoted('vault:secret/venues/bravo#token')}"] if plan.identity else []),
        "[venues.CHARLIE]",
        'format = "canonical"',
        "[venues.CHARLIE.feed]",
        'kind = "rest"',
        f"secrets = [{_quoted('vault:secret/venues/charlie#webhook' if plan.identity else secret)}]",
    ]
    path = state.folder("stream") / "stream.toml"
    _write_private(path, "\n".join(lines) + "\n")
    return Program(
        "stream",
        state,
        [sys.executable, "-m", "operations.cli", "stream"],
        {CONFIG_VARIABLE: str(path), "PYTHONPATH": str(PROJECT)},
    )


def own_secrets(state: StateFolder, endpoints: Endpoints) -> dict[str, str]:
    """Give the secrets of the programs themselves, by the names of their settings."""
    publisher = as_login(Login.PUBLISHER, state, endpoints)
    return {
        "postgres_url": as_login(Login.STREAM, state, endpoints).postgres_url(LEDGER_DATABASE),
        "publisher_postgres_url": publisher.postgres_url(LEDGER_DATABASE),
        "redis_url": endpoints.redis_url,
        "s3_access_key": endpoints.s3_access_key,
        "s3_secret_key": endpoints.s3_secret_key,
    }


def _named(secrets: Mapping[str, str], *, in_vault: bool) -> dict[str, str]:
    """Give the values as settings have them: themselves, or as references to where Vault has them."""
    return {name: f"vault:secret/{OWN_PATH}#{name}" if in_vault else value for name, value in secrets.items()}


def _audit(state: StateFolder, endpoints: Endpoints, own: Mapping[str, str]) -> list[str]:
    """Sign the audit log by a key of this state's own, into its locked bucket."""
    if not endpoints.s3_endpoint:
        return []
    key = state.secret_path("audit-signer.pem")
    make_key_file(key)
    return [
        "[audit]",
        f"bucket = {_quoted(ARCHIVE_BUCKET)}",
        f"signer = {_quoted(str(key))}",
        f"s3_endpoint = {_quoted(endpoints.s3_endpoint)}",
        f"s3_access_key = {_quoted(own['s3_access_key'])}",
        f"s3_secret_key = {_quoted(own['s3_secret_key'])}",
    ]


def simulator_program(
    plan: Plan, state: StateFolder, endpoints: Endpoints, ports: Ports, shown: Mapping[str, str] | None = None
) -> Program:
    """Write the simulator's configuration and give the program. ``shown``: what a venue's clients must show."""
    keys = shown or {}
    secret = "whsec_" + base64.b64encode(state.secret("charlie-webhook").encode()).decode()
    folder = state.folder("simulator")
    config: dict[str, object] = {
        "state_dir": str(folder),
        "seed": plan.seed,
        "duration_seconds": plan.seconds,
        "kafka_bootstrap": endpoints.kafka_bootstrap,
        "venues": [
            {
                "name": "ALPHA", "kind": "fix", "account": "ALPHA-1", "port": ports.fix,
                "key": keys.get("ALPHA", ""), "sender_comp_id": _VENUE, "target_comp_id": _SENDER,
            },
            {
                "name": "BRAVO", "kind": "websocket", "account": "BRAVO-1", "port": ports.websocket,
                "key": keys.get("BRAVO", ""),
            },
            {
                "name": "CHARLIE", "kind": "rest", "account": "CHARLIE-1",
                "url": f"http://127.0.0.1:{ports.http}", "secret": secret,
            },
        ],
        "orders_per_second": plan.orders_per_second,
        "speed": plan.speed,
        "captures": [str(path.resolve()) for path in plan.captures],
        "control_port": ports.control,
    }  # fmt: skip
    if not plan.faults:
        names = (
            "duplicate swapped late lost garbled malformed dropped stale bust correct correct_again intent_late "
            "intent_twice snapshot_twice"
        )
        config["faults"] = dict.fromkeys(names.split(), 0.0)
    path = folder / "simulator.json"
    _write_private(path, json.dumps(config, indent=1))
    return Program(
        "simulator",
        state,
        [sys.executable, "-m", "simulator", "--config", path],
        {"PYTHONPATH": str(PROJECT)},
        grace=30.0,
    )


def dagster_programs(
    state: StateFolder, endpoints: Endpoints, ports: Ports, trust: Sequence[str] = ()
) -> tuple[Program, Program]:
    """Lay out DAGSTER_HOME and give the webserver and the daemon. ``trust``: as ``stream_program`` has it."""
    home = state.folder("dagster")
    shutil.copy(PROJECT / "dagster.yaml", home / "dagster.yaml")
    deriving = as_login(Login.DAGSTER, state, endpoints)
    environment = {
        **dagster_environment(home, deriving),
        **archive_environment(state, endpoints),
        CONFIG_VARIABLE: str(home / "audit.toml"),
    }
    own = _named(own_secrets(state, endpoints), in_vault=bool(trust))
    _write_private(home / "audit.toml", "\n".join([*_audit(state, endpoints, own), *trust]) + "\n")
    workspace = PROJECT / "workspace.yaml"
    bin_folder = Path(sys.executable).parent
    webserver = Program(
        "dagster-webserver",
        state,
        [bin_folder / "dagster-webserver", "-h", "127.0.0.1", "-p", str(ports.webserver), "-w", workspace],
        environment,
    )
    daemon = Program("dagster-daemon", state, [bin_folder / "dagster-daemon", "run", "-w", workspace], environment)
    return webserver, daemon


def analysts_program(state: StateFolder, endpoints: Endpoints, ports: Ports) -> Program:
    """Give the webserver that only shows; ``dagster_programs`` has laid out its home."""
    program = Path(sys.executable).parent / "dagster-webserver"
    return Program(
        "dagster-analysts",
        state,
        [program, "--read-only", "-h", "127.0.0.1", "-p", str(ports.analysts), "-w", PROJECT / "workspace.yaml"],
        dagster_environment(state.folder("dagster"), as_login(Login.DAGSTER, state, endpoints)),
    )


def dagster_environment(home: Path, endpoints: Endpoints) -> dict[str, str]:
    """Give what Dagster's processes read from their environment."""
    return {
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": endpoints.postgres_url(DAGSTER_DATABASE, "postgresql+psycopg2"),
        "EXECUTION_AGENT_POSTGRES_URL": endpoints.postgres_url(LEDGER_DATABASE),
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
    }


def archive_environment(state: StateFolder, endpoints: Endpoints) -> dict[str, str]:
    """Make the keys of the archives, if they are not there, and give what opens them.

    It is kept in the state folder, too: ``execution-agent archive`` finds it there.
    """
    wrapping, signer = state.secret_path("archive-keys.json"), state.secret_path("archive-signer.pem")
    keys.make_key_file(wrapping)
    signing.make_key_file(signer)
    environment = {
        "AWS_ENDPOINT_URL_S3": endpoints.s3_endpoint,
        "AWS_ACCESS_KEY_ID": endpoints.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": endpoints.s3_secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        BUCKET_VARIABLE: ARCHIVE_BUCKET,
        KEYS_VARIABLE: str(wrapping),
        SIGNER_VARIABLE: str(signer),
    }
    _write_private(state.path / EMBEDDED, json.dumps(environment, indent=1))
    return environment


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string is a TOML basic string


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
