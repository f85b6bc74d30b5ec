"""Settings of the streaming process: environment variables or one TOML file, checked before anything starts.

``EXECUTION_AGENT_CONFIG`` names the TOML file; any setting may come from the environment instead, which wins
(``EXECUTION_AGENT_POSTGRES_URL``, nested with ``__``: ``EXECUTION_AGENT_KAFKA__BOOTSTRAP``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as SourceError

from streaming.addresses import PostgresUrl, RedisUrl
from streaming.errors import SettingsError
from streaming.feeds.names import backup_feed, primary_feed
from streaming.look_back.formats import unfit
from streaming.own_secrets import check, own_references
from streaming.references import references_in
from streaming.trust_settings import IdentitySettings, SpiffeId, VaultSettings
from streaming.venues import DECODERS
from trust.references import parse_reference

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "EXECUTION_AGENT_"
CONFIG_VARIABLE = PREFIX + "CONFIG"
_VENUE_PREFIX = PREFIX + "VENUES__"
_NESTED = "__"
_OTHERS = frozenset(  # of the command line, of Dagster's processes, of the tests
    {"CONFIG", "STATE", "REQUIRE_SHARED", "FIRST_TRADE_DATE", "SENSOR_SECONDS", "DERIVE_EVERY_SECONDS"}
    | {"FAULT", "FAULTS"}  # of crash tests, docs/chaos.md
    | {"ARCHIVE_BUCKET", "ARCHIVE_KEYS", "ARCHIVE_SIGNER", "ARCHIVE_NAME", "ARCHIVE_VERIFIERS", "ARCHIVE_YEARS"}
    | {"PERSON", "AUDITOR_URL"}
)
_PARTS = frozenset({"kafka", "http", "venues", "grace", "audit", "identity", "vault"})
_SECRET_OPTIONS = ("password", "secret", "ssl.key.pem", "sasl.oauthbearer.config")  # of librdkafka's names
_IN_FEED = 3  # parts of venues.*.feed
_NAMED_IN = "docs/operations.md, Settings"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FixFeedSettings(_Part):
    """A FIX drop copy session, which we initiate."""

    kind: Literal["fix"] = "fix"
    host: str
    port: int = Field(gt=0, lt=65536)
    sender_comp_id: str
    target_comp_id: str
    begin_string: Literal["FIX.4.2", "FIX.4.4", "FIXT.1.1"] = "FIX.4.4"
    appl_ver_id: Literal["7", "8", "9"] = Field(
        default="9", description="of FIXT.1.1, DefaultApplVerID(1137): 7 is FIX 5.0, 8 is 5.0SP1, 9 is 5.0SP2"
    )
    heartbeat_seconds: int = Field(default=10, ge=1, le=3600)
    reconnect_seconds: int = Field(default=1, ge=1, le=3600)
    resend_limit: int = Field(
        default=0, ge=0, description="messages that one ResendRequest may ask for (CME: 2500); 0 is no limit"
    )
    store: Path = Field(description="folder of the session's message store; keep it between starts")
    username: str = Field(default="", description="Username(553) of the Logon")
    password: SecretStr = Field(default=SecretStr(""), description="Password(554) of the Logon")
    tls: bool = False
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None


class WebSocketFeedSettings(_Part):
    """A venue's WebSocket, which we connect to."""

    kind: Literal["websocket"] = "websocket"
    url: str = Field(pattern=r"^wss?://")
    token: SecretStr = Field(default=SecretStr(""), description="shown as Authorization: Bearer")
    silence_seconds: float = Field(default=5.0, gt=0, description="no frame for so long: connect again")
    reconnect_max_seconds: float = Field(default=5.0, gt=0)


class RestFeedSettings(_Part):
    """A venue that calls us: what any of ``secrets`` has signed counts, and what any of ``peers`` brings."""

    kind: Literal["rest"] = "rest"
    secrets: list[SecretStr] = Field(default_factory=list, description="Standard Webhooks secrets, whsec_…")
    peers: list[SpiffeId] = Field(default_factory=list, description="SPIFFE IDs that need not sign (mTLS)")

    @model_validator(mode="after")
    def _lets_somebody_in(self) -> RestFeedSettings:
        if not self.secrets and not self.peers:
            raise PydanticCustomError("nobody", "secrets or peers must name at least one: nobody may call")
        return self


FeedSettings = Annotated[FixFeedSettings | WebSocketFeedSettings | RestFeedSettings, Field(discriminator="kind")]


class ToleranceSettings(_Part):
    """How far one venue's reports may differ from the order before it is a break."""

    cum_qty: Decimal = Field(default=Decimal(0), ge=0, description="CumQty, in units of the instrument")
    avg_px_bps: Decimal = Field(default=Decimal(1), ge=0, description="AvgPx, which venues round, in bps")
    overfill_qty: Decimal = Field(default=Decimal(0), ge=0, description="quantity beyond OrderQty")
    limit_price_bps: Decimal = Field(default=Decimal(0), ge=0, description="price beyond the limit, in bps")


class GraceSettings(_Part):
    """How long a report on its way is waited for before it is said to be missing."""

    gap_seconds: Decimal = Field(default=Decimal(10), gt=0, description="a fill that the venue's CumQty counts")
    reference_seconds: Decimal = Field(default=Decimal(30), gt=0, description="what a bust or correct refers to")
    intent_seconds: Decimal = Field(default=Decimal(30), gt=0, description="the intent of a fill")


class HaltSettings(_Part):
    """When one venue is halted by itself, and when it goes on."""

    enabled: bool = Field(default=True, description="whether it is ever halted but by a person")
    sla_ms: int = Field(default=5000, gt=0, description="a confirmation that takes longer is late")
    routed_sla_ms: int = Field(
        default=0, ge=0, description="the first that is heard of an order since it was routed; 0 is off"
    )
    window_seconds: Decimal = Field(default=Decimal(60), gt=0, description="span of the window")
    reports: int = Field(default=200, ge=1, le=2000, description="the window's p95 counts from so many reports on")
    in_a_row: int = Field(default=100, ge=0, le=2000, description="late reports in a row that halt; 0 is off")
    silence_seconds: Decimal = Field(
        default=Decimal(0), ge=0, description="nothing heard for so long while orders are open halts; 0 is off"
    )
    deaf_seconds: Decimal = Field(
        default=Decimal(30), ge=0, description="no feed up for so long while orders are open halts; 0 is off"
    )
    resume_ratio: Decimal = Field(default=Decimal("0.8"), gt=0, le=1, description="p95 / sla_ms that is calm")
    resume_seconds: Decimal = Field(default=Decimal(30), gt=0, description="calm for so long resumes")
    resume_reports: int = Field(default=20, ge=1, le=2000, description="reports that calm begins with")
    max_clock_skew_ms: int = Field(default=1000, gt=0, description="the venue's clock may be off by so much")


class DelaySettings(_Part):
    """When an order in flight at one venue is late, and which exposure is hedged meanwhile."""

    enabled: bool = Field(default=True, description="whether orders in flight are watched")
    floor_seconds: Decimal = Field(default=Decimal(2), gt=0, description="the least that is expected of an order")
    ceiling_seconds: Decimal = Field(
        default=Decimal(30), gt=0, description="the most; also while too few past orders are known"
    )
    market_seconds: Decimal | None = Field(
        default=None, gt=0, description="expected of market orders, instead of what is learned"
    )
    limit_seconds: Decimal | None = Field(
        default=None, gt=0, description="expected of marketable limit orders, instead of what is learned"
    )
    samples: int = Field(default=200, ge=1, le=1000, description="past orders that are learned from at least")
    snapshot_age_seconds: Decimal = Field(default=Decimal(30), gt=0, description="an older snapshot is none")
    status_request: bool = Field(
        default=True, description="whether the venue is asked for a late order's state, where it can be"
    )
    hedge_limits: dict[str, Decimal] = Field(
        default_factory=dict, description="exposure that may go without a hedge, by currency; others never hedge"
    )

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> DelaySettings:
        if self.floor_seconds > self.ceiling_seconds:
            raise ValueError(
                f"floor_seconds {self.floor_seconds} is above ceiling_seconds {self.ceiling_seconds}: lower it"
            )
        for currency, limit in self.hedge_limits.items():
            if not limit.is_finite() or limit < 0:
                raise ValueError(f"hedge_limits {currency} is {limit}: a limit is a number of at least 0")
        return self


class LookBackSettings(_Part):
    """The venue's list of fills, which is asked for what its feed did not bring."""

    url: str = Field(pattern=r"^https?://", description="where the venue answers, without the path")
    format: str = Field(default="", description="of the list, where it is not the venue's")
    key: SecretStr = SecretStr("")
    secret: SecretStr = SecretStr("")
    symbols: list[str] = Field(default_factory=list, description="asked for one by one, where the API wants one")
    pairs: dict[str, str] = Field(default_factory=dict, description="the list's names of symbols, and the feed's")
    requests_per_second: Decimal = Field(default=Decimal(1), gt=0, le=1000, description="never more")
    page_size: int = Field(default=500, ge=1, le=1000, description="fills in an answer")
    timeout_seconds: Decimal = Field(default=Decimal(10), gt=0, description="of one request")
    tls_ca: Path | None = Field(default=None, description="authority of the venue's certificate")
    audit_minutes: Decimal = Field(default=Decimal(5), ge=0, description="between two audits; 0 is off")
    window_seconds: Decimal = Field(default=Decimal(3600), gt=0, le=86_400, description="span of one comparison")
    overlap_seconds: Decimal = Field(default=Decimal(60), ge=0, description="that one audit repeats of the last")
    grace_seconds: Decimal = Field(default=Decimal(15), ge=0, description="an audit ends so long before now")


def _known_format(name: str) -> str:
    if name not in DECODERS:
        known = ", ".join(DECODERS)
        raise PydanticCustomError(
            "unknown_format", "{name} is none of {known}", {"name": repr(name), "known": known}
        )
    return name


class BackupSettings(_Part):
    """The second way to a venue's reports: any kind of feed, in any format.

    Its account is the venue's: the account is part of what a fill is known by, and both feeds tell the same fills.
    """

    format: Annotated[str, AfterValidator(_known_format)] | None = Field(
        default=None, description="the venue's where it is not set"
    )
    feed: FeedSettings


class FailoverSettings(_Part):
    """When a venue's feed counts as out, and when the backup takes over and gives back; 0 turns a sign off."""

    mode: Literal["standby", "hot"] = Field(
        default="standby", description="the backup is connected on the switch only, or always"
    )
    silence_seconds: Decimal = Field(default=Decimal(10), gt=0, description="not connected, or no frame")
    quiet_seconds: Decimal = Field(
        default=Decimal(60), ge=0, description="no report though an order was routed since the last one"
    )
    gap_seconds: Decimal = Field(default=Decimal(30), ge=0, description="a gap in the numbers that is not filled")
    healthy_seconds: Decimal = Field(default=Decimal(30), gt=0, description="well for so long is well again")


class VenueSettings(_Part):
    """One venue: the format it speaks and how it reaches us."""

    format: Annotated[str, AfterValidator(_known_format)]
    feed: FeedSettings
    backup: BackupSettings | None = None
    failover: FailoverSettings = FailoverSettings()
    tolerances: ToleranceSettings = ToleranceSettings()
    halt: HaltSettings = HaltSettings()
    delay: DelaySettings = DelaySettings()
    account: str = Field(default="", description="whose the reports are where the venue does not say")
    look_back: LookBackSettings | None = None

    @model_validator(mode="after")
    def _list_is_readable(self) -> VenueSettings:
        if self.look_back is not None:
            format_name = self.look_back.format or self.format
            refusal = unfit(format_name, self.look_back.symbols, self.look_back.pairs)
            if refusal is not None:
                raise PydanticCustomError("look_back", "look_back.{refusal}", {"refusal": refusal})
        return self


class KafkaSettings(_Part):
    """The broker, and the topics' common prefix (none in production)."""

    bootstrap: str
    topic_prefix: str = ""
    partitions: int = Field(default=3, ge=1, le=256)
    transactional_id: str = "execution-agent.publisher"
    options: dict[str, str] = Field(default_factory=dict, description="passed to librdkafka as they are")
    ahead_seconds: float = Field(
        default=1.5, ge=0, le=60, description="after a start so long what waited on Kafka goes before the venues"
    )
    _identity: Callable[[], dict[str, str]] | None = PrivateAttr(default=None)

    def showing(self, identity: Callable[[], dict[str, str]]) -> KafkaSettings:
        """Give the same with the options that ``identity`` gives for each new client."""
        copy = self.model_copy()
        copy._identity = identity  # noqa: SLF001  our own copy
        return copy

    def client_options(self) -> dict[str, str]:
        """Give librdkafka's options as of now. Those of the settings come before those of the identity."""
        return {**(self._identity() if self._identity is not None else {}), **self.options}


class HttpSettings(_Part):
    """Where REST callbacks, /healthz, /readyz and /metrics are served."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, lt=65536)
    body_limit: int = Field(default=1 << 20, gt=0, description="bytes of a callback's body")
    timestamp_tolerance_seconds: int = Field(default=300, gt=0)
    tls: bool = Field(default=False, description="with our X.509-SVID; callers may show theirs (mTLS)")


def _key_place(place: str) -> str:
    mount, _, key = place.removeprefix("transit:").rpartition("/")
    if not (mount and key if place.startswith("transit:") else Path(place).is_absolute()):
        raise PydanticCustomError(
            "key_place", "{place} is neither an absolute path nor transit:MOUNT/KEY", {"place": repr(place)}
        )
    return place


class AuditSettings(_Part):
    """The audit log: who signs its checkpoints, and the bucket with Object Lock that keeps them."""

    bucket: str = Field(min_length=3, description="made with Object Lock")
    signer: Annotated[str, AfterValidator(_key_place)] = Field(
        description="Ed25519: the path of a key file (PEM), or transit:MOUNT/KEY of Vault"
    )
    origin: str = Field(
        default="dynamic.capital/execution-agent/audit",
        pattern=r"^[^\s+]+$",
        description="the log's name, for good: a URL without scheme",
    )
    verifiers: list[str] = Field(default_factory=list, description="earlier signers' keys, NAME+ID+BASE64")
    prefix: str = Field(default="audit/", pattern=r"^([^/]+/)*$", description="of the keys in the bucket")
    interval_seconds: float = Field(default=1.0, ge=0.1, le=60, description="at most, between two checkpoints")
    edge_seconds: float = Field(
        default=3600, ge=1, le=86_400, description="between two times that unfinished tiles are stored, too"
    )
    retention_years: int = Field(default=7, ge=6, le=100, description="that the bucket keeps each object")
    s3_endpoint: str = Field(default="", description="else of the AWS SDK's own settings")
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")


class _Environment(EnvSettingsSource):
    """Environment variables, with the venues' names as they are written: the base makes them lower case."""

    def __call__(self) -> dict[str, Any]:
        """Give what is set."""
        found = super().__call__()
        venues: dict[str, Any] = found.get("venues", {})
        for written in _written_venues():
            nested = venues.pop(written.lower(), None)
            if nested is not None:
                venues[written] = _merged(venues.get(written, {}), nested)
        return found


def _merged(under: Any, over: Any) -> Any:
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    return {**under, **{key: _merged(under.get(key), value) for key, value in over.items()}}


def _written_venues() -> list[str]:
    names = (v[len(_VENUE_PREFIX) :].split(_NESTED)[0] for v in os.environ if v.upper().startswith(_VENUE_PREFIX))
    written = sorted(set(names))
    for one, other in pairwise(sorted(written, key=lambda name: (name.lower(), name))):
        if one.lower() == other.lower():
            raise SettingsError(
                f"setting venues: the environment has {_VENUE_PREFIX}{one}… and {_VENUE_PREFIX}{other}…: "
                "write one venue's name in one way"
            )
    return written


class Settings(BaseSettings):
    """All of it. Unknown names are refused: a misspelt setting is not a default."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, toml_file=None
    )

    postgres_url: PostgresUrl = Field(description="postgresql://user:password@host:port/database")
    publisher_postgres_url: PostgresUrl | None = Field(
        default=None, description="the same database by the publisher's own login; else postgres_url's"
    )
    redis_url: RedisUrl = Field(description="redis://[:password@]host:port/db")
    kafka: KafkaSettings
    http: HttpSettings = HttpSettings()
    venues: dict[str, VenueSettings] = Field(min_length=1)
    writer: str = Field(default="execution-agent", description="name of the lease: one process a name writes")
    source: str = Field(default="spiffe://dynamic.capital/agent/execution", description="ce_source of events")
    grace: GraceSettings = GraceSettings()
    audit: AuditSettings | None = Field(default=None, description="off where it is not set")
    identity: IdentitySettings | None = Field(default=None, description="off where it is not set")
    vault: VaultSettings | None = Field(default=None, description="required by references to secrets")
    stale_snapshot_seconds: Decimal = Field(default=Decimal(5), gt=0)
    snapshot_out_seconds: Decimal = Field(
        default=Decimal(30), ge=0, description="no snapshot of a symbol with open orders for so long; 0 is off"
    )
    benchmark_price: Literal["mid", "microprice"] = Field(
        default="mid", description="which price of a snapshot is the benchmark"
    )
    batch_limit: int = Field(default=2000, ge=1, le=10_000)
    inbox_limit: int = Field(default=20_000, ge=100)
    fill_deadline_seconds: float = Field(default=30.0, gt=0, description="in-flight order: fill expected by then")
    refill_hours: float = Field(
        default=24.0, gt=0, description="how much a broker that lost its topics is refilled with"
    )

    @model_validator(mode="after")
    def _names_are_no_feeds(self) -> Settings:
        for name, venue in self.venues.items():
            for feed in feeds_of(name, venue):
                if feed in self.venues:
                    raise ValueError(f"venues {feed}: a feed of {name} has that name, give the venue another")
        return self

    @model_validator(mode="after")
    def _trust_is_complete(self) -> Settings:
        feeds = (feed for name, venue in self.venues.items() for feed in feed_settings(name, venue))
        called = [feed for feed, of in feeds if isinstance(of, RestFeedSettings) and of.peers]
        if called and not self.http.tls:
            raise ValueError(f"peers of {called[0]} need http.tls: without TLS nobody shows who they are")
        for what, needs in (("http.tls", self.http.tls), ("vault.role", self.vault and self.vault.role)):
            if needs and self.identity is None:
                raise ValueError(f"{what} needs the setting identity (docs/identity.md)")
        return self

    @model_validator(mode="after")
    def _references_can_be_read(self) -> Settings:
        own = [*own_references(self)]
        for reference in own:
            check(reference)
        for reference in references_in(self.venues):
            parse_reference(reference)
        for reference in (*own, *references_in(self.venues)):
            if self.vault is None:
                raise ValueError(f"{reference} needs the setting vault (docs/identity.md)")
        for text in references_in(self.model_copy(update={"venues": {}})):
            if text not in own:
                raise ValueError(f"{text}: only settings that hold a secret may be references (docs/identity.md)")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then environment, then the TOML file."""
        del env_settings, dotenv_settings, file_secret_settings
        environment = _Environment(settings_cls)
        path = os.environ.get(CONFIG_VARIABLE)
        if path is None:
            return (init_settings, environment)
        return (init_settings, environment, TomlConfigSettingsSource(settings_cls, Path(path)))


def feed_settings(name: str, venue: VenueSettings) -> tuple[tuple[str, FeedSettings], ...]:
    """Give a venue's feeds by name, the primary first."""
    primary = (primary_feed(name, venue.feed.kind), venue.feed)
    if venue.backup is None:
        return (primary,)
    return (primary, (backup_feed(name, venue.backup.feed.kind), venue.backup.feed))


def feeds_of(name: str, venue: VenueSettings) -> tuple[str, ...]:
    """Name a venue's feeds, the primary first."""
    return tuple(feed for feed, _ in feed_settings(name, venue))


def load_settings() -> Settings:
    """Read the settings in force; raises ``SettingsError`` with one line that names what is wrong."""
    path = os.environ.get(CONFIG_VARIABLE)
    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE}={path}: no such file")
    _refuse_unknown_variables()
    try:
        return Settings()  # type: ignore[call-arg]  # the values come from the sources
    except ValidationError as error:
        first = error.errors()[0]
        place = _place(first)
        name = ".".join(str(part) for part in place) or "settings"
        raise SettingsError(
            f"setting {name}: {first['msg']} (set it in the TOML file or as {_variable(place)})"
        ) from None
    except SourceError as error:  # a variable that is not the JSON it must be
        raise SettingsError(f"{error}: {error.__cause__}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None


def _refuse_unknown_variables() -> None:
    for variable in sorted(os.environ):
        if not variable.upper().startswith(PREFIX):
            continue
        name = variable[len(PREFIX) :]
        first, nested, _ = name.lower().partition(_NESTED)
        field = Settings.model_fields.get(first)
        if name.upper() in _OTHERS or (field is not None and (not nested or first in _PARTS)):
            continue  # what is wrong within a part is found when it is read
        raise SettingsError(f"environment variable {variable}: there is no such setting ({_NAMED_IN})")


def _place(error: ErrorDetails) -> tuple[int | str, ...]:
    """Where a setting is, without the tag that pydantic puts after ``venues.*.feed`` and ``….backup.feed``."""
    place = error["loc"]
    if len(place) < _IN_FEED or place[0] != "venues" or "feed" not in place[2:4]:
        return place
    end = place.index("feed", 2) + 1
    if error["type"].startswith("union_tag"):
        return (*place, "kind")
    return place[:end] + place[end + 1 :]


def _variable(place: tuple[int | str, ...]) -> str:
    """Name the environment variable of a setting: a list is one variable, a venue's name keeps its case."""
    parts = [str(part) for part in place if not isinstance(part, int)]
    return PREFIX + _NESTED.join(
        part if (parts[0], number) == ("venues", 1) else part.upper() for number, part in enumerate(parts)
    )


def masked(settings: Settings) -> dict[str, object]:
    """Give the settings in force as plain values, every secret as ``**********``."""
    dumped: dict[str, Any] = settings.model_dump(mode="json")
    for name, value in dumped["kafka"]["options"].items():
        if value and any(part in name for part in _SECRET_OPTIONS):
            dumped["kafka"]["options"][name] = "**********"
    return dumped
