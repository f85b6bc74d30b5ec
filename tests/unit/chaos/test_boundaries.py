"""Where the streaming process can be killed: between all that others see of it, and at whatever it awaits.

The first is read from its source: of every function that writes to PostgreSQL, Redis, Kafka or the bucket, asks a
venue, answers a caller or hands over to the landing, a fault point lies between each of these steps and the next.
"""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chaos.awaits import ROOT, sites

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = sorted([*(ROOT / "streaming").rglob("*.py"), *(ROOT / "ledger" / "db").glob("*.py")])
POINT = "point"
IN_THREAD = {"to_thread", "in_thread"}

# A step that others see, or that lands, by the last two names of what is called.
STEPS = {
    "arrival.done", "engine.send", "_say", "socket.send",
    "inbox.put", "inbox.put_first", "inbox.put_last", "inbox.put_now",
    "landing.land", "connection.execute", "connection.copy_records_to_table", "leases.take", "leases.renew",
    "outbox.save", "ledger.grow", "ledger.record", "ledger.stored", "holdings.answer", "desk.skip",
    "desk.refuse_halts", "teller.tell",
    "pipe.execute", "redis.eval",
    "bucket.put_checkpoint", "bucket.put_tile", "bucket.put_edge", "keys.keep", "keys.publish",
    "producer.init_transactions", "producer.begin_transaction", "producer.produce", "producer.commit_transaction",
    "writer.open", "writer.write",
}  # fmt: skip

_CALLER = "the points lie around it in its callers: "
_MEMORY = "it lands or is lost with the process, and nobody was told: landing.before is the next boundary"
_ONE = "one transaction: nothing of it is seen before its commit, "
EXCEPTIONS = {
    "ledger/db/instruments.py read_instruments": "for commands, not the streaming process: it sets a time limit",
    "ledger/db/landing.py Landing.take_lease": f"{_CALLER}lease.taken",
    "ledger/db/landing.py Landing._land_document": f"{_CALLER}landing.before, .before_commit and .after_commit",
    "ledger/db/leases.py take": f"{_ONE}and lease.taken or audit.leased follows it",
    "ledger/db/leases.py _end_holder": f"{_CALLER}it is a part of taking the lease",
    "streaming/audit_bucket.py Keeper._store_tiles.put": f"{_CALLER}audit.stored and audit.tiled",
    "streaming/failover.py tell": f"{_MEMORY}; of what is decided here, failover.decided and .told",
    "streaming/feed_lines.py Tap.put": f"{_CALLER}each feed's hand_over",
    "streaming/feed_lines.py Tap.put_now": f"{_CALLER}rest.received",
    "streaming/feeding.py Feeding._tell_filled": _MEMORY,
    "streaming/feeds/kafka.py KafkaFeed._put": f"{_CALLER}kafka.hand_over",
    "streaming/feeds/websocket.py _say": f"{_CALLER}websocket.subscribed, .ask and .replay",
    "streaming/in_flight.py InFlight._write": "its callers name the point that is in it",
    "streaming/look_back/comparing.py Comparison._take": "the first says nothing: it waits for what is before it",
    "streaming/look_back/look_back.py LookBack.hand_in": f"{_CALLER}look_back.page and .landed",
    "streaming/look_back/telling.py Teller.tell": f"{_CALLER}completeness.missing and .compared",
    "streaming/producing.py TopicWriter.open": f"{_CALLER}publisher.connected and .opened",
    "streaming/producing.py TopicWriter._produce": f"{_CALLER}publisher.produced; of its two, one is called",
    "streaming/producing_child.py main": "each command is one of the producer's, with its points",
    "streaming/publisher.py Publisher._opened": f"{_CALLER}publisher.connected and .opened",
    "streaming/publishing_session.py PublishingSession._publish": "publisher.before_begin to .after_commit",
    "streaming/secret_events.py SecretEvents._is_written": f"{_ONE}secrets.event and .written are around it",
}


def named(called: ast.expr) -> str:
    """Give the last two names of what is called, without leading underscores of the first."""
    match called:
        case ast.Attribute(value=ast.Attribute(attr=owner) | ast.Name(id=owner), attr=name):
            return f"{owner.lstrip('_')}.{name}"
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def own(node: ast.AST) -> Iterator[ast.AST]:
    """Give what is in a function and in none within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield child
            yield from own(child)


def steps_of(function: ast.AST) -> list[str]:
    """Give a function's steps and points in the order of its lines."""
    found: list[tuple[int, int, str]] = []
    for node in own(function):
        if not isinstance(node, ast.Call):
            continue
        last = named(node.func).rpartition(".")[2]
        if last in {"at", "rows"} and node.args and isinstance(node.args[0], ast.Constant):
            found.append((node.lineno, node.col_offset, POINT))
        called = node.args[0] if last in IN_THREAD and node.args else node.func
        if named(called) in STEPS:
            found.append((node.lineno, node.col_offset, named(called)))
    return [step for *_, step in sorted(found)]


def unguarded(steps: list[str]) -> bool:
    """Whether two steps follow each other with no point in between, or there are steps and no point."""
    seen = any(step != POINT for step in steps)
    together = any(POINT not in pair for pair in pairwise(steps))
    return seen and (together or POINT not in steps)


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(tree):
        name = within
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{within}.{node.name}" if within else node.name
            if not isinstance(node, ast.ClassDef):
                yield name, node
        yield from functions(node, name)


def found_unguarded() -> dict[str, list[str]]:
    return {
        f"{source.relative_to(ROOT).as_posix()} {name}": steps_of(function)
        for source in SOURCES
        for name, function in functions(ast.parse(source.read_text("utf-8")))
        if unguarded(steps_of(function))
    }


def test_between_two_steps_that_others_see_lies_a_fault_point() -> None:
    found = found_unguarded()
    assert {name: steps for name, steps in found.items() if name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() - found.keys() == set(), "they are none any more"


@pytest.mark.parametrize(
    ("body", "is_unguarded"),
    [
        ("await self._landing.land(x)", True),
        ("await self._landing.land(x)\n    at('a.b')", False),
        ("at('a.b')\n    await self._landing.land(x)\n    socket.send(y)", True),
        ("await self._landing.land(x)\n    at('a.b')\n    await asyncio.to_thread(bucket.put_edge, y)", False),
        ("await asyncio.to_thread(bucket.put_edge, y)\n    bucket.keys.keep(z)\n    at('a.b')", True),
        ("await reader.positions()", False),
    ],
)
def test_the_reading_of_the_source_sees_a_step_without_a_point(body: str, is_unguarded: bool) -> None:
    [(_, function)] = functions(ast.parse(f"async def f(self):\n    {body}"))
    assert unguarded(steps_of(function)) == is_unguarded


def test_every_await_of_the_program_is_a_place_to_die_at() -> None:
    known = {(site.path, line) for site in sites() for line in range(site.first, site.last + 1)}
    words = ("await ", "async for ", "async with ")
    written = {
        (source.relative_to(ROOT).as_posix(), number)
        for source in SOURCES
        for number, line in enumerate(source.read_text("utf-8").splitlines(), start=1)
        if line.lstrip().startswith(words) or "= await " in line or "return await " in line
    }
    assert len(written) > 300
    assert sorted(written - known) == []
    assert len({site.name for site in sites()}) == len(sites())
    assert all(Path(ROOT / site.path).is_file() for site in sites())
