"""What the archives need: a bucket with Object Lock, wrapping keys, a signing key, how long records are kept.

All by environment; docs/operations.md lists it. The object store's address and credentials are the AWS SDK's own
(``AWS_ENDPOINT_URL_S3``, profiles, web identity), those of Vault are Vault's (``VAULT_ADDR``, ``VAULT_TOKEN``).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from execution_assets.archives.errors import ArchiveSettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET_VARIABLE = "EXECUTION_AGENT_ARCHIVE_BUCKET"
KEYS_VARIABLE = "EXECUTION_AGENT_ARCHIVE_KEYS"
SIGNER_VARIABLE = "EXECUTION_AGENT_ARCHIVE_SIGNER"
NAME_VARIABLE = "EXECUTION_AGENT_ARCHIVE_NAME"
VERIFIERS_VARIABLE = "EXECUTION_AGENT_ARCHIVE_VERIFIERS"
YEARS_VARIABLE = "EXECUTION_AGENT_ARCHIVE_YEARS"
VARIABLES = (BUCKET_VARIABLE, KEYS_VARIABLE, SIGNER_VARIABLE, NAME_VARIABLE, VERIFIERS_VARIABLE, YEARS_VARIABLE)

TRANSIT = "transit:"
DEFAULT_NAME = "execution-agent/archive"
DEFAULT_YEARS = 7
# 17 CFR 240.17a-4(a) keeps the ledgers of trades for six years, FINRA 4511(b) all that has no period of its own;
# MiFIR art. 25(1) asks for five
FLOOR_YEARS = {"fills": 6, "audit": 6}
_LEAP_MONTH, _LEAP_DAY = 2, 29


class ArchiveSettings(msgspec.Struct, frozen=True):
    """``keys`` and ``signer``: a file's path, or ``transit:MOUNT/KEY``. ``verifiers``: earlier signers."""

    bucket: str
    keys: str
    signer: str
    years: dict[str, int]
    name: str = DEFAULT_NAME
    verifiers: tuple[str, ...] = ()

    def retain_until(self, record_class: str, day: date, now: datetime) -> datetime:
        """Give when a day's records may go: after its last moment and the years, and never before tomorrow."""
        year = day.year + self.years[record_class]
        leap = (day.month, day.day) == (_LEAP_MONTH, _LEAP_DAY)
        last = date(year, 3, 1) if leap else day.replace(year=year) + timedelta(days=1)
        return max(datetime.combine(last, time(), UTC), now + timedelta(days=1))


def settings_from(environment: Mapping[str, str]) -> ArchiveSettings:
    """Read the settings. Raises ``ArchiveSettingsError`` naming the variable, its value, the rule, the remedy."""
    missing = [name for name in (BUCKET_VARIABLE, KEYS_VARIABLE, SIGNER_VARIABLE) if not environment.get(name)]
    if missing:
        raise ArchiveSettingsError(
            f"archives are not configured: set {', '.join(missing)} (docs/archives.md, Setting up)"
        )
    verifiers = environment.get(VERIFIERS_VARIABLE, "").split()
    return ArchiveSettings(
        bucket=environment[BUCKET_VARIABLE],
        keys=key_place(KEYS_VARIABLE, environment[KEYS_VARIABLE]),
        signer=key_place(SIGNER_VARIABLE, environment[SIGNER_VARIABLE]),
        years=years_from(environment.get(YEARS_VARIABLE, "")),
        name=environment.get(NAME_VARIABLE) or DEFAULT_NAME,
        verifiers=tuple(verifiers),
    )


def years_from(text: str) -> dict[str, int]:
    """Read ``fills=7 audit=10``; a class that is not named is kept for the default."""
    years = dict.fromkeys(FLOOR_YEARS, DEFAULT_YEARS)
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        if name not in FLOOR_YEARS or not value.isascii() or not value.isdigit():
            raise ArchiveSettingsError(
                f"{YEARS_VARIABLE}={text!r}: CLASS=YEARS is required, of the classes {', '.join(FLOOR_YEARS)}; "
                f"was {part!r}"
            )
        years[name] = int(value)
    for name, count in years.items():
        if count < FLOOR_YEARS[name]:
            raise ArchiveSettingsError(
                f"{YEARS_VARIABLE}={text!r}: records of class {name} are kept for at least "
                f"{FLOOR_YEARS[name]} years, was {count}"
            )
        if count > 100:  # noqa: PLR2004
            raise ArchiveSettingsError(f"{YEARS_VARIABLE}={text!r}: at most 100 years, was {count}")
    return years


def key_place(variable: str, value: str) -> str:
    """Check where a key is said to be."""
    mount, _, key = value.removeprefix(TRANSIT).rpartition("/")
    if value.startswith(TRANSIT) and not (mount and key):
        raise ArchiveSettingsError(
            f"{variable}={value!r}: transit:MOUNT/KEY is required, such as transit:transit/archive"
        )
    if not value.startswith(TRANSIT) and not Path(value).is_absolute():
        raise ArchiveSettingsError(f"{variable}={value!r}: an absolute path or transit:MOUNT/KEY is required")
    return value
