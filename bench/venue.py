"""A WebSocket venue that sends fills at a rate, in a process of its own: ``python -m bench.venue``.

Open loop: fill n is due at start + n / rate whether or not the last one was taken; its ``transact_time`` is
the time it was due, so a latency counted from there includes what a slow receiver made it wait.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.load import frame


async def send(connection: ServerConnection, first: int, count: int, rate: float | None) -> None:
    """Send ``count`` frames from number ``first`` on; without a rate as fast as they are taken."""
    began = time.time_ns()
    for number in range(count):
        due = began if rate is None else began + int(number * 1e9 / rate)
        wait = (due - time.time_ns()) / 1e9
        if rate is not None and wait > 0.0005:  # noqa: PLR2004  the loop's timers are no finer
            await asyncio.sleep(wait)
        await connection.send(frame(first + number, due if rate is not None else time.time_ns()), text=True)


async def main(port: int) -> None:
    """Serve one client; commands come on standard input: ``first count rate``."""
    connected: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def handle(connection: ServerConnection) -> None:
        await connection.recv()  # the subscription
        await connection.send('{"channel":"heartbeat","last_sequence":0}')
        await connected.put(connection)
        await connection.wait_closed()

    async with serve(handle, "127.0.0.1", port, compression=None, ping_interval=None):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        connection = await connected.get()
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            first, count, rate = line.split()
            await send(connection, int(first), int(count), float(rate) or None)
            sys.stdout.write("sent\n")
            sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(main(parser.parse_args().port))
