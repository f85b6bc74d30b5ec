"""The little HTTP/1.1 that a webhook sender needs: POST over a kept-alive connection."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_WITHIN = 15.0
HEAD_AT_MOST = 1 << 16


class Answer(msgspec.Struct, frozen=True):
    """Status, lower-cased headers, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpError(Exception):
    """The peer's answer is not HTTP/1.1 as this client reads it."""


class UnansweredError(Exception):
    """The request went out, but no answer came: the peer may have accepted it."""


class Connection:
    """One connection to one place, opened when needed."""

    def __init__(self, url: str, ca: str = "") -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context(cafile=ca or None) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send and wait for the answer. OSError: it never went out; ``UnansweredError``: it may have."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {self._authority}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        reused = self._streams is not None
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                reader, writer = await self._open()
                writer.write(request)
                return await self._answer(reader)
        except (OSError, EOFError, TimeoutError, HttpError, ValueError) as error:
            was_open = self._streams is not None
            self.close()
            if was_open or reused:
                raise UnansweredError(f"{self._authority}: {error!r}") from error
            raise

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=HEAD_AT_MOST
            )
        return self._streams

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1."):
            raise HttpError(f"status line {status_line!r}")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunked(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(int(rest[:3]), headers, body)

    def close(self) -> None:
        """Let go of the connection; the next post opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def aclose(self) -> None:
        """Close and see it closed."""
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":  # trailers
        pass
    return body
