"""Waiting until what a person asked for has landed; where no process lands, being the one for a moment.

The streaming process looks at the desk's requests every half second. While none holds the writer's lease, a
command whose settings have the service's own login takes the lease, lands what is asked for by the same feed and
the same lander, and gives it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
from pydantic import SecretStr
from structlog.testing import capture_logs

from ledger.db.urls import plain_url
from ledger.domain.tolerances import Grace
from operations.breaks.desk import may_write, opened
from streaming.arrivals import Inbox
from streaming.errors import StreamingError
from streaming.feeds.desk import DeskFeed
from streaming.lander import Lander
from streaming.look_back.auditing import Auditing
from streaming.look_back.making import look_backs_of
from streaming.look_back.telling import Teller
from streaming.metrics import Metrics
from streaming.policy import audit_policies_of, decoders_of, policy_of
from streaming.settings import CONFIG_VARIABLE, Settings, load_settings
from trust.clients import environment_with, secret_of
from trust.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ledger.domain.decide import Policy

_LOOK_SECONDS = 0.05
_CONNECT_SECONDS = 5.0
_COMMAND_SECONDS = 30.0
_CENTURY_NS = 100 * 365 * 86_400 * 1_000_000_000


def service_settings(state: Path) -> Settings | None:
    """Give the streaming process's settings where they can be read from here, with its own login; else None.

    Raises ``SettingsError`` where what is there is wrong.
    """
    path = Path(os.environ.get(CONFIG_VARIABLE) or state / "stream" / "stream.toml")
    if not path.is_file():
        return None
    with _environment(CONFIG_VARIABLE, str(path)):
        settings = load_settings()
    named = tomllib.loads(path.read_text("utf-8")).get("postgres_url")
    if isinstance(named, str):  # a person's own URL in the environment is not the service's
        settings = settings.model_copy(update={"postgres_url": SecretStr(named)})
    return settings


def wait_until(
    done: Callable[[], bool], settings: Settings | None, seconds: float, *, looks_back: bool = False
) -> bool:
    """Wait until ``done`` says so, at most so many seconds; land it here where no process holds the lease.

    ``looks_back``: what persons want compared with venues' lists is done here, too.
    Raises ``LedgerError``, ``StreamingError`` and ``psycopg.Error``.
    """
    deadline = time.monotonic() + seconds
    if settings is not None and not done() and _is_idle(settings):
        with capture_logs():  # they would be another program's lines among the answer
            asyncio.run(_land(settings, done, deadline, looks_back=looks_back))
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _is_idle(settings: Settings) -> bool:
    url = _ledger_of(settings)
    if not may_write(url):
        return False
    with opened(url) as desk:
        return not desk.is_written(settings.writer)


def _ledger_of(settings: Settings) -> str:
    """Give the URL; a reference is of the settings' Vault, or the environment's. Raises ``StreamingError``."""
    named = {"vault": settings.vault, "identity": settings.identity}
    tables = {name: part.model_dump(mode="json") for name, part in named.items() if part is not None}
    try:
        environment = environment_with(os.environ, tables)
        return plain_url(secret_of(settings.postgres_url.get_secret_value(), environment))
    except TrustError as error:
        raise StreamingError(f"setting postgres_url: {error}") from error


async def _land(settings: Settings, done: Callable[[], bool], deadline: float, *, looks_back: bool) -> None:
    """Be the writer, with the desk as the only feed, until it is done or too late."""
    url = _ledger_of(settings)

    async def connect() -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            url,
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            server_settings={"application_name": "execution-agent desk"},
        )

    inbox = Inbox(settings.inbox_limit)
    lander = Lander(
        connect,
        inbox,
        decoders_of(settings),
        Metrics(),
        writer=settings.writer,
        policy=_patient(policy_of(settings)),
        batch_limit=settings.batch_limit,
    )
    feed = DeskFeed(connect, inbox, settings.venues, look_seconds=_LOOK_SECONDS)
    tasks = [lander.run(), _feed_when_ready(lander, feed)]
    if looks_back:
        tasks.append(_auditing(settings, lander, inbox, connect).run())
    working = [asyncio.create_task(task) for task in tasks]
    try:
        while time.monotonic() < deadline and not await asyncio.to_thread(done):
            for task in working:
                if task.done():
                    task.result()
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        for task in reversed(working):
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _feed_when_ready(lander: Lander, feed: DeskFeed) -> None:
    await lander.ready.wait()
    await feed.run()


def _auditing(
    settings: Settings, lander: Lander, inbox: Inbox, connect: Callable[[], Awaitable[asyncpg.Connection[Any]]]
) -> Auditing:
    """Answer persons' requests alone: no audits of our own, no gaps."""
    metrics = Metrics()
    look_backs = look_backs_of(settings, inbox, decoders_of(settings), metrics)
    policies = {
        name: msgspec.structs.replace(policy, every_ns=0) for name, policy in audit_policies_of(settings).items()
    }
    auditing = Auditing(
        connect,
        Teller(inbox),
        metrics,
        look_backs,
        policies,
        (),
        gap_ns=_CENTURY_NS,
        may_decide=lander.ready,
        look_seconds=_LOOK_SECONDS,
    )
    lander.on_landed.append(auditing.offer)
    return auditing


def _patient(policy: Policy) -> Policy:
    """Let no grace time end: the feeds that may bring what is missing do not run here."""
    return msgspec.structs.replace(policy, grace=Grace(_CENTURY_NS, _CENTURY_NS, _CENTURY_NS))


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
