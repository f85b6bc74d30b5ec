"""The practice venues against strict peers: the QuickFIX engine, a WebSocket client, an HTTP server.

Every peer counts what its application gets; the books must say the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from standardwebhooks import Webhook
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from simulator.books import books
from simulator.config import Config, FaultRates, VenueConfig
from simulator.http_client import Connection
from simulator.simulation import Simulation
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from operations.embedded import Endpoints

SECRET = "whsec_c2ltdWxhdG9y"
# every fault in a few seconds; intents are not looked at here
ROUGH = FaultRates(
    duplicate=0.05,
    swapped=0.05,
    late=0.03,
    lost=0.03,
    garbled=0.02,
    malformed=0.04,
    dropped=0.01,
    stale=0.02,
    bust=0.05,
    correct=0.05,
)
PEER = Path(__file__).parents[1] / "fixtures/quickfix_peer.py"


def config(state: Path, *venues: VenueConfig, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "state_dir": str(state),
        "venues": venues,
        "faults": ROUGH,
        "duration_seconds": 3.0,
        "speed": 3.0,
        "orders_per_second": 18.0,
        "fill_gap_seconds": 0.05,
        "grace_seconds": 10.0,
    }
    return Config(**settings | changes)


@asynccontextmanager
async def running(settings: Config) -> AsyncIterator[Simulation]:
    simulation = Simulation(settings)
    task = asyncio.create_task(simulation.run())
    try:
        while any(venue.address.endswith(":0") for venue in simulation.venues):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield simulation
    finally:
        simulation.leave()
        await asyncio.wait_for(task, 30)


async def drained(simulation: Simulation, seconds: float = 45) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while simulation.state != "drained":  # noqa: ASYNC110 - as an outsider sees it
            await asyncio.sleep(0.05)
    return books(simulation)


# --- FIX ---------------------------------------------------------------------------------------------------


class Engine:
    """What the application on a real QuickFIX engine got: counts by ExecID and ExecType."""

    def __init__(self, said: bytes) -> None:
        page = json.loads(said)
        self.logons: int = page["logons"]
        self.got = Counter({(exec_id, kind): count for exec_id, kind, count in page["got"]})
        trues = {key: count for key, count in self.got.items() if key[0] and "BAD" not in key[0]}
        self.reports = {exec_id: count for (exec_id, kind), count in trues.items() if kind in "FHG"}
        self.copies = sum(self.reports.values()) - len(self.reports)
        self.malformed = sum(self.got.values()) - sum(trues.values())


class Initiator:
    """A QuickFIX process; stop and start it, its file store goes on."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, folder: Path, address: str, *, dictionary: bool = False) -> Initiator:
        host, _, port = address.rpartition(":")
        command = (sys.executable, PEER, folder, host, port, "Y" if dictionary else "N")
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*map(str, command), stdin=pipe, stdout=pipe))

    async def stop(self) -> Engine:
        said, _ = await asyncio.wait_for(self._process.communicate(b""), 30)
        return Engine(said)


async def test_quickfix_gets_every_report_through_gaps_garbling_and_lost_connections(tmp_path: Path) -> None:
    # of each some in every run, however few reports a slow machine makes
    often = FaultRates(dropped=0.02, garbled=0.02, stale=0.02, lost=0.02, malformed=0.02, swapped=0.03, late=0.03)
    async with running(config(tmp_path, VenueConfig("ALPHA", "fix"), faults=often)) as simulation:
        initiator = await Initiator.start(tmp_path, simulation.venues[0].address)
        page = await drained(simulation)
        engine = await initiator.stop()
    alpha, faults = page["venues"]["ALPHA"], page["faults"]
    assert alpha["reports_sent"] == alpha["fills"] + alpha["busts"] + alpha["corrects"] > 300
    assert len(engine.reports) == alpha["reports_sent"]
    assert engine.copies == alpha["duplicates_sent"] > 0
    assert engine.malformed == alpha["malformed_sent"] == faults["malformed"] > 0
    assert engine.logons == faults["dropped"] + 1 > 1
    assert {"lost", "garbled", "stale", "swapped", "late", "bust", "correct"} <= set(faults)
    assert alpha["session_resends"] == faults["stale"]


async def test_a_dictionary_validating_engine_finds_nothing_wrong_with_true_reports(tmp_path: Path) -> None:
    faults = FaultRates(malformed=0)
    async with running(config(tmp_path, VenueConfig("ALPHA", "fix"), faults=faults)) as simulation:
        initiator = await Initiator.start(tmp_path, simulation.venues[0].address, dictionary=True)
        page = await drained(simulation)
        engine = await initiator.stop()
    assert len(engine.reports) == page["venues"]["ALPHA"]["reports_sent"] > 300
    assert simulation.venues[0].session.rejects == 0  # type: ignore[attr-defined]


async def test_a_second_run_goes_on_and_what_was_made_meanwhile_is_fetched(tmp_path: Path) -> None:
    alpha = VenueConfig("ALPHA", "fix")
    state, engines = tmp_path / "state", []
    async with running(config(state, alpha, duration_seconds=1.0)) as simulation:
        initiator = await Initiator.start(tmp_path, simulation.venues[0].address)
        await drained(simulation)
        engines.append(await initiator.stop())
    # nobody there: the reports wait in the journal
    async with running(config(state, alpha, duration_seconds=1.0, grace_seconds=0.1)) as simulation:
        await asyncio.sleep(2.5)
        assert simulation.venues[0].outstanding > 20
    async with running(config(state, alpha, duration_seconds=1.0)) as simulation:
        initiator = await Initiator.start(tmp_path, simulation.venues[0].address)
        page = await drained(simulation)
        engines.append(await initiator.stop())
    reports = engines[0].reports.keys() | engines[1].reports.keys()
    assert page["run"] == 3
    assert (
        len(reports) == page["venues"]["ALPHA"]["reports_sent"] == sum(len(engine.reports) for engine in engines)
    )


# --- WebSocket ---------------------------------------------------------------------------------------------


class Listener:
    """A client that goes on where it was, asks for holes, and counts."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.malformed = 0
        self.connections = 0
        self.replayed = 0
        self._expected = 1
        self._ahead: dict[int, list[dict[str, Any]]] = {}

    async def listen(self, url: str) -> None:
        while True:
            with suppress(ConnectionClosed, OSError):
                async with connect(url) as socket:
                    self.connections += 1
                    await socket.send(
                        json.dumps({"op": "subscribe", "channel": "executions", "from_sequence": self._expected})
                    )
                    asked = 0
                    async for raw in socket:
                        asked = await self._heard(socket, raw, asked)
            await asyncio.sleep(0.1)

    async def _heard(self, socket: Any, raw: str | bytes, asked: int) -> int:
        try:
            frame = json.loads(raw)
            if frame["channel"] == "heartbeat":
                last = frame["last_sequence"]
            else:
                last = frame["sequence"]
                if last >= self._expected:
                    self._ahead.setdefault(last, frame["data"])
                self.replayed += frame.get("replay", False)
        except (ValueError, KeyError):
            self.malformed += 1
            return asked
        while self._expected in self._ahead:
            self.got.update(report["exec_id"] for report in self._ahead.pop(self._expected))
            self._expected += 1
        if last >= self._expected > asked:
            await socket.send(json.dumps({"op": "replay", "from_sequence": self._expected, "to_sequence": last}))
            return self._expected
        return asked


async def test_a_client_that_asks_for_holes_gets_every_frame_through_reconnects(
    tmp_path: Path,
) -> None:
    listener = Listener()
    async with running(config(tmp_path, VenueConfig("BRAVO", "websocket"))) as simulation:
        client = asyncio.create_task(listener.listen(simulation.venues[0].address))
        page = await drained(simulation)
        client.cancel()
        with suppress(asyncio.CancelledError):
            await client
    bravo = page["venues"]["BRAVO"]
    assert bravo["reports_sent"] == bravo["fills"] + bravo["busts"] + bravo["corrects"] == len(listener.got) > 300
    assert bravo["malformed_sent"] == listener.malformed > 0
    assert bravo["duplicates_sent"] >= sum(listener.got.values()) - len(listener.got) > 0
    assert listener.connections == page["faults"]["dropped"] + 1 > 1
    assert listener.replayed > 0


async def test_a_client_that_forgets_is_replayed_from_where_it_says(tmp_path: Path) -> None:
    quiet = FaultRates(duplicate=0, lost=0, garbled=0, malformed=0, dropped=0, swapped=0, late=0)
    settings = config(tmp_path, VenueConfig("BRAVO", "websocket"), faults=quiet, duration_seconds=1.0)
    async with running(settings) as simulation:
        got = []
        for _ in range(2):
            listener = Listener()
            client = asyncio.create_task(listener.listen(simulation.venues[0].address))
            page = await drained(simulation)
            while sum(listener.got.values()) < page["venues"]["BRAVO"]["reports_sent"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.6)  # a ping goes out behind the frames
            client.cancel()
            with suppress(asyncio.CancelledError):
                await client
            got.append(listener.got)
        bravo = books(simulation)["venues"]["BRAVO"]
    assert got[0] == got[1]
    assert bravo["duplicates_sent"] == bravo["reports_sent"] == len(got[0])


async def test_what_a_killed_client_asks_for_again_is_no_duplicate(tmp_path: Path) -> None:
    quiet = FaultRates(duplicate=0, lost=0, garbled=0, malformed=0, dropped=0, swapped=0, late=0)
    settings = config(tmp_path, VenueConfig("BRAVO", "websocket"), faults=quiet, duration_seconds=1.0)
    async with running(settings) as simulation:
        address = simulation.venues[0].address
        async with connect(address) as socket:
            await socket.send('{"op": "subscribe", "channel": "executions", "from_sequence": 1}')
            reading = asyncio.create_task(_read_on(socket))
            page = await drained(simulation)
            socket.transport.abort()
            await reading
        assert page["venues"]["BRAVO"]["reports_sent"] > 20
        listener = Listener()
        client = asyncio.create_task(listener.listen(address))
        while not listener.got:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while simulation.venues[0].outstanding:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        client.cancel()
        with suppress(asyncio.CancelledError):
            await client
        bravo = books(simulation)["venues"]["BRAVO"]
    assert bravo["duplicates_sent"] == 0
    assert bravo["reports_sent"] == len(listener.got)


async def _read_on(socket: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()


async def test_a_client_from_another_life_sees_that_the_numbers_began_anew(tmp_path: Path) -> None:
    settings = config(tmp_path, VenueConfig("BRAVO", "websocket"), duration_seconds=None, orders_per_second=0.01)
    async with running(settings) as simulation, connect(simulation.venues[0].address) as socket:
        await socket.send('{"op": "subscribe", "channel": "executions", "from_sequence": 501}')
        heartbeat = json.loads(await socket.recv())
    assert heartbeat["last_sequence"] < 500


# --- REST --------------------------------------------------------------------------------------------------


class Callee:
    """Our side of the callback, with a temper: some requests get 503, some connections break."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.malformed = 0
        self.forged = 0
        self.temper = 0
        self._webhook = Webhook(SECRET)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
                }
                body = await reader.readexactly(int(headers["content-length"]))
                assert head.startswith("POST /v1/venues/CHARLIE/fills HTTP/1.1\r\n")
                self.temper += 1
                if self.temper % 23 == 0:
                    break
                if self.temper % 17 == 0:
                    writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 0.2\r\nContent-Length: 0\r\n\r\n")
                    continue
                status, answer = self._take(body, headers)
                content = json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {status} Said\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
                )
        writer.close()

    def _take(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, int]]:
        with suppress(UnicodeDecodeError):
            body.decode()
            self._webhook.verify(body, headers, json_parse=False)  # raises where the signature is wrong
        try:
            fills = json.loads(body)["fills"]
        except ValueError:
            self.malformed += 1
            return 400, {}
        bad = duplicates = 0
        for fill in fills:
            if not readable(fill):
                bad += 1
                continue
            self.got[fill["exec_id"]] += 1
            duplicates += self.got[fill["exec_id"]] > 1
        self.malformed += bad
        return (422 if bad else 200), {
            "landed": len(fills) - bad - duplicates,
            "duplicates": duplicates,
            "pending": 0,
        }


def readable(fill: dict[str, Any]) -> bool:
    try:
        positive = Decimal(fill["last_qty"]) > 0 and Decimal(fill["last_px"]) > 0
    except InvalidOperation:
        return False
    return bool(
        positive
        and fill.get("exec_id")
        and fill["side"] in {"buy", "sell"}
        and fill["transact_time"].endswith("Z")
    )


async def test_every_callback_is_signed_and_retried_until_it_is_answered(tmp_path: Path) -> None:
    callee = Callee()
    server = await asyncio.start_server(callee.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    charlie = VenueConfig("CHARLIE", "rest", url=f"http://127.0.0.1:{port}", secret=SECRET)
    async with running(config(tmp_path, charlie)) as simulation:
        page = (await drained(simulation))["venues"]["CHARLIE"]
    server.close()
    await server.wait_closed()
    assert page["reports_sent"] == page["fills"] + page["busts"] + page["corrects"] == len(callee.got) > 300
    assert page["duplicates_sent"] == sum(callee.got.values()) - len(callee.got) > 0
    assert page["malformed_sent"] == callee.malformed > 0


# --- the process, its books, and Kafka ---------------------------------------------------------------------


async def asked(port: int, target: str, method: str = "GET") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


async def start(path: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "simulator", "--config", str(path))


async def answering(port: int) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):
                return dict(json.loads(await asked(port, "/books")))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("ending", ["terminate", "kill"])
async def test_a_killed_process_goes_on_without_repeating_or_losing(tmp_path: Path, ending: str) -> None:
    callee = Callee()
    server = await asyncio.start_server(callee.serve, "127.0.0.1", 0)
    control = free_port()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    path = tmp_path / "simulator.json"
    settings = {
        "state_dir": str(tmp_path / "state"),
        "venues": [{"name": "CHARLIE", "kind": "rest", "url": url, "secret": SECRET}],
        "orders_per_second": 20,
        "fill_gap_seconds": 0.05,
        "speed": 3,
        "control_port": control,
    }
    path.write_text(json.dumps(settings))
    process = await start(path)
    await answering(control)
    await asyncio.sleep(2.5)
    getattr(process, ending)()
    code = await asyncio.wait_for(process.wait(), 30)
    assert code == (0 if ending == "terminate" else -9)
    path.write_text(json.dumps(settings | {"duration_seconds": 1}))
    process = await start(path)
    async with asyncio.timeout(40):
        while (page := await answering(control))["state"] != "drained":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    fills = [json.loads(line) for line in (await asked(control, "/fills?after=0&limit=10000")).splitlines()]
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 30) == 0
    server.close()
    await server.wait_closed()
    charlie = page["venues"]["CHARLIE"]
    assert page["run"] == 2
    assert len(fills) == charlie["fills"] == len({fill["exec_id"] for fill in fills}) > 100
    assert {fill["exec_id"] for fill in fills} <= set(callee.got)
    assert charlie["reports_sent"] == charlie["fills"] + charlie["busts"] + charlie["corrects"] == len(callee.got)


async def test_stop_orders_drains_and_unknown_paths_are_told_apart(tmp_path: Path) -> None:
    settings = config(tmp_path, VenueConfig("BRAVO", "websocket"), duration_seconds=None)
    async with running(settings) as simulation:
        client = asyncio.create_task(Listener().listen(simulation.venues[0].address))
        assert json.loads(await asked(simulation.control_port, "/stop-orders", "POST")) == {"state": "draining"}
        await drained(simulation)
        assert b"404" in await asked(simulation.control_port, "/nothing")
        assert b"400" in await asked(simulation.control_port, "/fills?after=x")
        client.cancel()
        with suppress(asyncio.CancelledError):
            await client


async def test_a_callee_that_is_not_there_is_an_error_and_not_a_loss() -> None:
    connection = Connection(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(OSError, match="Connect"):
        await connection.post("/", b"", {})


async def test_every_fill_has_its_intent_on_the_topic_and_keys_keep_their_partition(
    tmp_path: Path, endpoints: Endpoints
) -> None:
    prefix = f"{tmp_path.name}."
    settings = config(
        tmp_path,
        VenueConfig("BRAVO", "websocket"),
        duration_seconds=1.0,
        kafka_bootstrap=endpoints.kafka_bootstrap,
        topic_prefix=prefix,
        faults=FaultRates(intent_late=0.3, intent_twice=0.3, snapshot_twice=0.2),
    )
    async with running(settings) as simulation:
        client = asyncio.create_task(Listener().listen(simulation.venues[0].address))
        page = await drained(simulation)
        needed = {fill["msg_id"] for fill in simulation.journal.fills(0, 10_000)}
        client.cancel()
        with suppress(asyncio.CancelledError):
            await client
    intents = await asyncio.to_thread(consumed, endpoints.kafka_bootstrap, prefix + "order.intent.route.v1")
    snapshots = await asyncio.to_thread(consumed, endpoints.kafka_bootstrap, prefix + "market.data.snapshot.v1")
    assert needed <= set(intents)
    assert len(intents) == page["intents"]
    assert len(snapshots) == page["snapshots"]
    assert sum(intents.values()) > len(intents)
    assert sum(snapshots.values()) > len(snapshots)


def consumed(bootstrap: str, topic: str) -> Counter[str]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    ids: Counter[str] = Counter()
    partitions: dict[bytes, int] = {}
    quiet = 0
    while quiet < 4:
        messages = consumer.consume(1000, 0.5)
        quiet = 0 if messages else quiet + 1
        for message in messages:
            headers = dict(message.headers())
            assert headers["ce_type"].decode() == topic.partition(".")[2]
            assert partitions.setdefault(message.key(), message.partition()) == message.partition()
            ids[headers["ce_id"].decode()] += 1
    consumer.close()
    return ids
