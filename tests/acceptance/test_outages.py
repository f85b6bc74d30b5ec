"""Outages: the proxy does what it says, the checks see what they are there for, and a slice of the cases holds."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from chaos.outages.__main__ import verdict
from chaos.outages.answers import Answers
from chaos.outages.cases import CASES
from chaos.outages.proxy import Proxy
from chaos.outages.recovery import RECOVERY_SECONDS, Promise
from chaos.outages.scene import descendants
from chaos.outages.small_disk import run_apart
from chaos.outages.toxiproxy import Toxiproxy, binary
from chaos.outages.trial import Outcome, _seen_again
from chaos.resting import ChaosError
from operations.main_job.balance import Line

ROOT = Path(__file__).parents[2]


# --- the proxy ---------------------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it is told."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve(client: socket.socket) -> None:
            with client, suppress(OSError):
                while chunk := client.recv(65536):
                    client.sendall(chunk)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    proxy = Proxy(0, echo)
    proxy.start()
    yield proxy
    proxy.stop()


def client(proxy: Proxy | Toxiproxy, timeout: float = 10.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout)


def said(connection: socket.socket, words: bytes) -> bytes:
    connection.sendall(words)
    heard = b""
    while len(heard) < len(words):
        chunk = connection.recv(65536)
        if not chunk:
            break
        heard += chunk
    return heard


def test_what_is_held_back_in_a_hang_passes_afterwards(proxy: Proxy) -> None:
    with client(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.hang()
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        proxy.heal()
        connection.settimeout(10)
        assert connection.recv(10) == b"two"


def test_refused_is_reset_and_closed_and_comes_back_at_the_same_port(proxy: Proxy) -> None:
    with client(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(10)
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
    proxy.heal()
    with client(proxy) as connection:
        assert said(connection, b"two") == b"two"


def test_a_half_open_connection_stays_open_and_answers_nothing_while_new_ones_work(proxy: Proxy) -> None:
    with client(proxy, 0.3) as lost:
        assert said(lost, b"one") == b"one"
        proxy.lose()
        for _ in range(2):
            lost.sendall(b"two")
            with pytest.raises(TimeoutError):
                lost.recv(10)
        with client(proxy) as connection:
            assert said(connection, b"three") == b"three"


def test_a_connection_is_cut_in_the_middle_of_what_it_says(proxy: Proxy) -> None:
    proxy.cut_in_stream(100_000, 200_000)
    with client(proxy) as connection:
        heard = []

        def talk() -> None:
            while True:
                heard.append(len(said(connection, bytes(1000))))

        with pytest.raises(ConnectionError):
            talk()
        assert 0 < sum(heard) < 200_000


def test_slow_is_slower_than_not_slow(proxy: Proxy) -> None:
    with client(proxy) as connection:
        quick = time.monotonic()
        said(connection, b"one")
        quick = time.monotonic() - quick
        proxy.slow(quick + 0.2, 1e6)
        slow = time.monotonic()
        assert said(connection, b"two") == b"two"
        assert time.monotonic() - slow > 2 * (quick + 0.2)


def test_it_leads_to_another_server_as_a_load_balancer_does(proxy: Proxy) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other, client(proxy) as connection:
        assert said(connection, b"one") == b"one"
        proxy.lead_to(other.getsockname()[1])
        with client(proxy) as second:
            second.sendall(b"two")
            found, _ = other.accept()
            with found:
                assert found.recv(10) == b"two"


@pytest.fixture
def toxiproxy(echo: int) -> Iterator[Toxiproxy]:
    program = binary()
    if program is None:
        pytest.skip("no Go here, or no way to its modules: the cases go through our own proxy")
    proxy = Toxiproxy(program, echo)
    proxy.start()
    yield proxy
    proxy.stop()


def test_toxiproxy_is_slow_cuts_refuses_and_heals(toxiproxy: Toxiproxy) -> None:
    with client(toxiproxy) as connection:
        toxiproxy.slow(0.3, 1e6)
        slow = time.monotonic()
        assert said(connection, b"two") == b"two"
        assert time.monotonic() - slow >= 0.6
    toxiproxy.heal()
    toxiproxy.cut_in_stream(10_000, 20_000)
    with client(toxiproxy) as connection:
        heard = b""
        with suppress(ConnectionError):
            while len(piece := said(connection, bytes(1000))) == 1000:
                heard += piece
        assert 0 < len(heard) <= 20_000
    toxiproxy.heal()
    toxiproxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        client(toxiproxy)
    toxiproxy.heal()
    with client(toxiproxy) as connection:
        assert said(connection, b"three") == b"three"


# --- what the trials see ------------------------------------------------------------------------------------


def test_answers_are_counted_and_one_without_retry_after_is_seen() -> None:
    answers = Answers()
    answers.listen(b"HTTP/1.1 200 OK\r\n\r\n{}HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
    assert (answers.counts, answers.without_retry_after) == ({200: 1, 503: 1}, 0)
    before = dict(answers.counts)
    answers.listen(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
    assert answers.since(before) == {429: 1}
    assert answers.without_retry_after == 1


def test_a_process_is_found_with_all_below_it() -> None:
    shell = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait"], start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while len(found := descendants(shell.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found[0] == shell.pid
        assert len(found) == 2
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def test_a_clock_that_is_set_is_seen_by_whoever_asks_in_the_usual_way(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_bytes(bytes(8))
    code = (
        "import time, sys\nfrom ledger import clocks\nfrom streaming.steady_clock import SteadyClock\n"
        "steady = SteadyClock()\nprint(flush=True)\nsys.stdin.readline()\n"
        "print(round(steady.step_ns() / 1e9), round((clocks.time_ns() - steady.time_ns()) / 1e9))"
    )
    environment = {
        "PYTHONPATH": f"{ROOT / 'chaos' / 'outages' / 'stepped'}{os.pathsep}{ROOT}",
        "CHAOS_CLOCK": str(clock),
        "PATH": os.environ["PATH"],
    }
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(1.0)  # the imports; were they later than the step, there would be none, and the test would fail
        with clock.open("r+b") as file:
            file.write((3600 * 10**9).to_bytes(8, "little", signed=True))
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.read().split() == ["3600", "3600"]


def test_each_server_is_tried_in_each_way_and_the_page_names_every_case() -> None:
    page = (ROOT / "docs" / "chaos.md").read_text("utf-8")
    ways = {server: {c.name.removeprefix(f"{server}-") for c in CASES.values() if c.server == server} for server in
            ("postgres", "broker", "redis", "s3")}  # fmt: skip
    assert ways["broker"] == ways["redis"] == ways["s3"] == ways["postgres"] - {"disk-full"}
    assert [way for way in ways["redis"] if f"-{way}`" not in page] == []
    others = [c.name for c in CASES.values() if c.server in {"clock", "writer"}]
    assert [name for name in others if f"-{name.partition('-')[2]}`" not in page] == []


def test_a_case_that_could_not_be_played_is_not_proven_and_the_exit_code_says_so() -> None:
    kept = Outcome("a", "", promises=[Promise("books", kept=True, figure="0 differences")])
    broken = Outcome("b", "", promises=[Promise("books", kept=False, figure="1 differences")])
    skipped = Outcome("c", "", skipped="a small disk needs root")
    assert [verdict(found) for found in ([kept], [kept, skipped], [skipped], [broken, skipped])] == [0, 3, 3, 1]


def test_what_a_broker_on_s3_shows_of_an_open_transaction_is_named_and_anything_else_differs() -> None:
    twice = [
        Line("events", "events on Kafka", 1_770, "messages on Kafka", 1_785),
        Line("execution.event.fill.v1", "messages", 1_785, "distinct and landed", 1_770),
        Line("execution.event.fill.v1", "out of order for their key", 1, "none", 0),
    ]
    lost = Line("reports", "lost", 1, "none", 0)
    outcome = Outcome("broker-killed", "", differences=[*twice, lost])
    assert _seen_again(outcome) == Promise("seen again", kept=True, figure="15 messages that were never committed")
    assert outcome.differences == [lost]
    missing = Line("execution.event.fill.v1", "messages", 1_760, "distinct and landed", 1_770)
    outcome = Outcome("broker-killed", "", differences=[missing, twice[2]])
    assert _seen_again(outcome).kept
    assert outcome.differences == [missing, twice[2]], "nothing is shown twice: what is missing is missing"


def test_a_disk_is_small_without_root(tmp_path: Path) -> None:
    code = "import os, sys; print(os.statvfs(sys.argv[1]).f_blocks * 4096 >> 20, os.geteuid())"
    folder = tmp_path / "disk"
    try:
        told = run_apart([sys.executable, "-c", code, str(folder)], folder)
    except ChaosError as error:
        pytest.skip(str(error))  # a machine without user namespaces: the command says so, too
    assert told.split() == [b"64", str(os.geteuid()).encode()]
    assert not os.path.ismount(folder), "nobody else sees it"


# --- the cases ---------------------------------------------------------------------------------------------


def test_a_case_that_is_not_there_is_refused_by_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chaos.outages", "--only", "postgres-melted"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--only postgres-melted: there is no such case (--list names them)" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", ["postgres-killed", "writer-paused", "clock-forward"])
def test_the_promises_hold_in_a_slice_of_the_cases(case: str, tmp_path: Path) -> None:
    """Recovery is asserted by the command; on a busy machine here, as a multiple of it."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "chaos.outages",
            "--only",
            case,
            "--orders",
            "12",
            "--json",
            "--state",
            tmp_path / "s",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout, f"{done.stderr[-6000:]}"
    outcome = json.loads(done.stdout)[0]
    broken = {promise["name"]: promise["figure"] for promise in outcome["promises"] if not promise["kept"]}
    assert broken.keys() <= {"recovery"}, f"{broken}\n{outcome['differences']}\n{done.stderr[-6000:]}"
    assert outcome["recovery"] is not None
    assert outcome["recovery"] < 8 * RECOVERY_SECONDS
    assert outcome["reports"] > 200
