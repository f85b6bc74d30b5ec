"""A late order's state is asked for on the wire: at once, or when the session is logged on again."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import msgspec
import pytest

from ledger.domain.delay_events import StatusRequest
from ledger.domain.records import Side
from tests.integration.test_fix_feed import acceptor, feed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.test_fix_feed import Acceptor

REQUEST = StatusRequest("d1", "v", "ACC", "ACME", Side.SELL, "m-1", "V-1")


async def received(venue: Acceptor, number: int) -> list[list[str]]:
    async with asyncio.timeout(20):
        while True:
            found = [message for message in (await venue.say("received")).split("\t") if message]
            if len(found) >= number:
                return [message.strip("|").split("|") for message in found]
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", ["FIX.4.2", "FIX.4.4", "FIXT.1.1"])
async def test_an_order_is_asked_for_by_its_names(tmp_path: Path, version: str) -> None:
    async with (
        acceptor(tmp_path / "venue", version) as venue,
        feed(tmp_path / "store", venue.port, begin_string=version) as running,
    ):
        running.feed.ask_order(REQUEST)
        (fields,) = await received(venue, 1)
        assert {"35=H", "11=m-1", "37=V-1", "1=ACC", "55=ACME", "54=2"} <= set(fields)
        assert ("790=d1" in fields) == (version != "FIX.4.2")


async def test_what_is_asked_while_the_engine_is_away_is_asked_at_the_next_logon(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        assert running.feed.engine_pid is not None
        os.kill(running.feed.engine_pid, signal.SIGKILL)
        await running.until(lambda: "down" in running.states)
        for n in range(3):
            running.feed.ask_order(msgspec.structs.replace(REQUEST, cl_ord_id=f"m-{n}", venue_order_id=None))
        asked = await received(venue, 3)
        assert [next(field for field in fields if field.startswith("11=")) for fields in asked] == [
            "11=m-0",
            "11=m-1",
            "11=m-2",
        ]
        await venue.say("burst 1 500")
        assert len(await running.take(500)) == 500, "the engine goes on beside it"


async def test_questions_do_not_hold_up_what_arrives(tmp_path: Path) -> None:
    async with acceptor(tmp_path / "venue") as venue, feed(tmp_path / "store", venue.port) as running:
        sending = asyncio.create_task(venue.say("burst 1 3000"))
        for n in range(500):
            running.feed.ask_order(msgspec.structs.replace(REQUEST, cl_ord_id=f"m-{n}"))
            await asyncio.sleep(0)
        assert len(await running.take(3000)) == 3000
        await sending
        assert len(await received(venue, 500)) == 500
