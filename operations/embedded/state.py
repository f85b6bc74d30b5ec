"""The state folder: who owns it, and the ports, secrets, locks and logs kept in it.

What a server stores is the server's business; it gets a folder of its own below this one.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from operations.embedded.errors import EmbeddedError, NotAStateFolder, StateInUse
from trust.private_files import write_private

MARKER = ".execution-agent-state"
ELSEWHERE = "elsewhere.json"
# Below Linux's ephemeral range (32768-60999), so that no outgoing connection sits on a remembered port.
_PORTS = range(20_000, 32_000)
# The servers of an owner that was killed notice it within 0.25 s and then have their own grace time.
_PREDECESSOR_SECONDS = 30.0


class StateFolder:
    """One state folder, owned by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._owner: int | None = None
        self._ports: dict[str, int] = {}
        self._port_lock = threading.Lock()

    def acquire(self) -> None:
        """Create the folder if needed and become its owner; refuse a folder that holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise NotAStateFolder(self.path)
        try:
            if self.path.exists() and not (self.path / MARKER).exists() and any(self.path.iterdir()):
                raise NotAStateFolder(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            # As root, PostgreSQL's own account must get through to its data; nobody gets to list the folder.
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        except PermissionError as error:
            raise EmbeddedError(f"{self.path} cannot be used by this user: {error.strerror}") from error
        (self.path / MARKER).touch()
        self._owner = _take_ownership(self.path)
        (self.path / "secrets").mkdir(mode=0o700, exist_ok=True)
        (self.path / "locks").mkdir(mode=0o700, exist_ok=True)
        (self.path / "logs").mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError, ValueError):
            self._ports = json.loads((self.path / "ports.json").read_text("utf-8"))

    def release(self) -> None:
        """Give the folder up for the next owner."""
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def folder(self, name: str) -> Path:
        """A server's own folder."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        """A server's log file; that of the start before is kept beside it as NAME.log.1."""
        return self.path / "logs" / f"{name}.log"

    def secret_path(self, name: str) -> Path:
        """Where a secret is kept."""
        return self.path / "secrets" / name

    def secret(self, name: str) -> str:
        """A password that is made up the first time it is asked for and remembered."""
        path = self.secret_path(name)
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text("utf-8")

    def port(self, name: str) -> int:
        """The port remembered under this name if it is still free, else another one."""
        with self._port_lock:
            taken = {port for known, port in self._ports.items() if known != name}
            port = self._ports.get(name)
            if port is None or port in taken or not _is_free(port):
                port = _free_port(taken)
                self._ports[name] = port
                write_private(self.path / "ports.json", json.dumps(self._ports, indent=1, sort_keys=True))
            return port

    def server_lock(self, name: str, patience: float = _PREDECESSOR_SECONDS) -> int:
        """A lock that a server's processes inherit, so that it is free only when the last of them is gone.

        The servers of a killed owner need a moment to end. Without this wait the next owner would find
        their ports taken and their data in use.
        """
        descriptor = os.open(self.path / "locks" / name, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise StateInUse(self.path, f"a {name} that an earlier run left behind")
            time.sleep(0.02)
        return descriptor


def reset(state: Path) -> None:
    """Delete a state folder and all it holds; refuse if it is in use or is not a state folder."""
    path = state.expanduser().resolve()
    if not path.exists():
        return
    if not (path / MARKER).is_file():
        raise NotAStateFolder(path)
    folder = StateFolder(path)
    folder.acquire()
    try:
        for lock in sorted((path / "locks").iterdir()):
            os.close(folder.server_lock(lock.name))
        _delete_elsewhere(path)
        for entry in path.iterdir():
            # The marker goes last: a reset that was interrupted can be repeated.
            if entry.name != MARKER:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        (path / MARKER).unlink()
        path.rmdir()
    finally:
        folder.release()


def _delete_elsewhere(path: Path) -> None:
    """Delete what had to be kept outside (see `account.home_for`), if it is marked as this folder's."""
    with suppress(FileNotFoundError):
        outside = Path(json.loads((path / ELSEWHERE).read_text("utf-8"))["postgres"])
        if (outside / MARKER).read_text("utf-8") != str(path):
            raise EmbeddedError(f"{outside} belongs to another state folder than {path}: delete it by hand")
        shutil.rmtree(outside)


def _take_ownership(path: Path) -> int:
    descriptor = os.open(path / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(descriptor):
        owner = os.pread(descriptor, 32, 0).decode().strip()
        os.close(descriptor)
        raise StateInUse(path, f"process {owner}" if owner else "another process")
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # As the servers do, so that connections in TIME_WAIT do not cost us the remembered port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(taken: set[int]) -> int:
    for _ in range(1_000):
        port = secrets.choice(_PORTS)
        if port not in taken and _is_free(port):
            return port
    raise EmbeddedError(f"no free port found on 127.0.0.1 in {_PORTS.start}-{_PORTS.stop - 1}")
