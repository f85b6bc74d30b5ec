"""The FIX feed against the real QuickFIX acceptor (fix_acceptor.py), each in a process of its own."""
# ruff: noqa: ASYNC110, ASYNC240, T201  tests wait by looking, touch small files and print what they measured

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.records import ExecType, FillReport, Position, Report, ReportKind
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.feeds.fix import FixFeed
from streaming.feeds.fix_dictionary import write_relaxed
from streaming.settings import FixFeedSettings
from streaming.venues.fix import decode
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ledger.domain.sequence_gaps import GapFilled

ACCEPTOR = Path(__file__).with_name("fix_acceptor.py")
STREAM = "FIX.4.4:AGENT->VENUE"
PATIENCE = 30.0


class Acceptor:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def say(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command.encode() + b"\n")
        return await self.answer()

    async def answer(self) -> str:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "the acceptor has ended"
        return line.decode().rstrip("\n")


@contextlib.asynccontextmanager
async def acceptor(folder: Path, *options: str) -> AsyncIterator[Acceptor]:
    folder.mkdir(exist_ok=True)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ACCEPTOR),
        str(folder),
        str(port),
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    venue = Acceptor(process, port)
    try:
        await venue.answer()
        yield venue
    finally:
        process.kill()
        await process.communicate()


class Running:
    """A feed at work, and what it has handed over."""

    def __init__(self, feed: FixFeed, inbox: Inbox, states: list[str]) -> None:
        self.feed, self.inbox, self.states = feed, inbox, states

    async def take(self, count: int) -> list[Arrival]:
        taken: list[Arrival] = []
        async with asyncio.timeout(PATIENCE):
            while len(taken) < count:
                taken += await self.inbox.take(1000)
        assert len(taken) == count
        return taken

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def feed(
    store: Path,
    port: int,
    start_after: Position | None = None,
    inbox: Inbox | None = None,
    told: list[GapFilled] | None = None,
    renumbered: list[GapFilled | None] | None = None,
    **more: Any,
) -> AsyncIterator[Running]:
    settings = FixFeedSettings.model_validate(
        {
            "host": "127.0.0.1",
            "port": port,
            "sender_comp_id": "AGENT",
            "target_comp_id": "VENUE",
            "store": store,
            **more,
        }
    )
    states: list[str] = []
    inbox = Inbox() if inbox is None else inbox
    running = Running(FixFeed("v", settings, inbox, start_after, states.append), inbox, states)
    running.feed.on_filled = None if told is None else told.append
    if renumbered is not None:
        running.feed.on_renumbered = lambda lost, _: renumbered.append(lost)
    task = asyncio.create_task(running.feed.run())
    try:
        await running.until(lambda: "live" in states or task.done())
        yield running
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def numbers(arrivals: list[Arrival]) -> list[int]:
    """The numbers of the acceptor's fills, as the decoder reads them."""
    found = []
    for arrival in arrivals:
        ((report, _),) = decode("v", arrival.raw).reports
        assert report.exec_id is not None
        found.append(int(report.exec_id.removeprefix("E-")))
    return found


def sequences(arrivals: list[Arrival]) -> list[int]:
    positions = [arrival.position for arrival in arrivals]
    values = [position.value for position in positions if position is not None]
    assert len(values) == len(arrivals)
    return values


async def test_fills_arrive_in_order_with_their_positions(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        await venue.say("burst 1 200")
        taken = await running.take(200)
        assert numbers(taken) == list(range(1, 201))
        assert taken[0].position == Position("v.fix", STREAM, "", 2)  # the Logon was 1
        values = sequences(taken)
        assert values == sorted(set(values))
        assert {(each.feed, each.venue, each.kind) for each in taken} == {("v.fix", "v", ArrivalKind.REPORT)}
        assert all(abs(time.time_ns() - each.received_ns) < 60e9 for each in taken)
        engine = running.feed.engine_pid
        assert engine is not None
    assert running.states[:2] == ["connecting", "live"]
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


async def test_an_engine_that_is_killed_in_mid_stream_loses_nothing(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        sending = asyncio.create_task(venue.say("burst 1 6000"))
        taken: list[Arrival] = []
        for kills in range(1, 4):
            while len(taken) < 1000 * kills:
                taken += await running.inbox.take(1000)
            assert running.feed.engine_pid is not None
            os.kill(running.feed.engine_pid, signal.SIGKILL)
            await running.until(lambda kills=kills: running.feed.counters["logons"] > kills)  # type: ignore[misc]
        await sending
        taken += await running.take(6000 - len(taken))
        assert numbers(taken) == list(range(1, 6001))
        values = sequences(taken)
        assert values == sorted(set(values))
        assert running.feed.counters["restarts"] == 3
        assert "down" in running.states


async def test_it_goes_on_after_the_position_that_postgres_holds(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        async with feed(tmp_path / "store", venue.port) as running:
            await venue.say("burst 1 20")
            taken = await running.take(20)
        # the engine's own store says 22; only 12 of them were committed
        async with feed(tmp_path / "store", venue.port, taken[11].position) as running:
            again = await running.take(8)
            assert numbers(again) == list(range(13, 21))
            assert sequences(again) == sequences(taken[12:])
            assert all(b"\x0143=Y\x01" in each.raw for each in again)
        # and nothing was
        async with feed(tmp_path / "store", venue.port) as running:
            assert numbers(await running.take(20)) == list(range(1, 21))


BAD_FIELDS = [
    "17=|32=1",
    "17=E-1|32=NaN",
    "17=E-1|32=-5",
    "17=E-1|31=1E400",
    "17=E-1|54=Q",
    "17=E-1|60=yesterday",
    "17=E-1|150=Z",
    "17=E-1|14=a lot",
    "17=E-1|55=",
    "17=E-1|75=20261341",
    "17=E-1|453=many",
]


async def test_a_bad_fill_arrives_whole_instead_of_being_rejected_by_the_engine(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        for fields in BAD_FIELDS:
            await venue.say(f"raw 35=8|37=V-1|150=F|{fields}")
        await venue.say("burst 1 1")
        taken = await running.take(len(BAD_FIELDS) + 1)
        for fields, arrival in zip(BAD_FIELDS, taken, strict=False):
            for field in fields.split("|"):
                assert f"\x01{field}\x01".encode() in arrival.raw
            assert arrival.defect is None
            assert len(decode("v", arrival.raw).defects) == 1
        assert numbers(taken[-1:]) == [1]
        assert running.feed.counters["rejects"] == 0


async def test_what_the_engine_refuses_nevertheless_is_handed_over_as_a_defect(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        await venue.say("raw 35=U1|58=a message type of the venue's own")
        await venue.say("burst 1 1")
        refused, filled = await running.take(2)
        assert refused.defect is not None
        assert refused.defect.reason == "session_reject"
        assert "Invalid MsgType" in refused.defect.rule
        assert sequences([refused, filled]) == [2, 3]


# what venues send in sessions of either version, groups and later versions' messages included
OF_ANY_VERSION = [
    (
        "35=8|37=V-1|11=m-1|17=E-1|20=0|150=2|39=2|55=ACME|54=1|32=3|31=10.5|14=3|151=0|6=0|60=20260102-10:02:14.591"
        "|453=2|448=A|447=D|452=1|448=B|447=D|452=3"
    ),
    "35=9|37=V-1|11=m-2|41=m-1|39=2|434=1|102=0|58=too late|60=20260102-10:02:15",
    "35=8|37=V-1|11=m-1|17=E-2|19=E-1|150=G|39=2|55=ACME|54=1|32=3|31=10|60=20260102-10:02:16",
    "35=8|37=V-1|11=m-1|17=E-3|19=E-2|150=H|39=0|55=ACME|54=1|60=20260102-10:02:17",
    (
        "35=8|37=V-1|11=m-1|17=E-4|150=F|39=2|55=ACME|54=1|32=3|31=10.5|60=20260102-10:02:18"
        "|1362=2|1363=P-1|1364=10|1365=1|1363=P-2|1364=10.75|1365=2|136=2|137=1|138=USD|139=1|137=2|138=USD|139=4"
    ),
    (
        "35=AE|571=T-1|487=0|55=ACME|32=3|31=10.5|60=20260102-10:02:19|552=2|54=1|37=V-1|11=m-1|453=1|448=A|447=D"
        "|452=24|54=2|37=V-2|11=m-2|453=1|448=B|447=D|452=24"
    ),
]
OUTCOMES = [
    [ReportKind.FILL],
    [ExecType.CANCEL_REJECT],
    [ReportKind.CORRECT],
    [ReportKind.BUST],
    [ReportKind.FILL, ReportKind.FILL],
    [ReportKind.FILL, ReportKind.FILL],
]


def said(report: Report) -> ReportKind | ExecType:
    return report.kind if isinstance(report, FillReport) else report.exec_type


@pytest.mark.parametrize("version", ["FIX.4.2", "FIX.4.4", "FIXT.1.1"])
async def test_reports_of_every_version_arrive_whole(tmp_path: Path, version: str) -> None:
    async with (
        acceptor(tmp_path / "venue", version) as venue,
        feed(tmp_path / "store", venue.port, begin_string=version) as running,
    ):
        for fields in OF_ANY_VERSION:
            await venue.say(f"raw {fields}")
        taken = await running.take(len(OF_ANY_VERSION))
        assert [each.defect for each in taken] == [None] * len(taken)
        for fields, arrival in zip(OF_ANY_VERSION, taken, strict=True):
            assert arrival.raw.startswith(f"8={version}\x01".encode())
            for field in fields.split("|"):
                assert f"\x01{field}\x01".encode() in arrival.raw
        decoded = [decode("v", each.raw) for each in taken]
        assert [[found.defects, found.others] for found in decoded] == [[[], {}]] * len(taken)
        assert [[said(each) for each, _ in found.reports] for found in decoded] == OUTCOMES
        assert running.feed.counters["rejects"] == 0
        assert taken[0].position == Position("v.fix", f"{version}:AGENT->VENUE", "", 2)
    assert running.states[:2] == ["connecting", "live"]


@pytest.mark.parametrize("ours", ["7", "8"])
async def test_a_venue_may_choose_another_version_of_the_application(tmp_path: Path, ours: str) -> None:
    async with (
        acceptor(tmp_path / "venue", "FIXT.1.1") as venue,  # says 9, which is 5.0SP2
        feed(tmp_path / "store", venue.port, begin_string="FIXT.1.1", appl_ver_id=ours) as running,
    ):
        await venue.say("burst 1 3")
        for message in ("4", "6", "7", "8", "9"):  # ApplVerID: of this message alone
            await venue.say(f"raw {OF_ANY_VERSION[0]}|1128={message}")
        taken = await running.take(8)
        assert numbers(taken) == [1, 2, 3, 1, 1, 1, 1, 1]
        assert running.feed.counters["rejects"] == 0


@pytest.mark.parametrize("how", ["reset-flagged", "reset-silently"])
async def test_a_reset_by_the_venue_begins_a_new_incarnation(tmp_path: Path, how: str) -> None:
    committed = Position("v.fix", STREAM, "", 500)
    async with acceptor(tmp_path / "venue", how) as venue:
        async with feed(tmp_path / "store", venue.port, committed) as running:
            await venue.say("burst 1 3")
            taken = await running.take(3)
            values = sequences(taken)
            assert values == list(range(values[0], values[0] + 3))
            assert values[0] < 10
            assert taken[0].position is not None
            incarnation = taken[0].position.incarnation
            assert incarnation.startswith("reset-20")
        # nothing of it was committed: Postgres still says 500 of the old numbers
        kept_by_the_venue = [1, 2, 3] if how == "reset-flagged" else []  # the other one starts over every time
        heard: list[GapFilled | None] = []
        async with feed(tmp_path / "store", venue.port, committed, renumbered=heard) as running:
            assert heard[0] is None, "nor was it committed that the numbers start over"
            await venue.say("burst 4 1")
            again = await running.take(len(kept_by_the_venue) + 1)
            assert numbers(again) == [*kept_by_the_venue, 4]
            assert sequences(again) == sorted(set(sequences(again)))
            assert {each.position.incarnation for each in again if each.position} == {incarnation}
        heard.clear()
        landed = Position("v.fix", STREAM, incarnation, values[0])
        async with feed(tmp_path / "store", venue.port, landed, renumbered=heard):
            assert (heard == []) is (how == "reset-flagged"), "what has landed came behind it"


async def test_logons_that_always_reset_do_not_answer_each_other_for_good(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue", "reset-always") as venue:
        settings = {"host": "127.0.0.1", "port": venue.port, "store": tmp_path / "store"}
        compids = {"sender_comp_id": "AGENT", "target_comp_id": "VENUE"}
        states: list[str] = []
        one = FixFeed("v", FixFeedSettings.model_validate(settings | compids), Inbox(), None, states.append)
        task = asyncio.create_task(one.run())
        await asyncio.sleep(6)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 0 < one.counters["resets"] < 200


async def test_a_full_inbox_holds_the_venue_back(tmp_path: Path) -> None:
    inbox = Inbox(max_arrivals=100)
    async with (
        acceptor(tmp_path / "venue") as venue,
        feed(tmp_path / "store", venue.port, inbox=inbox, heartbeat_seconds=30) as running,
    ):
        sending = asyncio.create_task(venue.say("burst 1 20000"))
        await running.until(lambda: inbox.is_full)
        held = -1
        while held != (held := running.feed.counters["messages"]):
            await asyncio.sleep(0.5)
        assert held < 10_000  # what the pipe, one read and the inbox take
        assert numbers(await running.take(20_000)) == list(range(1, 20_001))
        await sending


class GarblingProxy:
    """Passes bytes on, and breaks the checksum of one message once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._garbled = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        back = asyncio.create_task(self._pass(up_reader, writer))
        await self._pass(reader, up_writer)
        await back

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            if b"\x0117=E-5\x01" in content and not self._garbled:
                self._garbled = True
                content = content.replace(b"\x0117=E-5\x01", b"\x0117=X-5\x01", 1)
            writer.write(content)
        writer.close()


async def test_a_garbled_message_is_asked_for_again(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue:
        proxy = await asyncio.start_server(GarblingProxy(venue.port).serve, "127.0.0.1", 0)
        async with proxy, feed(tmp_path / "store", proxy.sockets[0].getsockname()[1]) as running:
            await venue.say("burst 1 10")
            assert numbers(await running.take(10)) == list(range(1, 11))
            await running.until(lambda: running.feed.counters["garbled"] == 1)


def certificates(folder: Path) -> dict[str, Path]:
    """Give a CA with a certificate each for venue and agent."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S607

    request = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*request, "-x509", "-days", "2", "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("venue", "agent"):
        openssl(*request, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem"),
        )
    return {path.name: path for path in folder.iterdir()}


async def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    files = certificates(folder)
    venue_tls = [str(files[name]) for name in ("venue.pem", "venue.key", "ca.pem")]
    agent_tls: dict[str, Any] = {
        "tls": True,
        "tls_ca": files["ca.pem"],
        "tls_certificate": files["agent.pem"],
        "tls_key": files["agent.key"],
    }
    async with (
        acceptor(tmp_path / "venue", *venue_tls) as venue,
        feed(tmp_path / "store", venue.port, **agent_tls) as running,
    ):
        await venue.say("burst 1 10")
        assert numbers(await running.take(10)) == list(range(1, 11))


async def test_tls_refuses_a_venue_of_another_authority(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    files, others = certificates(ours), certificates(theirs)
    venue_tls = [str(others[name]) for name in ("venue.pem", "venue.key", "ca.pem")]
    async with acceptor(tmp_path / "venue", *venue_tls) as venue:
        settings = FixFeedSettings(
            host="127.0.0.1",
            port=venue.port,
            sender_comp_id="AGENT",
            target_comp_id="VENUE",
            store=tmp_path / "store",
            tls=True,
            tls_ca=files["ca.pem"],
        )
        states: list[str] = []
        task = asyncio.create_task(FixFeed("v", settings, Inbox(), None, states.append).run())
        await asyncio.sleep(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "live" not in states


async def test_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 20_000
    async with acceptor(tmp_path / "venue") as venue:
        async with feed(tmp_path / "store", venue.port) as running:
            await venue.say("burst 1 1")
            await running.take(1)
        # all of it waits at the venue: what is measured is the engine's resend and our side
        await venue.say(f"burst 2 {count}")
        async with feed(tmp_path / "store", venue.port, Position("v.fix", STREAM, "", 2)) as running:
            taken = await running.take(count)
    seconds = (taken[-1].received_ns - taken[0].received_ns) / 1e9
    assert len(set(numbers(taken))) == count
    with capsys.disabled():
        print(
            f"\nFIX feed: {count} fills in {seconds:.2f} s, {count / seconds:,.0f}/s with the acceptor beside it"
        )


OVER_A_BOUNDARY = """
import json, os, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
import quickfix as fix
from streaming.feeds.fix_dictionary import write_relaxed
from streaming.feeds.fix_engine import Application, Pipe, session_text
from streaming.feeds.fix_schedule import Schedule

store, postponed = Path(sys.argv[1]), sys.argv[2] == "postponed"
boundary = (datetime.now(UTC) + timedelta(seconds=3)).strftime("%H:%M:%S")
settings = {"store": str(store), "heartbeat_seconds": 10, "reconnect_seconds": 1, "host": "127.0.0.1", "port": 9,
    "tls": False, "begin_string": "FIX.4.4", "appl_ver_id": "9", "sender_comp_id": "AGENT",
    "target_comp_id": "VENUE"}
text = session_text(settings, write_relaxed(store, "FIX.4.4")).replace("00:00:00", boundary)
(store / "engine.cfg").write_text(text)
parsed = fix.SessionSettings(str(store / "engine.cfg"))
session_id = fix.SessionID("FIX.4.4", "AGENT", "VENUE")
application = Application(Pipe(os.open(os.devnull, os.O_WRONLY)), session_id, 500, 0)
initiator = fix.SocketInitiator(application, fix.FileStoreFactory(parsed), parsed)
session = fix.Session.lookupSession(session_id)
if postponed:
    Schedule(store / "FIX.4.4-AGENT-VENUE.session").postpone()
    session.refresh()
initiator.start()
time.sleep(6)
print(session.getExpectedTargetNum(), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("schedule", "expected"), [("as it is", 1), ("postponed", 500)])
async def test_the_engine_starts_over_at_midnight_unless_postponed(
    tmp_path: Path, schedule: str, expected: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OVER_A_BOUNDARY, str(tmp_path), schedule),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    output, _ = await process.communicate()
    assert int(output) == expected


def test_a_dictionary_is_written_once_and_anew_when_it_is_older_than_the_wheel(tmp_path: Path) -> None:
    (path,) = write_relaxed(tmp_path, "FIX.4.4").values()
    whole = path.read_bytes()
    path.write_bytes(b"<fix/>")
    assert write_relaxed(tmp_path, "FIX.4.4") == {"DataDictionary": path}
    assert path.read_bytes() == b"<fix/>", "it is taken as it is"
    os.utime(path, (0, 0))
    write_relaxed(tmp_path, "FIX.4.4")
    assert path.read_bytes() == whole
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
