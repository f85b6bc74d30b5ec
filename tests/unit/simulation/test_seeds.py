"""A thousand seeds, every invariant checked after every step; spread so that the workers share them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.planted import PLANTED
from simulation.process import Parts
from simulation.world import SCALES, simulate
from tests.unit.simulation.seeds import FOUND, FOUND_LONG

SMALL = SCALES["small"]
SEEDS, SHARES = 1_000, 20
PLANTED_SEEDS = 24
TRUSTING_SEEDS = (38, 88, 268, *range(300))  # the first that finds it ends the search
ROOT = Path(__file__).parents[3]
_DIGESTS = """
from simulation.world import SCALES, simulate
print([simulate(seed, SCALES["small"]).trace_digest for seed in range(5, 9)])
"""


@pytest.mark.parametrize("share", range(SHARES))
def test_every_invariant_holds_after_every_step(share: int) -> None:
    size = SEEDS // SHARES
    for seed in range(share * size, (share + 1) * size):
        outcome = simulate(seed, SMALL)
        assert outcome.violation is None, (
            f"python -m simulation --seed {seed} --scale small --trace: {outcome.violation}"
        )


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_has_found_stays_mended(seed: int) -> None:
    assert simulate(seed).violation is None, FOUND[seed]


@pytest.mark.parametrize("seed", FOUND_LONG)
def test_what_a_long_seed_has_found_stays_mended(seed: int) -> None:
    assert simulate(seed, SCALES["long"]).violation is None, FOUND_LONG[seed]


@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        ("ack-before-commit", "nothing is acknowledged before it is committed"),
        ("position-ahead-of-rows", "positions are never beyond the rows"),
        ("duplicate-window", "no duplicate row"),
    ],
)
def test_a_planted_bug_is_found_and_only_it(plant: str, invariant: str) -> None:
    found: list[int] = []
    for seed in range(PLANTED_SEEDS):
        violation = simulate(seed, SMALL, PLANTED[plant]()).violation
        if violation is not None:
            assert invariant in violation
            found.append(seed)
    assert len(found) > 1, f"found by {found}"
    for seed in found:
        assert simulate(seed, SMALL, Parts()).violation is None


def test_a_publisher_that_trusts_what_it_is_told_is_found() -> None:
    assert any(
        "in order per key" in (simulate(seed, parts=PLANTED["no-catch-up"]()).violation or "")
        for seed in TRUSTING_SEEDS
    )


def test_one_seed_is_one_run_whatever_the_hash_seed() -> None:
    def digests(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    assert digests("1") == digests("2") == f"{[simulate(seed, SMALL).trace_digest for seed in range(5, 9)]}\n"


def test_two_seeds_are_two_runs() -> None:
    assert simulate(1, SMALL).trace_digest != simulate(2, SMALL).trace_digest


def test_a_trace_says_what_happened_and_when() -> None:
    outcome = simulate(3, SMALL, keep_trace=True)
    assert any("commits" in line for line in outcome.trace)
    assert outcome.trace[-1].endswith(f"executions {outcome.executions_digest[:16]}")
