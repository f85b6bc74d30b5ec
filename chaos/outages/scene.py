"""What a case plays in: servers behind proxies, the practice venues, and streaming processes under load."""

from __future__ import annotations

import contextlib
import os
import struct
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import boto3
import msgspec
import psycopg
from botocore.config import Config

from chaos.campaign import environment, prepare
from chaos.outages.answers import Answers
from chaos.outages.bucket import Bucket
from chaos.outages.proxy import Proxy
from chaos.outages.small_disk import MOUNTED, mount, unmount
from chaos.outages.toxiproxy import Toxiproxy, binary
from chaos.resting import ChaosError
from chaos.victim import Victim
from operations.embedded import EmbeddedStack, ServerName
from operations.embedded.account import unprivileged_account
from operations.embedded.broker import Broker, Storage
from operations.main_job.figures import ask
from operations.main_job.plan import Plan
from operations.main_job.preparing import make_bucket
from operations.main_job.programs import LEDGER_DATABASE, PROJECT, Ports, simulator_program, stream_program

if TYPE_CHECKING:
    import signal
    from types import TracebackType

    from operations.embedded.endpoints import Endpoints
    from operations.embedded.process import ServerProcess
    from operations.main_job.programs import Program

INBOX_LIMIT = 200  # small, so that it is full after a second or two
_STEPPED = Path(__file__).with_name("stepped")
_READY_SECONDS = 40.0
_OF_THE_CAMPAIGN = ("EXECUTION_AGENT_VENUES__", "EXECUTION_AGENT_KAFKA__AHEAD_SECONDS")
_KEPT_SERVERS = [ServerName.POSTGRES, ServerName.VALKEY]
_NAMES = {"postgres": ServerName.POSTGRES, "redis": ServerName.VALKEY, "s3": ServerName.S3}


class Scene:
    """Everything up, in a state folder of its own; ``processes`` are streaming processes with the same venues.

    ``has_s3``: with S3, where the audit log's checkpoints go, and the topics as well with ``keeps_topics``.
    ``toxic`` names the server that has toxiproxy in front, where that can be had.
    """

    def __init__(
        self,
        state: Path,
        *,
        seed: int,
        orders: float,
        has_s3: bool,
        keeps_topics: bool,
        small_disk: bool,
        toxic: str,
        processes: int,
    ) -> None:
        self._plan = Plan(state, None, seed, (), 1.0, True, orders, False)
        self._has_s3 = has_s3 or keeps_topics
        servers = [*_KEPT_SERVERS, ServerName.S3] if self._has_s3 else _KEPT_SERVERS
        self.stack = EmbeddedStack(state, servers)
        self._keeps_topics = keeps_topics
        self._small_disk = small_disk
        self._toxic = toxic
        self._processes = processes
        self._cleaning = contextlib.ExitStack()
        self.answers = Answers()
        self.proxies: dict[str, Proxy] = {}
        self.toxiproxy: Toxiproxy | None = None
        self.victims: list[Victim] = []
        self.ports: list[int] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._cleaning = stack
            self._start()
            self._cleaning = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleaning.close()

    def _start(self) -> None:
        found = self.stack.start()
        self._cleaning.callback(self.stack.stop)
        state, proxy = self.stack.state, self._proxy
        valkey = int(found.redis_url.rpartition(":")[2].partition("/")[0])
        ports = Ports(state)
        ways = {"postgres": found.postgres_port, "redis": valkey, "broker": state.port(ServerName.BROKER)}
        ways["http"] = ports.http
        if self._has_s3:
            ways["s3"] = int(found.s3_endpoint.rpartition(":")[2])
            make_bucket(found)
        for name, upstream in ways.items():
            proxy(name, upstream)
        bootstrap = f"127.0.0.1:{self.way('broker').port}"
        self.broker = Broker(state, advertised=bootstrap, storage=self._storage(found))
        self.broker.start()
        self._cleaning.callback(self._stop_broker)
        self.endpoints: Endpoints = msgspec.structs.replace(found, kafka_bootstrap=bootstrap)
        self.disk = self._mount() if self._small_disk else None
        prepare(self.endpoints, state)
        through = msgspec.structs.replace(
            self.endpoints,
            postgres_port=self.way("postgres").port,
            redis_url=found.redis_url.replace(f":{valkey}/", f":{self.way('redis').port}/"),
            s3_endpoint=f"http://127.0.0.1:{self.way('s3').port}" if self._has_s3 else "",
        )
        stream_program(self._plan, state, through, ports)  # writes its settings
        folder = state.folder("stream")
        if self._has_s3:
            self.bucket = Bucket(folder / "stream.toml", self.endpoints.s3_endpoint)
        self._clock = folder / "clock"
        self.step_clock(0)
        for number in range(self._processes):
            port = ports.http if number == 0 else state.port(f"stream-http-{number}")
            self.ports.append(port)
            self.victims.append(Victim(folder, state.log(f"stream-{number}"), self._environment(folder, port)))
        self._cleaning.callback(self._kill_victims)
        calls = Ports(state)
        calls.http = self.proxies["http"].port
        self.control = calls.control
        self.simulator: Program = simulator_program(self._plan, state, self.endpoints, calls)
        self._cleaning.callback(self.stop_simulator)
        self.victims[0].start()
        self.await_ready(0)
        for victim in self.victims[1:]:
            victim.start()
        self.simulator.start()

    def ledger(self) -> psycopg.Connection[Any]:
        """Open the ledger, past the proxies."""
        return psycopg.connect(self.endpoints.postgres_url(LEDGER_DATABASE), autocommit=True)

    def way(self, server: str) -> Proxy | Toxiproxy:
        """Give what stands before a server: toxiproxy, or a proxy of ours."""
        return self.toxiproxy if server == self._toxic and self.toxiproxy is not None else self.proxies[server]

    def _proxy(self, name: str, upstream: int) -> None:
        program = binary() if name == self._toxic else None
        found: Proxy | Toxiproxy
        if program is not None:
            found = self.toxiproxy = Toxiproxy(program, upstream, seed=self._plan.seed)
        else:
            listen = self.answers.listen if name == "http" else None
            found = self.proxies[name] = Proxy(0, upstream, listen=listen, seed=self._plan.seed)
        self._cleaning.callback(found.stop)
        found.start()

    def _environment(self, folder: Path, port: int) -> dict[str, str]:
        # with the usual limits: the crash campaign's make delays and halts of everything, and are for short lives
        settings = {k: v for k, v in environment(folder).items() if not k.startswith(_OF_THE_CAMPAIGN)}
        return settings | {
            "EXECUTION_AGENT_INBOX_LIMIT": str(INBOX_LIMIT),
            "EXECUTION_AGENT_HTTP__PORT": str(port),
            "PYTHONPATH": f"{_STEPPED}{os.pathsep}{PROJECT}",
            "CHAOS_CLOCK": str(self._clock),
        }

    def _storage(self, found: Endpoints) -> Storage | None:
        """Topics on S3, where the broker is to come back with them."""
        if not self._keeps_topics:
            return None
        bucket = f"topics-{uuid.uuid4().hex[:12]}"
        client = boto3.client(
            "s3",
            endpoint_url=found.s3_endpoint,
            aws_access_key_id=found.s3_access_key,
            aws_secret_access_key=found.s3_secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=bucket)
        client.close()
        return Storage(
            f"s3://{bucket}/",
            {
                "AWS_ACCESS_KEY_ID": found.s3_access_key,
                "AWS_SECRET_ACCESS_KEY": found.s3_secret_key,
                "AWS_ENDPOINT": found.s3_endpoint,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
            },
        )

    def _mount(self) -> Path:
        """Put the ledger's database on a small disk of its own, unless one has been mounted already."""
        mounted = os.environ.get(MOUNTED)
        folder = Path(mounted) if mounted else self.stack.state.folder("small-disk")
        if not mounted:
            account = unprivileged_account()
            try:
                mount(folder, (account.uid, account.gid) if account else None)
            except OSError as error:
                raise ChaosError(f"a small disk cannot be mounted: {error}") from error
            # after the servers have stopped: they are called back in the opposite order
            self._cleaning.callback(unmount, folder)
        with psycopg.connect(self.endpoints.postgres_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
            connection.execute(f"CREATE DATABASE {LEDGER_DATABASE} TABLESPACE small".encode())
        return folder

    # --- the processes -----------------------------------------------------------------------------------------

    def status(self, number: int = 0) -> dict[str, Any]:
        """What a streaming process says of itself; {} when it does not answer."""
        return ask(f"http://127.0.0.1:{self.ports[number]}/status")

    def await_ready(self, number: int) -> None:
        """Wait until a process lands."""
        victim, deadline = self.victims[number], time.monotonic() + _READY_SECONDS
        while not self.status(number).get("ready"):
            if not victim.alive or time.monotonic() > deadline:
                raise ChaosError(
                    f"a streaming process did not get ready; {victim.log} ends with:\n{victim.words()}"
                )
            time.sleep(0.05)

    def step_clock(self, seconds: float) -> None:
        """Set the streaming processes' clock so far off; it is read each time that they ask."""
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("q", int(seconds * 1e9)))

    def stop_simulator(self) -> None:
        """Stop the venues."""
        self.simulator.ask_to_stop()
        self.simulator.wait_stopped()

    def _kill_victims(self) -> None:
        for victim in self.victims:
            if victim.alive:
                victim.kill(group=True)

    # --- the servers -------------------------------------------------------------------------------------------

    def server(self, name: str) -> ServerProcess:
        """The process of a server."""
        return self.broker.process if name == "broker" else self.stack.process(_NAMES[name])

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server and all its processes, the eldest first; its guard is left alone."""
        for pid in descendants(self.server(name).pid)[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start_server(self, name: str) -> None:
        """Start a server that was stopped or killed, at its old address."""
        if name == "broker":
            self.broker.process.wait_stopped()
            self.broker.start()
        else:
            self.stack.restart(_NAMES[name])

    def _stop_broker(self) -> None:
        self.broker.process.ask_to_stop()
        self.broker.process.wait_stopped()


def descendants(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def resident_bytes(pid: int) -> int:
    """The memory of a process and all below it."""
    total = 0
    for one in descendants(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
