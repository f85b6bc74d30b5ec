"""Buckets of ages: each begins where the one before it ends."""

import pytest

from ledger.domain.ageing import Age, age_of


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-1, Age.MINUTES), (0, Age.MINUTES), (119.999, Age.MINUTES), (120, Age.HOUR), (3599.999, Age.HOUR),
        (3600, Age.DAY), (86_399.999, Age.DAY), (86_400, Age.OLDER), (1e9, Age.OLDER),
    ],
)  # fmt: skip
def test_an_age_has_one_bucket(seconds: float, age: Age) -> None:
    assert age_of(seconds) is age
