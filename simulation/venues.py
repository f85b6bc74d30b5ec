"""Three venues, each with its way of not losing anything, and a network that loses, repeats and reorders.

A WebSocket venue numbers its frames and sends again what is asked for; a FIX session delivers in order from the
number it is asked for; a REST caller sends again until it is answered with 2xx.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import msgspec
from websockets.exceptions import ConnectionClosedError

from simulation.journal import body, frame, heartbeat
from simulation.loop import FATE, outside
from streaming.feeds.fix_frames import Frame, pack

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from simulation.journal import Made
    from simulation.loop import Fate, VirtualLoop


class Network(msgspec.Struct):
    """How likely which trouble of a message is; ``late`` is up to how many seconds."""

    lost: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    cut: float = 0.0


class WebSocketVenue:
    """Numbered frames, heartbeats that say the last number, replay of what is asked for."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, network: Network) -> None:
        self.loop = loop
        self.rng = rng
        self.network = network
        self.frames: list[tuple[Made, ...]] = []
        self.up = True
        self._sockets: list[Socket] = []

    def send(self, reports: Sequence[Made]) -> None:
        """Make a frame and send it to whoever has subscribed."""
        self.frames.append(tuple(reports))
        for socket in list(self._sockets):
            self._send_frame(socket, len(self.frames))

    def connect(self, url: str, **options: Any) -> _Connecting:
        """``websockets.connect``."""
        del url, options
        return _Connecting(self)

    def subscribe(self, socket: Socket, after: int) -> None:
        """Send what is there, then what comes."""
        self._sockets.append(socket)
        self._replay(socket, after, len(self.frames))
        self._beat(socket)

    def say(self, socket: Socket, words: dict[str, Any]) -> None:
        """Hear a client."""
        if socket.closed:
            return
        if words["op"] == "subscribe":
            self.subscribe(socket, words["from_sequence"])
        else:
            self._replay(socket, words["from_sequence"], min(words["to_sequence"], len(self.frames)))

    def drop_all(self) -> None:
        """Cut every connection."""
        for socket in list(self._sockets):
            socket.cut()

    def forget(self, socket: Socket) -> None:
        """Send nothing more there."""
        if socket in self._sockets:
            self._sockets.remove(socket)

    def _replay(self, socket: Socket, first: int, last: int) -> None:
        for sequence in range(max(1, first), last + 1):
            self._send_frame(socket, sequence)

    def _send_frame(self, socket: Socket, sequence: int) -> None:
        network, rng = self.network, self.rng
        if rng.random() < network.cut:
            socket.cut()
            return
        if rng.random() < network.lost:
            return
        raw = frame(sequence, self.frames[sequence - 1])
        for _ in range(2 if rng.random() < network.twice else 1):
            delay = 0.001 if rng.random() >= network.late else rng.random() * 3.0
            self.loop.call_later(delay, socket.deliver, raw, context=outside())

    def _beat(self, socket: Socket) -> None:
        if socket.closed:
            self.forget(socket)
            return
        socket.deliver(heartbeat(len(self.frames)))
        self.loop.call_later(1.0, self._beat, socket, context=outside())


class _Connecting:
    def __init__(self, venue: WebSocketVenue) -> None:
        self._venue = venue
        self._socket = Socket(venue)

    async def __aenter__(self) -> Socket:
        await asyncio.sleep(0.002)
        if not self._venue.up:
            raise ConnectionRefusedError("venue is down")
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.cut()


class Socket:
    """The client's end of a connection."""

    def __init__(self, venue: WebSocketVenue) -> None:
        self.closed = False
        self.transport = self  # ours is one object: what lies below is aborted as the connection is cut
        self._venue = venue
        self._frames: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None
        fate = FATE.get()
        if fate is not None:
            fate.on_death.append(self.cut)

    async def recv(self, *, decode: bool) -> bytes:
        """Wait for a frame; what is here is given at once."""
        assert not decode
        while not self._frames:
            if self.closed:
                raise ConnectionClosedError(None, None)
            self._waiting = self._venue.loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._frames.popleft()

    async def send(self, raw: bytes, *, text: bool) -> None:
        """Say something."""
        assert text
        if self.closed:
            raise ConnectionClosedError(None, None)
        words = msgspec.json.decode(raw)
        self._venue.loop.call_later(0.001, self._venue.say, self, words, context=outside())

    async def close(self, code: int) -> None:
        """Say goodbye."""
        del code
        self.cut()

    def abort(self) -> None:
        """Close without a word."""
        self.cut()

    def deliver(self, raw: bytes) -> None:
        """A frame arrives."""
        if not self.closed:
            self._frames.append(raw)
            self._wake()

    def cut(self) -> None:
        """The connection is gone."""
        if not self.closed:
            self.closed = True
            self._venue.forget(self)
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class FixVenue:
    """A drop copy session: messages in order from the number that the client expects, one client at a time."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, network: Network) -> None:
        self.loop = loop
        self.rng = rng
        self.network = network
        self.messages: list[Made] = []
        self.up = True
        self._engine: Engine | None = None
        self.second_logons = 0

    def send(self, reports: Sequence[Made]) -> None:
        """Send reports, a message each."""
        self.messages += reports
        self.push()

    def push(self) -> None:
        """Deliver what the client has not got."""
        engine = self._engine
        if engine is None:
            return
        if self.rng.random() < self.network.cut:
            engine.crash()
            return
        while engine.next_sequence <= len(self.messages):
            made = self.messages[engine.next_sequence - 1]
            engine.take(Frame.MESSAGE, engine.next_sequence, msgspec.json.encode(made.value))
            if self.rng.random() < self.network.twice:  # PossDup: an old number again
                engine.take(Frame.MESSAGE, engine.next_sequence, msgspec.json.encode(made.value))
            engine.next_sequence += 1

    def log_on(self, engine: Engine) -> bool:
        """Take a client on, unless the session has one."""
        if not self.up:
            return False
        if self._engine is not None and not self._engine.ended:
            self.second_logons += 1
            return False
        self._engine = engine
        return True

    def log_off(self, engine: Engine) -> None:
        """Let a client go."""
        if self._engine is engine:
            self._engine = None

    def drop_all(self) -> None:
        """Cut the session: the engine logs on again by itself, and goes on with the number that it expects."""
        if self._engine is not None:
            self._engine.take(Frame.LOGOUT, 0, b"")
            self._engine.log_on_later()


class Engine:
    """``EngineProcess``: the FIX engine as its parent sees it, frames on a pipe."""

    venue: FixVenue

    def __init__(
        self, settings: object, shown: object, next_sequence: int, on_event: Callable[[str], None]
    ) -> None:
        del settings, shown, on_event
        self.next_sequence = next_sequence
        self.ended = False
        self.pid = 0
        self._pipe = bytearray()
        self._filled = asyncio.Event()
        self._fate: Fate | None = FATE.get()

    async def __aenter__(self) -> Self:
        if self._fate is not None:
            self._fate.on_death.append(self._end)
        await asyncio.sleep(0.05)
        self.log_on_later()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def log_on_later(self) -> None:
        """Try to log on until it is granted."""
        self.venue.log_off(self)
        self.venue.loop.call_later(0.2, self._log_on, context=outside())

    def _log_on(self) -> None:
        if self.ended:
            return
        if not self.venue.log_on(self):
            self.venue.loop.call_later(1.0, self._log_on, context=outside())
            return
        self.take(Frame.LOGON, 0, b"")
        self.venue.push()

    def take(self, kind: Frame, sequence: int, content: bytes) -> None:
        """Write a frame to the pipe; it may be read in two halves."""
        if not self.ended:
            self._pipe += pack(kind, sequence, self.venue.loop.time_ns(), content)
            self._filled.set()

    def crash(self) -> None:
        """The engine ends by itself; what is in the pipe is read to its end."""
        self._end()

    def _end(self) -> None:
        self.ended = True
        self.venue.log_off(self)
        self._filled.set()

    async def read(self) -> bytes:
        """Give what is in the pipe; nothing once the engine has ended."""
        while not self._pipe:
            if self.ended:
                return b""
            self._filled.clear()
            await self._filled.wait()
        size = self.venue.rng.randint(1, len(self._pipe)) if len(self._pipe) > 1 else 1
        given = bytes(self._pipe[:size])
        del self._pipe[:size]
        return given

    async def wait(self) -> int:
        """Give its exit status."""
        return -9


class RestVenue:
    """Sends each body until it is answered with 2xx, and then never again of itself.

    ``post`` gives the answer's status, or None where there is no answer.
    """

    def __init__(self, loop: VirtualLoop, rng: random.Random, network: Network) -> None:
        self.loop = loop
        self.rng = rng
        self.network = network
        self.up = True
        self.post: Callable[[bytes, Callable[[int], None]], None] = lambda *_: None
        self.on_acknowledged: Callable[[Sequence[Made]], None] = lambda _: None
        self.unacknowledged = 0

    def send(self, reports: Sequence[Made]) -> None:
        """Send a body."""
        self.unacknowledged += 1
        self.loop.call_later(0.001, self._try, tuple(reports), 0, context=outside())

    def drop_all(self) -> None:
        """It has no connections that last."""

    def _try(self, reports: tuple[Made, ...], tries: int) -> None:
        network, rng = self.network, self.rng
        settled = [False]

        def answered(status: int) -> None:
            if settled[0] or rng.random() < network.lost:  # the answer is lost: it will be sent again
                return
            settled[0] = True
            if 200 <= status < 300:  # noqa: PLR2004  what HTTP calls success
                self.unacknowledged -= 1
                self.on_acknowledged(reports)
            else:
                self._again(reports, tries)

        def give_up() -> None:
            if not settled[0]:
                settled[0] = True
                self._again(reports, tries)

        raw = body(reports)
        for _ in range(2 if rng.random() < network.twice else 1):
            if rng.random() >= network.lost:
                self.post(raw, answered)
        self.loop.call_later(5.0, give_up, context=outside())

    def _again(self, reports: tuple[Made, ...], tries: int) -> None:
        self.loop.call_later(min(0.5 * 2**tries, 8.0), self._try, reports, tries + 1, context=outside())
