"""The secrets of the process itself as references: of Postgres, Redis, Kafka and the object store.

They are read once, before anything is connected, and stay until the process is started again: a server's password
is changed with both valid, or with the process stopped. Secrets of venues are watched (``credentials``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from streaming.credential_metrics import CredentialMetrics
from streaming.errors import SettingsError, StreamingError
from trust.errors import CredentialsError, GoneError
from trust.references import LEASE, is_reference, parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streaming.settings import Settings
    from trust.credentials import VaultReader

SECONDS = 60.0  # that Vault may take to be there
_AGAIN_SECONDS = 1.0

log = structlog.get_logger()


def own_references(settings: Settings) -> Iterator[str]:
    """Give the references among the settings that may hold a secret of the process itself."""
    texts: list[str] = []

    def take(text: str) -> str:
        texts.append(text)
        return text

    _each(settings, take)
    yield from filter(is_reference, texts)


def check(reference: str) -> None:
    """Raise ``ValueError`` for one that cannot be read once."""
    parse_reference(reference)
    if reference.startswith(LEASE):
        raise ValueError(
            f"{reference}: what is lent ends, and this is read once, at the start: vault: is required"
        )


async def settled(settings: Settings, seconds: float = SECONDS) -> Settings:
    """Give the settings with the values in place of those references.

    Raises ``SettingsError`` where Vault has no such secret, ``StreamingError`` where it cannot be asked in time.
    """
    wanted = sorted(set(own_references(settings)))
    if not wanted:
        return settings
    from streaming.trusting import Trust  # noqa: PLC0415  and gRPC
    from trust.credentials import VaultReader  # noqa: PLC0415  half of it is loading HTTP clients

    trust = Trust(settings, CredentialMetrics(CollectorRegistry()))
    assert trust.vault is not None, "settings without it are refused"
    reader = VaultReader(trust.vault, 0.0)
    await trust.start()
    try:
        async with asyncio.timeout(seconds):
            found = {text: await _read(reader, text) for text in wanted}
    except TimeoutError as error:
        raise StreamingError(f"Vault could not be asked for our own secrets for {seconds:g} s") from error
    finally:
        trust.close()
    log.info("our own secrets were read", paths=[parse_reference(text).place for text in wanted])
    return _each(settings, lambda text: found.get(text, text))


async def _read(reader: VaultReader, text: str) -> str:
    reference = parse_reference(text)
    while True:
        try:
            held = await asyncio.to_thread(reader.read, reference.place)
            return held.value(reference.field)
        except GoneError as error:
            raise SettingsError(f"setting {text}: {error}") from error
        except KeyError:
            raise SettingsError(f"setting {text}: there is no such field, or it is no text") from None
        except CredentialsError as error:
            log.warning("our own secrets cannot be read yet", path=reference.place, why=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)


def _each(settings: Settings, give: Callable[[str], str]) -> Settings:
    """Give the settings with each own secret replaced by what ``give`` makes of it."""

    def secret(value: SecretStr) -> SecretStr:
        return SecretStr(give(value.get_secret_value()))

    publisher = settings.publisher_postgres_url
    kafka, audit = settings.kafka, settings.audit
    options = {name: give(value) for name, value in kafka.options.items()}
    if audit is not None:
        keys = {"s3_access_key": give(audit.s3_access_key), "s3_secret_key": secret(audit.s3_secret_key)}
        audit = audit.model_copy(update=keys)
    return settings.model_copy(
        update={
            "postgres_url": secret(settings.postgres_url),
            "publisher_postgres_url": None if publisher is None else secret(publisher),
            "redis_url": secret(settings.redis_url),
            "kafka": kafka.model_copy(update={"options": options}),
            "audit": audit,
        }
    )
