"""The WebSocket feed against a venue of the test's own, on a real socket."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from ledger.domain.records import Position
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.feeds import websocket
from streaming.feeds.websocket import WebSocketFeed
from streaming.settings import WebSocketFeedSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.domain.sequence_gaps import GapFilled

FEED = "BETA.ws"


def frame(sequence: int, *, replay: bool = False) -> bytes:
    mark = {"replay": True} if replay else {}
    return json.dumps({"channel": "executions", "sequence": sequence, **mark, "data": [{"n": sequence}]}).encode()


def heartbeat(last: int) -> bytes:
    return json.dumps({"channel": "heartbeat", "last_sequence": last}).encode()


class Venue:
    """Sends ``frames`` from where it is asked on, leaving out ``lost``; answers replays unless told not to."""

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}
        self.lost: set[int] = set()
        self.asked: list[dict[str, Any]] = []
        self.sockets: list[ServerConnection] = []
        self.answers_replays = True
        self.url = ""
        self.subscribed = asyncio.Event()
        self.closed: asyncio.Queue[int | None] = asyncio.Queue()

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        with suppress(ConnectionClosed):
            async for said in socket:
                ask = json.loads(said)
                self.asked.append(ask)
                if ask["op"] == "subscribe":
                    self.subscribed.set()
                    for sequence, raw in self.frames.items():
                        if sequence >= ask["from_sequence"] and sequence not in self.lost:
                            await self.send(raw)
                elif self.answers_replays:
                    for sequence in range(ask["from_sequence"], min(ask["to_sequence"], 10_000) + 1):
                        await self.send(self.frames.get(sequence) or frame(sequence, replay=True))
        self.closed.put_nowait(socket.close_code)

    async def send(self, raw: bytes) -> None:
        await self.sockets[-1].send(raw, text=True)

    def asks(self, op: str) -> list[dict[str, Any]]:
        return [ask for ask in self.asked if ask["op"] == op]


class Ledger:
    """Takes arrivals as the lander does."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.arrivals: list[Arrival] = []

    async def take(self, number: int) -> list[Arrival]:
        async with asyncio.timeout(5):
            while len(self.arrivals) < number:
                self.arrivals += await self.inbox.take(1000)
        return self.arrivals

    @property
    def sequences(self) -> list[int | None]:
        return [json.loads(arrival.raw).get("sequence") for arrival in self.arrivals]

    @property
    def positions(self) -> list[int | None]:
        return [arrival.position.value if arrival.position else None for arrival in self.arrivals]


class World:
    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.states: list[str] = []
        self._changed = asyncio.Event()
        self.inbox = Inbox()
        self.ledger = Ledger(self.inbox)

    @asynccontextmanager
    async def feed(
        self, start_after: Position | None = None, *, silence: float = 5.0
    ) -> AsyncIterator[WebSocketFeed]:
        settings = WebSocketFeedSettings(url=self.venue.url, silence_seconds=silence, reconnect_max_seconds=0.2)
        feed = WebSocketFeed("BETA", settings, self.inbox, start_after, self.on_state)
        task = asyncio.create_task(feed.run())
        try:
            yield feed
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def until(self, state: str) -> None:
        async with asyncio.timeout(5):
            while not self.states or self.states[-1] != state:
                self._changed.clear()
                await self._changed.wait()

    def on_state(self, state: str) -> None:
        self.states.append(state)
        self._changed.set()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    venue = Venue()
    async with serve(venue.serve, "127.0.0.1", 0, compression=None) as server:
        venue.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield World(venue)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "ASK_FIRST_SECONDS", 0.05)
    monkeypatch.setattr(websocket, "ASK_MAX_SECONDS", 0.2)
    monkeypatch.setattr(websocket, "HEARTBEAT_GRACE_SECONDS", 0.1)


async def test_frames_are_handed_over_as_they_came_with_their_position(world: World) -> None:
    world.venue.frames = {n: frame(n) for n in (1, 2, 3)}
    async with world.feed():
        arrivals = await world.ledger.take(3)
        await world.until("live")
    assert world.venue.asked == [{"op": "subscribe", "channel": "executions", "from_sequence": 1}]
    assert [arrival.raw for arrival in arrivals] == list(world.venue.frames.values())
    assert arrivals[0].position == Position(FEED, "executions", "1", 1)
    assert world.ledger.positions == [1, 2, 3]
    assert {(a.feed, a.venue, a.kind) for a in arrivals} == {(FEED, "BETA", ArrivalKind.REPORT)}
    assert world.states == ["connecting", "live"]


async def test_it_goes_on_after_the_position_in_the_ledger(world: World) -> None:
    world.venue.frames = {n: frame(n) for n in range(1, 20)}
    async with world.feed(Position(FEED, "executions", "7", 17)):
        arrivals = await world.ledger.take(2)
    assert world.venue.asked[0]["from_sequence"] == 18
    assert arrivals[-1].position == Position(FEED, "executions", "7", 19)


async def test_heartbeats_keep_it_live_and_are_not_handed_over(world: World) -> None:
    async with world.feed(silence=0.3):
        await world.venue.subscribed.wait()
        for _ in range(6):
            await world.venue.send(heartbeat(0))
            await asyncio.sleep(0.1)
    assert world.states == ["connecting", "live"]
    assert len(world.inbox) == 0


async def test_a_lost_frame_is_asked_for_and_the_position_waits_for_it(world: World) -> None:
    world.venue.frames = {n: frame(n) for n in range(1, 6)}
    world.venue.lost = {2, 3}
    async with world.feed():
        await world.ledger.take(5)
        await world.until("live")
    assert world.ledger.sequences == [1, 4, 5, 2, 3]
    assert world.ledger.positions == [1, None, None, 2, 5]
    assert world.venue.asks("replay") == [{"op": "replay", "from_sequence": 2, "to_sequence": 3}]
    assert world.states[-2:] == ["recovering", "live"]


async def test_a_gap_is_told_once_when_all_of_it_is_here(world: World) -> None:
    world.venue.frames = {number: frame(number) for number in range(1, 8)}
    world.venue.lost = {2, 3, 5}
    told: list[GapFilled] = []
    async with world.feed() as feed:
        feed.on_filled = told.append
        await world.ledger.take(7)
        async with asyncio.timeout(5):
            while not told:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await world.venue.send(frame(8))
        await world.ledger.take(8)
    assert [(gap.venue, gap.feed, gap.first, gap.last) for gap in told] == [("BETA", FEED, 2, 5)]


async def test_an_unanswered_replay_is_asked_again_with_backoff_and_a_crash_resumes_before_it(
    world: World,
) -> None:
    world.venue.frames = {n: frame(n) for n in range(1, 5)}
    world.venue.lost = {3}
    world.venue.answers_replays = False
    async with world.feed():
        await world.ledger.take(3)
        await world.until("recovering")
        await asyncio.sleep(0.5)
        asked = len(world.venue.asks("replay"))
        assert 3 <= asked <= 6  # at 0, 0.05, 0.15, 0.35 s
        assert max(position or 0 for position in world.ledger.positions) == 2
        await world.venue.send(frame(3, replay=True))
        await world.ledger.take(4)
        await world.until("live")
    assert world.ledger.positions == [1, 2, None, 4]


async def test_a_frame_that_only_the_heartbeat_tells_of_is_asked_for(world: World) -> None:
    world.venue.frames = {1: frame(1), 2: frame(2)}
    world.venue.lost = {2}
    async with world.feed():
        await world.ledger.take(1)
        await world.venue.send(heartbeat(2))
        assert not world.venue.asks("replay")
        await world.ledger.take(2)
    assert world.venue.asks("replay")[0] == {"op": "replay", "from_sequence": 2, "to_sequence": 2}
    assert world.ledger.positions == [1, 2]


async def test_a_heartbeat_that_overtakes_its_frame_asks_for_nothing(world: World) -> None:
    async with world.feed():
        await world.venue.subscribed.wait()
        await world.venue.send(heartbeat(1))
        await asyncio.sleep(0.03)
        await world.venue.send(frame(1))
        await world.ledger.take(1)
        await asyncio.sleep(0.3)
    assert not world.venue.asks("replay")


async def test_a_jump_to_the_end_of_the_numbers_holds_nothing_up(world: World) -> None:
    world.venue.answers_replays = False
    async with world.feed():
        await world.venue.subscribed.wait()
        for sequence in (1, 2**63 - 1, 2, 3):
            await world.venue.send(frame(sequence))
        await world.ledger.take(4)
    assert world.ledger.positions == [1, None, 2, 3]


async def test_silence_means_connect_again_from_the_contiguous_end(world: World) -> None:
    world.venue.frames = {n: frame(n) for n in (1, 2, 4)}
    world.venue.answers_replays = False
    async with world.feed(silence=0.2):
        await world.ledger.take(3)
        world.venue.subscribed.clear()
        async with asyncio.timeout(5):
            await world.venue.subscribed.wait()
        await world.ledger.take(4)
    assert [ask["from_sequence"] for ask in world.venue.asks("subscribe")] == [1, 3]
    assert world.ledger.sequences == [1, 2, 4, 4]
    assert "down" in world.states


async def test_frames_before_the_connection_was_lost_are_handed_over(world: World) -> None:
    world.venue.frames = {n: frame(n) for n in range(1, 101)}
    async with world.feed():
        await world.venue.subscribed.wait()
        await world.ledger.take(1)
        for socket in world.venue.sockets:
            await socket.close(1012)
        await world.ledger.take(100)
        world.venue.frames[101] = frame(101)
        await world.ledger.take(101)
    assert sorted({sequence for sequence in world.ledger.sequences if sequence}) == list(range(1, 102))
    assert world.ledger.positions[-1] == 101


async def test_malformed_frames_just_before_the_connection_was_lost_are_not(world: World) -> None:
    junk = [b"junk %d" % n for n in range(6)]  # they have no sequence: nobody would send them again
    world.inbox = Inbox(max_arrivals=1)
    world.ledger = Ledger(world.inbox)
    async with world.feed():
        await world.venue.subscribed.wait()
        for raw in junk:
            await world.venue.send(raw)
            await asyncio.sleep(0.02)  # the second waits for room in the inbox, the rest in the socket's queue
        await world.venue.sockets[-1].close(1012)
        await asyncio.sleep(0.05)
        arrivals = await world.ledger.take(6)
    assert [arrival.raw for arrival in arrivals] == junk


async def test_a_venue_that_is_not_there_yet_is_tried_until_it_is(world: World) -> None:
    world.venue.url, url = "ws://127.0.0.1:1", world.venue.url
    settings = WebSocketFeedSettings(url=world.venue.url, reconnect_max_seconds=0.1)
    feed = WebSocketFeed("BETA", settings, world.inbox, None, world.on_state)
    task = asyncio.create_task(feed.run())
    await world.until("down")
    feed._settings = settings.model_copy(update={"url": url})
    world.venue.frames = {1: frame(1)}
    await world.ledger.take(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.states[:3] == ["connecting", "down", "connecting"]


@pytest.mark.parametrize(
    "raw",
    [
        b"not json",
        b'{"channel":"executions","data":[{"exec_id":"E',
        b'{"channel":"executions","sequence":"two","data":[]}',
        b'{"channel":"executions","sequence":-2,"data":[]}',
        b'{"channel":"executions","sequence":' + b"9" * 400 + b',"data":[]}',
        b'{"channel":"executions","data":[{"symbol":"\xff\xfe"}]}',
        b'{"channel":"news","sequence":2}',
        b"[" * 50_000,
        b"",
    ],
)
async def test_a_malformed_frame_is_handed_over_and_moves_nothing(world: World, raw: bytes) -> None:
    async with world.feed():
        await world.venue.subscribed.wait()
        for sent in (frame(1), raw, frame(2)):
            await world.venue.send(sent)
        arrivals = await world.ledger.take(3)
        await world.until("live")
    assert arrivals[1].raw == raw
    assert world.ledger.positions == [1, None, 2]
    assert not world.venue.asks("replay")


async def test_a_truncated_frame_is_asked_for_again_and_at_its_second_coming_is_what_there_is(
    world: World,
) -> None:
    broken = b'{"channel":"executions","sequence":2,"data":[{"exec_id":"E'
    world.venue.frames = {1: frame(1), 2: broken, 3: frame(3)}
    async with world.feed():
        arrivals = await world.ledger.take(4)
        await world.until("live")
    assert [arrival.raw for arrival in arrivals] == [frame(1), broken, frame(3), broken]
    assert world.ledger.positions == [1, None, None, 3]


async def test_it_does_not_read_while_the_inbox_is_full(world: World) -> None:
    padding = "x" * 10_000
    frames = {
        n: json.dumps({"channel": "executions", "sequence": n, "data": [padding]}).encode() for n in range(1, 5001)
    }
    world.venue.frames = frames
    world.inbox = Inbox(max_arrivals=10)
    world.ledger = Ledger(world.inbox)
    async with world.feed(silence=0.2):
        await world.venue.subscribed.wait()
        await asyncio.sleep(0.6)  # longer than the silence: a full inbox is not a dead venue
        held = len(world.inbox)
        assert held <= 10 + websocket.BATCH_FRAMES
        async with asyncio.timeout(20):
            while len(world.ledger.arrivals) < 5000:
                world.ledger.arrivals += await world.inbox.take(100)
    assert len(world.venue.asks("subscribe")) == 1
    assert world.ledger.positions == list(range(1, 5001))


async def test_a_venue_that_counts_anew_is_read_from_its_first(world: World) -> None:
    async with world.feed(Position(FEED, "executions", "1", 17)):
        await world.venue.subscribed.wait()
        world.venue.frames = {1: frame(1), 2: frame(2)}
        await world.venue.send(heartbeat(2))
        await world.venue.send(heartbeat(2))
        arrivals = await world.ledger.take(2)
    assert [ask["from_sequence"] for ask in world.venue.asks("subscribe")] == [18, 1]
    position = arrivals[-1].position
    assert position is not None
    assert position.value == 2
    assert position.incarnation not in {"", "1"}


async def test_a_hole_that_is_open_when_the_venue_counts_anew_is_told_as_lost(world: World) -> None:
    world.venue.frames = {number: frame(number) for number in range(1, 8)}
    world.venue.lost = {4, 5}
    world.venue.answers_replays = False
    told: list[GapFilled] = []
    heard: list[GapFilled | None] = []
    async with world.feed() as feed:
        feed.on_filled = told.append
        feed.on_renumbered = lambda lost, _: heard.append(lost)
        await world.ledger.take(5)
        await world.until("recovering")
        world.venue.frames, world.venue.lost = {1: frame(1), 2: frame(2)}, set()
        for _ in range(2):
            await world.venue.send(heartbeat(2))
            await asyncio.sleep(0.02)
        await world.ledger.take(7)
    assert [(gap.first, gap.last, gap.is_lost) for gap in told] == [(4, 5, True)]
    assert heard == told


async def test_cancelling_closes_the_connection_cleanly(world: World) -> None:
    async with world.feed():
        await world.venue.subscribed.wait()
    async with asyncio.timeout(2):
        assert await world.venue.closed.get() == 1001
