"""The rules' settings as the domain wants them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ledger.domain.completeness import AuditPolicy
from ledger.domain.decide import Policy
from ledger.domain.delays import DelayPolicy
from ledger.domain.failover import FailoverPolicy
from ledger.domain.halts import HaltPolicy
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.times import NANOS
from ledger.domain.tolerances import Grace, Tolerances
from streaming.feeds.names import backup_feed, look_back_feed
from streaming.venues import DECODERS

if TYPE_CHECKING:
    from decimal import Decimal

    from streaming.settings import DelaySettings, HaltSettings, Settings
    from streaming.venues.decoded import Decoder

_MILLISECOND = 1_000_000


def policy_of(settings: Settings) -> Policy:
    """Give the policy in force."""
    grace = settings.grace
    return Policy(
        SlippagePolicy(_nanos(settings.stale_snapshot_seconds), settings.benchmark_price),
        {name: Tolerances(**venue.tolerances.model_dump()) for name, venue in settings.venues.items()},
        Grace(_nanos(grace.gap_seconds), _nanos(grace.reference_seconds), _nanos(grace.intent_seconds)),
        delay_policies_of(settings),
    )


def failover_policies_of(settings: Settings) -> dict[str, FailoverPolicy]:
    """Give when each venue's feed counts as out, and as well again."""
    return {
        name: FailoverPolicy(
            _nanos(venue.failover.silence_seconds),
            _nanos(venue.failover.quiet_seconds),
            _nanos(venue.failover.gap_seconds),
            _nanos(venue.failover.healthy_seconds),
        )
        for name, venue in settings.venues.items()
    }


def halt_policies_of(settings: Settings) -> dict[str, HaltPolicy]:
    """Give the limits of each venue that may be halted by itself."""
    return {name: _halt_policy(venue.halt) for name, venue in settings.venues.items() if venue.halt.enabled}


def delay_policies_of(settings: Settings) -> dict[str, DelayPolicy]:
    """Give what is expected of each venue whose orders are watched."""
    return {name: _delay_policy(venue.delay) for name, venue in settings.venues.items() if venue.delay.enabled}


def venues_to_ask(settings: Settings) -> frozenset[str]:
    """Give the venues that are asked for their late orders."""
    return frozenset(name for name, venue in settings.venues.items() if venue.delay.status_request)


def _delay_policy(delay: DelaySettings) -> DelayPolicy:
    return DelayPolicy(
        floor_ns=_nanos(delay.floor_seconds),
        ceiling_ns=_nanos(delay.ceiling_seconds),
        market_ns=None if delay.market_seconds is None else _nanos(delay.market_seconds),
        limit_ns=None if delay.limit_seconds is None else _nanos(delay.limit_seconds),
        samples=delay.samples,
        snapshot_age_ns=_nanos(delay.snapshot_age_seconds),
        hedge_limits=dict(delay.hedge_limits),
    )


def _halt_policy(halt: HaltSettings) -> HaltPolicy:
    sla_ns = halt.sla_ms * _MILLISECOND
    routed_sla_ns = halt.routed_sla_ms * _MILLISECOND
    return HaltPolicy(
        sla_ns=sla_ns,
        routed_sla_ns=routed_sla_ns,
        calm_routed_sla_ns=int(routed_sla_ns * halt.resume_ratio),
        window_ns=_nanos(halt.window_seconds),
        reports=halt.reports,
        in_a_row=halt.in_a_row,
        silence_ns=_nanos(halt.silence_seconds),
        deaf_ns=_nanos(halt.deaf_seconds),
        calm_sla_ns=int(sla_ns * halt.resume_ratio),
        calm_ns=_nanos(halt.resume_seconds),
        calm_reports=halt.resume_reports,
        skew_ns=halt.max_clock_skew_ms * _MILLISECOND,
    )


def audit_policies_of(settings: Settings) -> dict[str, AuditPolicy]:
    """Give when each venue that has a list of fills is audited."""
    return {
        name: AuditPolicy(
            _nanos(back.audit_minutes * 60),
            _nanos(back.window_seconds),
            _nanos(back.overlap_seconds),
            _nanos(back.grace_seconds),
        )
        for name, venue in settings.venues.items()
        if (back := venue.look_back) is not None
    }


def _nanos(seconds: Decimal) -> int:
    return int(seconds * NANOS)


def decoders_of(settings: Settings) -> dict[str, Decoder]:
    """Give each venue's decoder, and by the feed's name that of a backup: it may speak another format.

    They have the account that reports are of where they do not say.
    """
    found: dict[str, Decoder] = {}
    for name, venue in settings.venues.items():
        found[name] = partial(DECODERS[venue.format], account=venue.account)
        if venue.backup is not None:
            feed = backup_feed(name, venue.backup.feed.kind)
            found[feed] = partial(DECODERS[venue.backup.format or venue.format], account=venue.account)
        if venue.look_back is not None:
            spoken = venue.look_back.format or venue.format
            found[look_back_feed(name)] = partial(DECODERS[spoken], account=venue.account)
    return found
