"""A small disk of the ledger's own, a tmpfs: mounted by root, or by anybody in namespaces of their own."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from chaos.resting import ChaosError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNTED = "CHAOS_SMALL_DISK"  # where it has been mounted already
_BYTES = 64 << 20
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # linux/sched.h
_MNT_DETACH = 2  # sys/mount.h
_libc = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, owner: tuple[int, int] | None = None) -> None:
    """Mount it at a folder, for a user and group; raises ``OSError`` where that may not be."""
    options = f"size={_BYTES},mode=0700" + (f",uid={owner[0]},gid={owner[1]}" if owner else "")
    _called(_libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options.encode()), f"mount {folder}")


def unmount(folder: Path) -> None:
    """Take it away, once nobody uses it any more."""
    _libc.umount2(os.fsencode(folder), _MNT_DETACH)


def run_apart(command: Sequence[str], folder: Path) -> bytes:
    """Run a command in user and mount namespaces of its own, with the disk at ``folder``; give what it printed.

    Raises ``ChaosError`` where the machine does not let this user make them, or the command prints nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            command,
            env={**os.environ, MOUNTED: str(folder)},
            capture_output=True,
            preexec_fn=lambda: _enter(folder, writing),
            check=False,
        )
    except subprocess.SubprocessError:
        why = os.read(reading, 1000).decode()
        raise ChaosError(f"a small disk needs root, or user namespaces: {why}") from None
    finally:
        os.close(reading)
        os.close(writing)
    if not done.stdout:
        raise ChaosError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:].decode()}")
    return done.stdout


def _enter(folder: Path, told: int) -> None:
    user, group = os.geteuid(), os.getegid()
    try:
        _called(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
        mount(folder)
    except OSError as error:
        os.write(told, str(error).encode())
        raise


def _called(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
