"""What a run of the simulator is told: one JSON file, read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

VenueKind = Literal["fix", "websocket", "rest"]


class ConfigError(Exception):
    """The configuration cannot be used; the message names the field, its value and what was expected."""


class SymbolConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An instrument: decimals are strings, prices on ``tick``, quantities on ``lot``."""

    symbol: str
    price: str
    tick: str
    lot: str
    typical_qty: str
    """Median order quantity."""
    volatility: float = 0.6
    """Of the mid, annualised."""
    spread_ticks: float = 4.0
    """The level that the spread returns to."""
    currency: str = "USDT"


class VenueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A venue: ``port`` is listened on (fix, websocket; 0 = any free one), ``url`` is called (rest)."""

    name: str
    kind: VenueKind
    mirror_of: str = ""
    """A second feed of the venue of that name: the same reports by another wire, and no orders of its own."""
    account: str = "ACC-1"
    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    """Base URL of the callee, without the path (rest)."""
    secret: str = ""
    """Standard Webhooks secret, ``whsec_`` + base64 (rest)."""
    key: str = ""
    """What a client must show: Password(554) of its Logon (fix), a bearer (websocket); empty: nobody is asked."""
    sender_comp_id: str = ""
    """The venue's own (fix); its name where empty."""
    target_comp_id: str = "EXECUTIONAGENT"
    latency_ms: float = 25.0
    """Median time from the routed order to its first fill."""
    concurrency: int = 8
    """Requests in flight (rest)."""
    resend_limit: int = 0
    """Messages that one ResendRequest may ask for (fix): one for more is refused; 0 is no limit."""
    look_back_port: int | None = None
    """Where the venue lists its fills over REST (0 = any free one); null: it does not."""
    look_back_key: str = ""
    """Asked for as a bearer, or beside the signature; empty: nobody is asked."""
    look_back_secret: str = ""
    """Requests must be signed with it."""
    look_back_per_second: int = 10
    """More requests within a second are refused with 429."""
    look_back_retry: int = 1
    """Retry-After of these, in seconds."""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    """CA that clients must show a certificate of (fix, websocket), or that the callee's is checked by (rest)."""


class FaultRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often each fault strikes: the share of reports, unless said otherwise."""

    duplicate: float = 0.02
    swapped: float = 0.015
    late: float = 0.01
    lost: float = 0.005
    garbled: float = 0.002
    withheld: float = 0.0
    """Never sent: only in the venue's list of fills."""
    malformed: float = 0.003
    dropped: float = 0.0007
    stale: float = 0.004
    bust: float = 0.008
    """Share of fills."""
    correct: float = 0.008
    """Share of fills."""
    correct_again: float = 0.25
    """Share of corrects."""
    intent_late: float = 0.02
    """Share of intents."""
    intent_twice: float = 0.01
    """Share of intents."""
    snapshot_twice: float = 0.003
    """Share of snapshots."""


NO_FAULTS = FaultRates(**dict.fromkeys(FaultRates.__struct_fields__, 0.0))

DEFAULT_SYMBOLS = (
    SymbolConfig("BTCUSDT", "61685.99", "0.01", "0.00001", "0.05000"),
    SymbolConfig("ETHUSDT", "2680.40", "0.01", "0.0001", "1.2000"),
    SymbolConfig("SOLUSDT", "162.35", "0.01", "0.001", "18.000"),
)

PRACTICE_SECRET = "whsec_c2ltdWxhdG9y"  # noqa: S105 - everybody may know it
DEFAULT_VENUES = (
    VenueConfig("ALPHA", "fix", account="ALPHA-1", port=9871),
    VenueConfig("BRAVO", "websocket", account="BRAVO-1", port=9872),
    VenueConfig("CHARLIE", "rest", account="CHARLIE-1", url="http://127.0.0.1:8080", secret=PRACTICE_SECRET),
)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a run is told. A field that is left out has the value below."""

    state_dir: str
    seed: int = 1
    duration_seconds: float | None = None
    """After it no new orders are made; null: endless."""
    kafka_bootstrap: str = ""
    """Empty: no intents and no snapshots are produced."""
    topic_prefix: str = ""
    venues: tuple[VenueConfig, ...] = DEFAULT_VENUES
    symbols: tuple[SymbolConfig, ...] = DEFAULT_SYMBOLS
    orders_per_second: float = 10.0
    fills_per_order: float = 4.0
    fill_gap_seconds: float = 0.5
    """Mean time between two fills of an order."""
    snapshots_per_second: float = 20.0
    """A symbol."""
    speed: float = 1.0
    captures: tuple[str, ...] = ()
    """Captured market files, played one after another instead of the generated market."""
    faults: FaultRates = FaultRates()
    control_port: int = 0
    grace_seconds: float = 20.0
    """How long a stopping simulator goes on delivering."""
    id_tag: str = ""
    """Goes into every identifier; empty: made from the time at which ``state_dir`` was first used."""

    @property
    def trading(self) -> tuple[VenueConfig, ...]:
        """The venues that take orders."""
        return tuple(venue for venue in self.venues if not venue.mirror_of)

    def __post_init__(self) -> None:
        """Say at once what cannot work."""
        for name in ("orders_per_second", "snapshots_per_second", "speed", "fill_gap_seconds"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0, was {getattr(self, name)}")
        if self.fills_per_order < 1:
            raise ConfigError(f"fills_per_order must be >= 1, was {self.fills_per_order}")
        self._check_venues()
        for name in FaultRates.__struct_fields__:
            if not 0 <= getattr(self.faults, name) <= 1:
                raise ConfigError(f"faults.{name} must be from 0 to 1, was {getattr(self.faults, name)}")

    def _check_venues(self) -> None:
        if not self.trading or not self.symbols:
            raise ConfigError("venues and symbols must name at least one each")
        names = {venue.name for venue in self.trading}
        for venue in self.venues:
            if venue.mirror_of and venue.mirror_of not in names:
                raise ConfigError(f"venue {venue.name}: mirror_of must name a venue, was {venue.mirror_of!r}")
            if venue.kind == "rest" and not (venue.url.startswith(("http://", "https://")) and venue.secret):
                raise ConfigError(f"venue {venue.name}: a rest venue needs url (http/https) and secret")
        if self.faults.withheld and any(venue.look_back_port is None for venue in self.trading):
            raise ConfigError("faults.withheld needs look_back_port of every venue: else fills are lost for good")


def load(path: Path) -> Config:
    """Read a configuration; what is wrong with it is said with the file's name."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Config)
    except (OSError, msgspec.DecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error
