"""A WebSocket venue whose reports wait: ``python -m bench.waiting --port 9000 --folder DIR``.

A venue is another machine in real life: its frames are made beforehand and go out as they are, so that what it
costs here takes next to nothing from the two processors that are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import time
from array import array
from pathlib import Path

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.load import frame
from bench.venue import send

_CHUNK = 1 << 18
_SHORT, _MEDIUM = 126, 0xFFFF
_TEXT = 0x81  # FIN and the opcode of a text frame, RFC 6455 5.2


def _framed(payload: bytes) -> bytes:
    size = len(payload)
    if size < _SHORT:
        return bytes((_TEXT, size)) + payload
    if size > _MEDIUM:
        raise ValueError(f"a frame of {size} bytes: one report has less than {_MEDIUM}")
    return struct.pack(">BBH", _TEXT, _SHORT, size) + payload


class Waiting:
    """Frames made beforehand: those of sequences ``first`` + 1 on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._first = 0
        self._offsets = array("Q")

    @property
    def last(self) -> int:
        """The last sequence."""
        return self._first + len(self._offsets)

    def make(self, first: int, count: int) -> None:
        """Make the frames of fills from number ``first`` on, all of them traded by now."""
        began, self._first, self._offsets = time.time_ns() - count, first, array("Q")
        with self._path.open("wb") as out:
            at = 0
            for number in range(first, first + count):
                self._offsets.append(at)
                at += out.write(_framed(frame(number, began + number - first)))

    async def replay(self, connection: ServerConnection, sequence: int) -> None:
        """Send everything from ``sequence`` on, as fast as it is taken."""
        if sequence > self.last:
            return
        with self._path.open("rb") as source:
            source.seek(self._offsets[max(0, sequence - self._first - 1)])
            while chunk := source.read(_CHUNK):
                connection.transport.write(chunk)
                await connection.drain()


async def main(port: int, folder: Path) -> None:
    """Serve one client; commands come on standard input: ``send first count rate``, ``wait first count``."""
    waiting = Waiting(folder / "frames")
    current: asyncio.Queue[ServerConnection] = asyncio.Queue(maxsize=1)

    async def handle(connection: ServerConnection) -> None:
        wanted = json.loads(await connection.recv())
        await connection.send(json.dumps({"channel": "heartbeat", "last_sequence": waiting.last}))
        await waiting.replay(connection, int(wanted["from_sequence"]))
        if current.full():
            current.get_nowait()
        current.put_nowait(connection)
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None):
        _say("ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *numbers = line.split()
            if command == "wait":
                await asyncio.to_thread(waiting.make, int(numbers[0]), int(numbers[1]))
            else:
                connection = await current.get()
                await send(connection, int(numbers[0]), int(numbers[1]), float(numbers[2]))
                current.put_nowait(connection)
            _say("done")


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.port, arguments.folder))
