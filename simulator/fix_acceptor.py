"""The FIX 4.4 drop copy acceptor: sockets around ``FixSession``."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import simplefix

from simulator import fix_message
from simulator.fix_session import FixSession
from simulator.records import Unconfirmed

if TYPE_CHECKING:
    from simulator.config import VenueConfig
    from simulator.journal import Journal
    from simulator.records import Message
    from simulator.venue import Delivery, StatusDesk

TICK = 0.1
TOO_FAR_BEHIND = 4 << 20  # bytes waiting in the socket's buffer
STALE_MEMORY = 50


def server_context(config: VenueConfig) -> ssl.SSLContext | None:
    """TLS if a certificate is configured; with a CA, clients must show a certificate, too."""
    if not config.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_certificate, config.tls_key or None)
    if config.tls_ca:
        context.load_verify_locations(config.tls_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class FixVenue:
    """A venue that drop-copies over FIX. One session; a new connection takes over from an old one."""

    kind = "fix"

    def __init__(self, config: VenueConfig, journal: Journal) -> None:
        self.name = config.name
        self._config = config
        self._journal = journal
        comp_ids = (config.sender_comp_id or config.name, config.target_comp_id)
        state = journal.session(config.name)
        self.session = FixSession(comp_ids, journal, state, self._delivered, config.resend_limit)
        self.rekey(config.key)
        for message_id, sequence, _, reports in journal.undelivered(config.name):
            assert sequence is not None
            self.session.unconfirmed[sequence] = Unconfirmed(message_id, reports)
        self._taken: list[Message] = []
        self._confirmed: list[int] = []
        self._port = config.port
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._replay_wanted = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()

    def answer_status(self, ask: StatusDesk) -> None:
        """Answer OrderStatusRequests with what ``ask`` puts out."""
        self.session.on_status = lambda cl_ord_id, request_id: ask(self.name, cl_ord_id, request_id)

    def rekey(self, *keys: str) -> None:
        """Let in who shows one of these from the next Logon on."""
        self.session.keys = {key for key in keys if key}

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(
            self._serve, self._config.host, self._config.port, ssl=server_context(self._config)
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._ticker = asyncio.create_task(self._tick(), name=f"{self.name} ticks")

    def take(self, deliveries: list[Delivery]) -> None:
        """Number the reports and journal them."""
        for delivery in deliveries:
            sequence = self.session.number()
            message = self._journal.add_message(self.session.state, sequence, delivery.fault, [delivery.row])
            self.session.unconfirmed[sequence] = Unconfirmed(message.id, message.reports)
            self._taken.append(message)

    def release(self) -> None:
        """Put them on the wire, if a peer is logged on."""
        for message in self._taken:
            self.session.send(message)
        taken, self._taken = self._taken, []
        if taken and self._writer and self._writer.transport.get_write_buffer_size() > TOO_FAR_BEHIND:
            assert taken[-1].sequence is not None
            self.session.fall_behind(taken[-1].sequence + 1)
        if self.session.replaying:
            self._replay_wanted.set()

    def drop(self) -> bool:
        """Close the connection once its buffer is out."""
        if not self.session.logged_on or self._writer is None:
            return False
        self.session.disconnect()  # what comes now waits for the peer's ResendRequest
        self._writer.close()  # flushes first
        return True

    def resend_stale(self) -> bool:
        """Repeat a confirmed message as PossDup."""
        if not self._confirmed or not self.session.logged_on or self.session.replaying:
            return False
        message = self._journal.message(self._confirmed[-1])
        if message.epoch != self.session.state.epoch:
            return False
        self.session.resend(message)
        return True

    @property
    def connected(self) -> bool:
        """Logged on."""
        return self.session.logged_on

    @property
    def outstanding(self) -> int:
        """Messages that the peer's engine has not confirmed."""
        return len(self.session.unconfirmed)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._config.host}:{self._port}"

    async def stop(self) -> None:
        """Log out, wait a moment for the answer, close."""
        self.session.log_out("the venue closes")
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._gone.wait()
        if self._ticker:
            self._ticker.cancel()
        if self._writer:
            self._writer.close()
        if self._server:
            self._server.close()

    def _delivered(self, one: Unconfirmed) -> None:
        self._journal.delivered(one.id, one.reports)
        self._confirmed.append(one.id)
        del self._confirmed[:-STALE_MEMORY]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = writer
        self._gone.clear()
        self.session.connect(writer.write)
        self._replay_wanted.clear()
        replay = asyncio.create_task(self._replay(writer), name=f"{self.name} replay")
        try:
            await self._read(reader, writer)
        except (OSError, simplefix.errors.ParsingError):
            pass  # a peer that breaks off or sends what is no FIX is hung up on
        finally:
            replay.cancel()
            if self._writer is writer:
                self._writer = None
                self.session.disconnect()
                self._gone.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = simplefix.FixParser()
        while self._writer is writer and (content := await reader.read(65536)):
            parser.append_buffer(content)
            while self._writer is writer and (message := parser.get_message()) is not None:
                if fix_message.checksum_fits(message):
                    self.session.received(message)
                if self.session.hang_up:
                    await writer.drain()
                    return
            if self.session.replaying:
                self._replay_wanted.set()

    async def _replay(self, writer: asyncio.StreamWriter) -> None:
        # in a task of its own: a peer that does not read must not keep us from reading
        with suppress(OSError):
            while True:
                await self._replay_wanted.wait()
                while self._writer is writer and self.session.replaying:
                    self.session.replay_piece()
                    await writer.drain()
                self._replay_wanted.clear()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.session.tick()
            if self.session.hang_up and self._writer:
                self._writer.close()
