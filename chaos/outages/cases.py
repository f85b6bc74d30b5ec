"""The cases: which server fails, how, for how long, and how it is mended."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable

import msgspec

from chaos.outages.scene import Scene

_HOUR = 3600.0
_FILLER = "filler"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One case. ``mend`` returns when the server can be used again: recovery is measured from then on.

    ``goes_on`` is what goes on meanwhile: "landed", "published". ``blocks``: nothing lands meanwhile, so no REST
    caller may be told that it has. ``refuses``: callers are told to come back. ``takes_over``: the second process
    is to be the writer within the time, counted from the failure; ``meanwhile`` then brings back another server,
    once that process has landed reports of each venue, and recovery is counted from there. ``toxic`` names the
    server that has toxiproxy in front.
    """

    name: str
    server: str
    what: str
    seconds: float
    fail: Callable[[Scene], None]
    mend: Callable[[Scene], None]
    goes_on: tuple[str, ...] = ()
    blocks: bool = False
    refuses: bool = False
    fills_inbox: bool = False
    has_s3: bool = False
    toxic: str = ""
    keeps_topics: bool = False
    small_disk: bool = False
    takes_over: bool = False
    meanwhile: Callable[[Scene], None] | None = None


def _stop(server: str) -> Callable[[Scene], None]:
    def fail(scene: Scene) -> None:
        scene.server(server).ask_to_stop()
        scene.server(server).wait_stopped()

    return fail


def _fill(scene: Scene) -> None:
    """Write to the disk until there is no room for another page."""
    assert scene.disk is not None, "the case has a small disk"
    size = 1 << 20
    with (scene.disk / _FILLER).open("wb", buffering=0) as file:
        while size >= 1 << 12:
            try:
                file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2


def _free(scene: Scene) -> None:
    assert scene.disk is not None, "the case has a small disk"
    (scene.disk / _FILLER).unlink()


_BY_TOXIPROXY = frozenset({"refused", "slow", "cut"})
_GOES_ON = {"redis": ("landed", "published"), "s3": ("landed", "published"), "broker": ("landed",)}


def _of_server(server: str) -> list[Case]:
    """What can happen to any of them."""
    is_ledger, is_broker = server == "postgres", server == "broker"

    def case(
        name: str,
        what: str,
        fail: Callable[[Scene], None],
        mend: Callable[[Scene], None],
        *,
        seconds: float = 6.0,
        blocks: bool = False,
        refuses: bool = False,
        keeps_topics: bool = False,
        fills_inbox: bool = False,
    ) -> Case:
        return Case(
            name=f"{server}-{name}", server=server, what=what, seconds=seconds, fail=fail, mend=mend,
            blocks=blocks and is_ledger, refuses=refuses and is_ledger, fills_inbox=fills_inbox and is_ledger,
            keeps_topics=keeps_topics and is_broker, has_s3=server == "s3",
            toxic=server if name in _BY_TOXIPROXY else "",
            goes_on=_GOES_ON.get(server, ()) if seconds else (),
        )  # fmt: skip

    def start(scene: Scene) -> None:
        scene.start_server(server)

    def heal(scene: Scene) -> None:
        scene.way(server).heal()

    def nothing(_: Scene) -> None: ...

    return [
        case("stopped", "asked to stop, started again", _stop(server), start,
             blocks=True, refuses=True, keeps_topics=True),
        case("killed", "SIGKILL, started again", lambda s: s.server(server).kill(), start,
             blocks=True, refuses=True, keeps_topics=True),
        case("paused", "SIGSTOP to all its processes, SIGCONT",
             lambda s: s.signal(server, signal.SIGSTOP), lambda s: s.signal(server, signal.SIGCONT),
             seconds=9.0, blocks=True, fills_inbox=True),
        case("hung", "connections are accepted and nothing passes",
             lambda s: s.proxies[server].hang(), heal, seconds=9.0, blocks=True, fills_inbox=True),
        case("refused", "open connections are reset, new ones refused",
             lambda s: s.way(server).refuse(), heal, blocks=True, refuses=True),
        case("half-open", "open connections lead nowhere and do not end, new ones work",
             lambda s: s.proxies[server].lose(), nothing, seconds=0.0),
        case("slow", "100 ms a chunk each way, 256 kB/s",
             lambda s: s.way(server).slow(0.1, 256e3), heal, seconds=9.0),
        case("cut", "each connection is cut after 1 to 200 kB, in mid-stream",
             lambda s: s.way(server).cut_in_stream(1_000, 200_000), heal, seconds=9.0),
    ]  # fmt: skip


def _kill_holder(scene: Scene) -> None:
    scene.victims[0].kill(group=True)


def _pause_holder(*, group: bool) -> Callable[[Scene], None]:
    def pause(scene: Scene) -> None:
        scene.victims[0].send(signal.SIGSTOP, group=group)

    return pause


def _kill_holder_blind(scene: Scene) -> None:
    scene.proxies["broker"].hang()
    scene.victims[0].kill(group=True)


def _wake_holder(scene: Scene) -> None:
    scene.victims[0].send(signal.SIGCONT, group=True)


def _nothing(_: Scene) -> None: ...


CASES: dict[str, Case] = {
    case.name: case
    for case in [
        *(case for server in ("postgres", "broker", "redis", "s3") for case in _of_server(server)),
        Case(
            name="postgres-disk-full", server="postgres", what="no space left on the ledger's disk", seconds=6.0,
            fail=_fill, mend=_free, small_disk=True,
        ),
        Case(
            name="clock-forward", server="clock", what="the process's clock is set an hour forward", seconds=6.0,
            fail=lambda s: s.step_clock(_HOUR), mend=_nothing,
        ),
        Case(
            name="clock-back", server="clock", what="the process's clock is set an hour back", seconds=6.0,
            fail=lambda s: s.step_clock(-_HOUR), mend=_nothing,
        ),
        Case(
            name="writer-killed", server="writer", what="SIGKILL to the writer, another process stands by",
            seconds=0.0, fail=_kill_holder, mend=_nothing, takes_over=True,
        ),
        Case(
            name="writer-blind", server="writer", what="SIGKILL to the writer while the broker hangs", seconds=0.0,
            fail=_kill_holder_blind, mend=_nothing, takes_over=True,
            meanwhile=lambda s: s.proxies["broker"].heal(),
        ),
        Case(
            name="writer-paused", server="writer", what="SIGSTOP to the writer, which wakes up later",
            seconds=0.0, fail=_pause_holder(group=False), mend=_wake_holder, takes_over=True,
        ),
        Case(
            name="writer-frozen", server="writer", what="SIGSTOP to the writer and its FIX engine; both wake up",
            seconds=0.0, fail=_pause_holder(group=True), mend=_wake_holder, takes_over=True,
        ),
    ]
}  # fmt: skip
