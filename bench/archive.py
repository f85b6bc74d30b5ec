"""``make bench-archive``: a day of a million fills archived and read back: the time and the memory that it takes.

Archived are the fills with their bytes, orders, executions and slippages of four venues, or as many as
``--venues`` says: encrypted, uploaded, locked. Exits 1 where a promise is broken, and 3 where the time is missed
while other programs had more than a tenth of the processors, which proves nothing: run it again on a quiet one.
The processor time is this side's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from bench.day import VENUES, land_day
from bench.derive import DAY, plain_read
from bench.machine import Others, outcome, peak_mb, verdict
from execution_assets.archives.library import open_library
from execution_assets.archives.settings import ArchiveSettings
from execution_assets.archives.verifying import verify
from execution_assets.archives.writing import archive_day
from ledger.db.migrate import migrate
from operations.embedded import EmbeddedStack, ServerName
from operations.main_job.preparing import make_bucket
from operations.main_job.programs import archive_environment
from trust import keys, signing

SECONDS, MEGABYTES = 20.0, 1_000.0  # of a million fills; the memory is a row group's, whatever the day
_BUCKET = "bench"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.archive", description=__doc__)
    parser.add_argument("--fills", type=int, default=1_000_000)
    parser.add_argument("--venues", type=_positive, default=VENUES, help="that the fills are of, equally")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--measured", nargs=2, metavar=("URL", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1 is required, was {text}")
    return number


def measure(url: str, folder: Path) -> dict[str, float]:
    """Archive the day, do it again, read it back; give seconds and the memory that archiving took."""
    environment = json.loads((folder / "environment.json").read_text())
    settings = ArchiveSettings(_BUCKET, str(folder / "keys"), str(folder / "signer"), {"fills": 7, "audit": 7})
    library = open_library(settings, environment)
    began, used = time.perf_counter(), time.process_time()
    done = archive_day(url, library, settings, "fills", DAY, log=_tell)
    archived, used = time.perf_counter(), time.process_time() - used
    memory = peak_mb(os.getpid())  # not getrusage's: that is of whoever started us, too
    again = archive_day(url, library, settings, "fills", DAY, log=_tell)
    compared = time.perf_counter()
    wrong = verify(library, "fills", DAY, DAY, log=_tell).wrong
    return {
        "archive_seconds": round(archived - began, 1),
        "archive_cpu_seconds": round(used, 1),
        "again_seconds": round(compared - archived, 1),
        "verify_seconds": round(time.perf_counter() - compared, 1),
        "memory_mb": round(memory),
        "rows": sum(a.listed.manifest.rows for a in done),
        "megabytes": round(sum(a.listed.manifest.size for a in done) / 1e6),
        "new_revisions_again": sum(a.is_new for a in again),
        "wrong": wrong,
    }


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Make the day, measure, judge."""
    arguments = _arguments()
    if arguments.measured:
        url, folder = arguments.measured
        sys.stdout.write(json.dumps(measure(url, Path(folder))))
        return 0
    console = Console(stderr=arguments.json)
    with tempfile.TemporaryDirectory(prefix="execution-agent-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = EmbeddedStack(folder / "state", [ServerName.POSTGRES, ServerName.S3])
        endpoints = stack.start()
        url = endpoints.postgres_url("postgres")
        try:
            migrate(url)
            console.print(f"a day of {arguments.fills:,} fills is made …")
            land_day(url, DAY, arguments.fills, venues=arguments.venues)
            environment = archive_environment(stack.state, endpoints)
            (folder / "environment.json").write_text(json.dumps(environment))
            keys.make_key_file(folder / "keys")
            signing.make_key_file(folder / "signer")
            make_bucket(endpoints, _BUCKET)
            others = Others()
            command = [sys.executable, "-m", "bench.archive", "--measured", url, str(folder)]
            figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            figures["share_of_others"] = others.share()
            figures["plain_read_seconds"] = round(plain_read(url), 1)
        finally:
            stack.stop()
    verdicts = judged(figures, arguments.fills)
    if arguments.json:
        sys.stdout.write(json.dumps({"figures": figures, "verdicts": verdicts}) + "\n")
    for label, value in figures.items():
        console.print(f"{label:32} {value:>12,}")
    for label, said in verdicts.items():
        console.print(f"{label:32} {said:>12}")
    return outcome(verdicts)


def judged(figures: dict[str, float], fills: int) -> dict[str, str]:
    """Say of each promise whether it is kept, broken, or not proven: missed while others had the processors."""
    return {
        f"{SECONDS * fills / 1e6:g} s": verdict(
            is_kept=figures["archive_seconds"] <= SECONDS * fills / 1e6, share_of_others=figures["share_of_others"]
        ),
        f"{MEGABYTES:g} MB": verdict(is_kept=figures["memory_mb"] <= MEGABYTES, share_of_others=0.0),
        "the same again is nothing new": verdict(is_kept=not figures["new_revisions_again"], share_of_others=0.0),
        "reads back as it was": verdict(is_kept=not figures["wrong"], share_of_others=0.0),
    }


if __name__ == "__main__":
    sys.exit(main())
