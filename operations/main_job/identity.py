"""The main job with ``--identity``: a Workload API without attestation, and its secrets in OpenBao."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from typing import TYPE_CHECKING

import hvac
import msgspec

from operations.embedded.errors import EmbeddedError
from operations.identity.commands import AGENT
from operations.main_job.programs import OWN_PATH, PROJECT, Program, own_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder

_ROLE, _POLICY = "execution-agent", "execution-agent-venues"
_LONGEST_PATH = 107  # of a Unix socket


class Venues(msgspec.Struct, frozen=True):
    """The secrets that the simulated venues ask for: a password, a bearer, a webhook secret."""

    alpha: str
    bravo: str
    charlie: str


def venue_secrets(state: StateFolder) -> Venues:
    """Give them; they are made up once."""
    webhook = "whsec_" + base64.b64encode(state.secret("charlie-webhook").encode()).decode()
    return Venues(state.secret("alpha-password"), state.secret("bravo-token"), webhook)


def prepare_identity(state: StateFolder, endpoints: Endpoints) -> tuple[Program, list[str], Venues]:
    """Set OpenBao up; give the program that serves the identity, lines of settings, and the venues' secrets."""
    from operations.embedded.workload_api import let_in, prepare  # noqa: PLC0415  gRPC

    venues = venue_secrets(state)
    client = hvac.Client(url=endpoints.vault_addr, token=endpoints.vault_token)
    fields = {
        "alpha": {"password": venues.alpha},
        "bravo": {"token": venues.bravo},
        "charlie": {"webhook": venues.charlie},
    }
    kept = {f"venues/{name}": values for name, values in fields.items()}
    kept[OWN_PATH] = own_secrets(state, endpoints)
    for path, values in kept.items():
        if not _holds(client, path, values):
            client.secrets.kv.v2.create_or_update_secret(path, values, mount_point="secret")
    rules = {"path": {f"secret/data/{path}": {"capabilities": ["read"]} for path in ("venues/*", OWN_PATH)}}
    client.sys.create_or_update_policy(_POLICY, json.dumps(rules))
    prepare(client, AGENT.removeprefix("spiffe://").partition("/")[0])
    let_in(client, AGENT, _ROLE, [_POLICY])
    socket = _socket(state)
    program = Program(
        "workload-api",
        state,
        [sys.executable, "-m", "operations.cli", "identity", "serve", "--socket", socket],
        {
            "VAULT_ADDR": endpoints.vault_addr,
            "VAULT_TOKEN": endpoints.vault_token,
            "PYTHONPATH": str(PROJECT),
        },
    )
    lines = [
        "[identity]",
        f"socket = {json.dumps(f'unix://{socket}')}",
        "[vault]",
        f"address = {json.dumps(endpoints.vault_addr)}",
        f"role = {json.dumps(_ROLE)}",
    ]
    return program, lines, venues


def _holds(client: hvac.Client, path: str, values: dict[str, str]) -> bool:
    kv = client.secrets.kv.v2
    try:
        held = kv.read_secret_version(path, mount_point="secret", raise_on_deleted_version=True)
    except hvac.exceptions.InvalidPath:
        return False
    return bool(held["data"]["data"] == values)


def _socket(state: StateFolder) -> Path:
    path = state.folder("workload-api") / "api.sock"
    if len(str(path)) <= _LONGEST_PATH:
        return path
    raise EmbeddedError(
        f"{path} is longer than the {_LONGEST_PATH} bytes that a socket's path may have: "
        f"use a --state with a shorter path, below {tempfile.gettempdir()}, say"
    )
