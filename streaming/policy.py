"""The rules' settings as the domain wants them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.decide import Policy
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.times import NANOS
from ledger.domain.tolerances import Grace, Tolerances
from streaming.venues import DECODERS

if TYPE_CHECKING:
    from decimal import Decimal

    from streaming.settings import Settings
    from streaming.venues.decoded import Decoder


def policy_of(settings: Settings) -> Policy:
    """Give the policy in force."""
    grace = settings.grace
    return Policy(
        SlippagePolicy(_nanos(settings.stale_snapshot_seconds), settings.benchmark_price),
        {name: Tolerances(**venue.tolerances.model_dump()) for name, venue in settings.venues.items()},
        Grace(_nanos(grace.gap_seconds), _nanos(grace.reference_seconds), _nanos(grace.intent_seconds)),
    )


def _nanos(seconds: Decimal) -> int:
    return int(seconds * NANOS)


def decoders_of(settings: Settings) -> dict[str, Decoder]:
    """Give each venue's decoder, with the account that its reports are of where they do not say."""
    return {
        name: partial(DECODERS[venue.format], account=venue.account) for name, venue in settings.venues.items()
    }
