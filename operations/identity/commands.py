"""``execution-agent identity``: what the Workload API gives, and a Workload API for development."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  typer reads it at run time
from typing import Annotated

import typer

from operations.options import FAILED, USAGE, fail

AGENT = "spiffe://dynamic.capital/agent/execution"
_LONGEST_PATH = 107  # of a Unix socket

identity = typer.Typer(help="Ask the Workload API who we are; serve one for development.", no_args_is_help=True)

IdOption = Annotated[str, typer.Option("--spiffe-id", help="The identity.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(identity, name="identity", epilog="Example: `execution-agent identity show`")


@identity.command(
    "show", epilog="Example: `execution-agent identity show --socket unix:///run/spire/agent.sock --json`"
)
def show(
    *,
    socket: Annotated[
        str, typer.Option(help="unix:///… of the Workload API.", envvar="SPIFFE_ENDPOINT_SOCKET", show_envvar=True)
    ] = "",
    spiffe_id: IdOption = AGENT,
    audience: Annotated[str, typer.Option(help="Ask for a JWT-SVID, too (it is not shown).")] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to wait.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Fetch our X.509-SVID, as the streaming process does, and say what it is. No key is shown.

    Exit codes: 0 we have the identity; 1 we have not, and why; 2 no socket is named.
    """
    if not socket:
        fail("--socket or SPIFFE_ENDPOINT_SOCKET: name the socket of the Workload API", USAGE)
    from cryptography import x509

    from trust.errors import IdentityError
    from trust.spiffe import Identity

    who = Identity(socket, spiffe_id)
    try:
        svid = who.start(seconds)
        if audience:
            who.jwt(audience)
    except IdentityError as error:
        fail(str(error), FAILED)
    finally:
        who.close()
    names = [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(svid.shown.authorities)]
    left = svid.ends - time.time()
    ends = datetime.fromtimestamp(svid.ends, UTC).isoformat()
    found = {"id": svid.spiffe_id, "serial": svid.serial, "ends": ends, "authorities": names}
    if audience:
        found["jwt_audience"] = audience
    if as_json:
        sys.stdout.write(json.dumps({**found, "seconds_left": round(left)}) + "\n")
        return
    sys.stdout.write(f"{svid.spiffe_id}\n  serial      {svid.serial}\n  ends        {ends} (in {left:.0f} s)\n")
    sys.stdout.write("".join(f"  authority   {name}\n" for name in names))
    if audience:
        sys.stdout.write(f"  JWT-SVID    given for {audience}\n")


@identity.command(
    "serve", epilog="Example: `VAULT_ADDR=… VAULT_TOKEN=… execution-agent identity serve --socket /tmp/api.sock`"
)
def serve(
    *,
    socket: Annotated[Path, typer.Option(help="The socket to make; its folder is made, too.")],
    spiffe_id: IdOption = AGENT,
    ttl: Annotated[
        float, typer.Option(min=2, help="Seconds that an SVID lives; a new one comes at half of it.")
    ] = 3600,
    name: Annotated[list[str] | None, typer.Option(help="DNS name in the certificate; localhost.")] = None,
) -> None:
    """Serve a Workload API for development. IT DOES NOT ATTEST: who opens the socket gets the identity.

    SVIDs come from the OpenBao or Vault of VAULT_ADDR, which is set up for it with VAULT_TOKEN. In production
    SPIRE's agent serves the socket (docs/identity.md). Ends at SIGTERM or Ctrl-C; exit codes 0, 1 failed, 2 usage.
    """
    import hvac
    import requests

    from operations.embedded.workload_api import WorkloadApi

    address, token = os.environ.get("VAULT_ADDR"), os.environ.get("VAULT_TOKEN")
    if not address or not token:
        fail("VAULT_ADDR and VAULT_TOKEN: name the OpenBao that issues, and a token that may set it up", USAGE)
    path = socket.resolve()
    if len(os.fsencode(path)) > _LONGEST_PATH:
        fail(f"--socket: {path} is longer than the {_LONGEST_PATH} bytes that a socket's path may have", USAGE)
    api = WorkloadApi(
        hvac.Client(url=address, token=token, timeout=10),
        path,
        spiffe_id,
        ttl_seconds=ttl,
        names=tuple(name or ("localhost",)),
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        api.start()
    except (hvac.exceptions.VaultError, requests.RequestException, OSError) as error:
        fail(f"it cannot be served: {error}", FAILED)
    sys.stderr.write(f"WITHOUT ATTESTATION, for development only: {spiffe_id} on {api.socket}\n")
    stop.wait()
    api.stop()
