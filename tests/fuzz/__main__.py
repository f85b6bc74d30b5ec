"""Fuzz the decoders for some minutes, every format in turn; what is found is kept as a file each."""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.corpus import corpus
from tests.fuzz.judging import FindingError, judge
from tests.fuzz.mutations import mutant

_WEIGHED = 50  # one in so many is weighed: tracing memory is slow
_PROGRESS_SECONDS = 10.0


def main() -> int:
    """Run; exit 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="of the messages; else one of its own, printed")
    parser.add_argument("--keep", type=Path, default=Path(".state/fuzz"), help="folder of what is found")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)  # noqa: T201
    tried, facts, found = fuzz(seed, options.minutes * 60, options.keep)
    for target in sorted(tried):
        print(f"{target:<16} {tried[target]:>9,} messages {facts[target]:>9,} facts {found[target]:>4} findings")  # noqa: T201
    total = found.total()
    print(f"{tried.total():,} messages, {total} findings" + (f" in {options.keep}" if total else ""))  # noqa: T201
    return 1 if total else 0


def fuzz(seed: int, seconds: float, keep: Path | None = None) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Give messages tried, facts and findings by format; what is found is written to ``keep``."""
    source, messages = random.Random(seed), corpus()
    tried, facts, found = Counter[str](), Counter[str](), Counter[str]()
    began = told = time.monotonic()
    while time.monotonic() - began < seconds:
        for target, known in messages.items():
            raw = mutant(source, known)
            tried[target] += 1
            try:
                facts[target] += judge(target, raw, weigh=tried[target] % _WEIGHED == 0)
            except FindingError as finding:
                found[target] += 1
                _keep(keep, target, raw, finding)
        if time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            left = seconds - (told - began)
            sys.stderr.write(f"{tried.total():,} messages, {found.total()} findings, {left:,.0f} s left\n")
    return tried, facts, found


def _keep(folder: Path | None, target: str, raw: bytes, finding: FindingError) -> None:
    sys.stderr.write(f"{finding}\n")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{target}-{hashlib.sha256(raw).hexdigest()[:12]}").write_bytes(raw)


if __name__ == "__main__":
    sys.exit(main())
