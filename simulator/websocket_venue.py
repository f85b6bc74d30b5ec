"""The WebSocket venue: sequenced frames from wherever the client says it goes on (docs/formats.md).

A frame counts as delivered when the pong to a ping that was sent after it is in, or when a client goes on
behind it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from simulator.fix_acceptor import server_context
from simulator.websocket_frames import Ask, frame, is_utf8

if TYPE_CHECKING:
    from websockets.http11 import Request, Response

    from simulator.config import VenueConfig
    from simulator.journal import Journal
    from simulator.records import Message, ReportRow
    from simulator.venue import Delivery, StatusDesk

HEARTBEAT = 1.0
PING_EVERY = 0.25
REPORTS_A_FRAME = 20
RECENT = 5_000  # frames kept in memory; older ones come from the journal
PIECE = 500
SUBSCRIBE_WITHIN = 10.0


class Subscription:
    """One connected client: where it stands, and what it was sent but has not ponged yet."""

    def __init__(self, socket: ServerConnection, cursor: int) -> None:
        self.socket = socket
        self.cursor = cursor
        self.unponged: list[Message] = []
        self.delivered: deque[Message] = deque(maxlen=RECENT)
        self.flushing = asyncio.Lock()
        self.sending = asyncio.Lock()  # a piece of frames and the ping behind it stay together
        self.wake = asyncio.Event()


class WebSocketVenue:
    """A venue that streams over WebSocket."""

    kind = "websocket"

    def __init__(self, config: VenueConfig, journal: Journal) -> None:
        self.name = config.name
        self._config = config
        self._keys: set[str] = set()
        self.rekey(config.key)
        self._journal = journal
        self._state = journal.session(config.name)
        self._undelivered: dict[int, tuple[int, tuple[int, ...]]] = {}  # by sequence, ascending
        self._extras: dict[int, Message] = {}  # malformed ones that wait for a client
        self._recent: OrderedDict[int, Message] = OrderedDict()
        self._lost: set[int] = set()
        self._clients: set[Subscription] = set()
        self._doubtful: list[Message] = []  # ponged by a client that then broke off
        self._extras_out = 0  # handed to a socket, not ponged yet
        for message_id, sequence, _, reports in journal.undelivered(config.name):
            if sequence is None:
                self._extras[message_id] = journal.message(message_id)
            else:
                self._undelivered[sequence] = (message_id, reports)
        self._server: Server | None = None
        self._port = config.port
        self._background: set[asyncio.Task[None]] = set()
        self._ask: StatusDesk = lambda _venue, _cl_ord_id, _request_id: False

    def answer_status(self, ask: StatusDesk) -> None:
        """Answer who asks for an order's state with a report of it, in the sequence, to all."""
        self._ask = ask

    def rekey(self, *keys: str) -> None:
        """Let in who shows one of these from the next connection on."""
        self._keys = {key for key in keys if key}

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if self._keys and (scheme != "Bearer" or shown not in self._keys):
            return socket.respond(HTTPStatus.UNAUTHORIZED, "the bearer is wrong\n")
        return None

    async def start(self) -> None:
        """Listen."""
        context = server_context(self._config)
        where = (self._config.host, self._config.port)
        # no keepalive: a client under back-pressure is left alone
        options = {"ssl": context, "compression": None, "ping_interval": None, "process_request": self._admit}
        self._server = await serve(self._serve, *where, **options)  # type: ignore[arg-type]
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    def take(self, deliveries: list[Delivery]) -> None:
        """Put reports into frames: those that go wrong get one of their own."""
        ordinary: list[ReportRow] = []
        for delivery in deliveries:
            if not delivery.fault:
                ordinary.append(delivery.row)
                if len(ordinary) < REPORTS_A_FRAME:
                    continue
            self._frame("", ordinary)
            ordinary = []
            if delivery.fault:
                self._frame(delivery.fault, [delivery.row])
        self._frame("", ordinary)

    def _frame(self, fault: str, rows: list[ReportRow]) -> None:
        if not rows:
            return
        if fault.startswith("malformed"):
            extra = self._journal.add_message(self._state, None, fault, rows)
            self._extras[extra.id] = extra
            return
        sequence, self._state.next_out = self._state.next_out, self._state.next_out + 1
        self._journal.keep_session(self._state)
        message = self._journal.add_message(self._state, sequence, fault, rows)
        self._undelivered[sequence] = (message.id, message.reports)
        self._recent[sequence] = message
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        if fault == "lost" and self._clients:
            self._lost.add(sequence)

    def release(self) -> None:
        """Let every client's sender look."""
        for client in self._clients:
            client.wake.set()

    def drop(self) -> bool:
        """Close the connections after what was sent is ponged."""
        for client in self._clients:
            self._later(self._drop(client))
        return bool(self._clients)

    async def _drop(self, client: Subscription) -> None:
        async with client.sending:  # nothing is sent behind the last ping
            with suppress(ConnectionClosed):
                await self._flush(client)
            await client.socket.close(1012, "the venue restarts")

    def resend_stale(self) -> bool:
        """There is no session layer that would discard it."""
        return False

    @property
    def connected(self) -> bool:
        """A client has subscribed."""
        return bool(self._clients)

    @property
    def outstanding(self) -> int:
        """Frames without a pong."""
        return len(self._undelivered) + len(self._extras) + self._extras_out

    @property
    def address(self) -> str:
        """The URL for the client."""
        scheme = "wss" if self._config.tls_certificate else "ws"
        return f"{scheme}://{self._config.host}:{self._port}"

    async def stop(self) -> None:
        """Close with 1001 (going away)."""
        for task in self._background:
            task.cancel()
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, socket: ServerConnection) -> None:
        with suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(SUBSCRIBE_WITHIN):
                ask = await self._asked(socket)
            if ask is None or ask.op != "subscribe" or ask.channel != "executions" or ask.from_sequence < 1:
                await socket.close(
                    1008, 'expected {"op": "subscribe", "channel": "executions", "from_sequence": n >= 1}'
                )
                return
            client = Subscription(socket, ask.from_sequence)
            self._doubt_from(ask.from_sequence)
            self._confirm_before(ask.from_sequence)
            self._clients.add(client)
            tasks = [asyncio.create_task(work(client)) for work in (self._send, self._beat, self._ping)]
            try:
                while True:
                    ask = await self._asked(socket)
                    if ask is not None and ask.op == "status":
                        self._ask(self.name, ask.cl_ord_id, ask.request_id)
                    elif ask is not None and ask.op == "replay":
                        await self._replay(client, ask.from_sequence, ask.to_sequence)
                    else:
                        expected = (
                            'expected {"op": "replay", "from_sequence": a, "to_sequence": b} or "op": "status"'
                        )
                        await socket.close(1008, expected)
                        return
            finally:
                self._clients.discard(client)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._take_back(client)

    async def _asked(self, socket: ServerConnection) -> Ask | None:
        try:
            return msgspec.json.decode(await socket.recv(), type=Ask)
        except msgspec.DecodeError:
            return None

    async def _send(self, client: Subscription) -> None:
        with suppress(ConnectionClosed):
            while True:
                async with client.sending:
                    await self._send_what_is_due(client)
                if client.cursor >= self._state.next_out and not self._extras:
                    client.wake.clear()
                    await client.wake.wait()

    async def _send_what_is_due(self, client: Subscription) -> None:
        while self._extras:
            _, extra = self._extras.popitem()
            self._extras_out += 1
            client.unponged.append(extra)
            content = frame(extra, replay=False)
            # bad UTF-8 in a text frame fails the connection (RFC 6455, 8.1): it travels as a binary one
            await client.socket.send(content, text=is_utf8(content))
        last = min(client.cursor + PIECE, self._state.next_out) - 1
        for message in self._messages(client.cursor, last):
            assert message.sequence is not None
            client.cursor = message.sequence + 1
            if message.sequence in self._lost:
                self._lost.discard(message.sequence)
                continue
            client.unponged.append(message)
            await client.socket.send(frame(message, replay=False), text=True)

    def _messages(self, first: int, last: int) -> list[Message]:
        if first > last:
            return []
        if first in self._recent:
            return [self._recent[sequence] for sequence in range(first, last + 1)]
        return self._journal.messages(self._state, first, last)

    async def _replay(self, client: Subscription, first: int, last: int) -> None:
        last = min(last, self._state.next_out - 1)
        async with client.sending:
            while first <= last:
                for message in self._messages(first, min(first + PIECE - 1, last)):
                    client.unponged.append(message)
                    await client.socket.send(frame(message, replay=True), text=True)
                first += PIECE

    async def _beat(self, client: Subscription) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(HEARTBEAT)
                async with client.sending:
                    # never more than there is: a client that is ahead of us must see that we began anew
                    last = min(client.cursor, self._state.next_out) - 1
                    beat = b'{"channel":"heartbeat","last_sequence":%d}' % last
                    await client.socket.send(beat, text=True)

    async def _ping(self, client: Subscription) -> None:
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(PING_EVERY)
                await self._flush(client)

    async def _flush(self, client: Subscription) -> None:
        # every frame noted so far was handed to the socket before this ping
        async with client.flushing:
            sent = list(client.unponged)
            if not sent:
                return
            await (await client.socket.ping())
            del client.unponged[: len(sent)]
            for message in sent:
                self._journal.delivered(message.id, message.reports)
                client.delivered.append(message)
                if message.sequence is None:
                    self._extras_out -= 1
                else:
                    self._undelivered.pop(message.sequence, None)

    def _take_back(self, client: Subscription) -> None:
        # sequenced frames come again when the client says where it goes on; extra ones have no such place
        for message in client.unponged:
            if message.sequence is None:
                self._extras_out -= 1
                self._extras[message.id] = message
        client.unponged.clear()
        if client.socket.close_code == CloseCode.ABNORMAL_CLOSURE:
            self._doubtful = list(client.delivered)

    def _doubt_from(self, sequence: int) -> None:
        # the socket of a killed client had ponged what its application never kept: it says so by asking again
        for message in self._doubtful:
            if message.sequence is not None and message.sequence >= sequence:
                self._journal.delivered(message.id, message.reports, copies=-1)
                self._undelivered[message.sequence] = (message.id, message.reports)
        self._undelivered = dict(sorted(self._undelivered.items()))
        self._doubtful.clear()

    def _confirm_before(self, sequence: int) -> None:
        if sequence > self._state.next_out:  # numbers of another state directory
            return
        while self._undelivered and (first := next(iter(self._undelivered))) < sequence:
            self._journal.delivered(*self._undelivered.pop(first))

    def _later(self, work: asyncio.Future[None] | object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]
        self._background.add(task)
        task.add_done_callback(self._background.discard)
