"""An OpenBao of the tests' own, which they may seal and stop, and corners of the run's shared one."""

from __future__ import annotations

import json
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

import hvac

from operations.embedded.endpoints import Endpoints
from operations.embedded.state import StateFolder
from operations.embedded.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ELECTION_SECONDS = 20.0


class Corner:
    """A KV engine (version 2) in an OpenBao, and the client that rules it."""

    def __init__(self, client: hvac.Client) -> None:
        self.client = client
        self.mount = f"kv-{uuid.uuid4().hex[:12]}"
        client.sys.enable_secrets_engine("kv", path=self.mount, options={"version": "2"})
        # a fresh engine refuses requests while it sets itself up
        for _ in range(100):
            try:
                client.secrets.kv.v2.read_configuration(mount_point=self.mount)
            except hvac.exceptions.VaultError:
                continue
            break

    def put(self, path: str, **fields: str) -> int:
        """Write a secret and give its version; a server that has just been unsealed elects itself first."""
        deadline = time.monotonic() + _ELECTION_SECONDS
        while True:
            try:
                answer = self.client.secrets.kv.v2.create_or_update_secret(path, fields, mount_point=self.mount)
            except hvac.exceptions.InternalServerError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return int(answer["data"]["version"])

    def reference(self, path: str, field: str) -> str:
        return f"vault:{self.mount}/{path}#{field}"

    def token(self, ttl: str = "1h") -> str:
        """Make a token that reads this corner and nothing else."""
        name = f"reads-{self.mount}"
        self.client.sys.create_or_update_policy(
            name, json.dumps({"path": {f"{self.mount}/data/*": {"capabilities": ["read"]}}})
        )
        made = self.client.auth.token.create(policies=[name], ttl=ttl, renewable=True, no_default_policy=False)
        token: str = made["auth"]["client_token"]
        return token


@contextmanager
def corner_of(address: str, token: str) -> Iterator[Corner]:
    client = hvac.Client(url=address, token=token)
    corner = Corner(client)
    yield corner
    client.sys.disable_secrets_engine(corner.mount)


class OwnVault:
    """A server that can be sealed, unsealed, stopped and started."""

    def __init__(self, folder: Path) -> None:
        self._state = StateFolder(folder)
        self._state.acquire()
        self._vault = Vault(self._state)
        self.start()
        told = self._vault.describe(Endpoints())
        self.address, self.token = told.vault_addr, told.vault_token

    def client(self) -> hvac.Client:
        return hvac.Client(url=self.address, token=self.token)

    def start(self) -> None:
        self._vault.start()

    def stop(self) -> None:
        self._vault.process.ask_to_stop()
        self._vault.process.wait_stopped()

    def seal(self) -> None:
        hvac.Client(url=self.address, token=self.token).sys.seal()

    def unseal(self) -> None:
        keys = json.loads(self._state.secret_path("vault.json").read_text())
        hvac.Client(url=self.address).sys.submit_unseal_key(keys["unseal"])

    def close(self) -> None:
        self.stop()
        self._state.release()
