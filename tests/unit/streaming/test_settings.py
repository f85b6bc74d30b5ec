"""Settings: one line that names what is wrong, as people write it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ledger.domain.records import Captured, DeadLetter
from streaming.arrivals import Arrival, ArrivalKind
from streaming.decoding import decode_arrival
from streaming.errors import SettingsError
from streaming.policy import decoders_of
from streaming.settings import FixFeedSettings, WebSocketFeedSettings, feeds_of, load_settings

if TYPE_CHECKING:
    from pathlib import Path

FIX = {
    "kind": "fix", "host": "h", "port": 9000, "sender_comp_id": "US", "target_comp_id": "THEM", "store": "/tmp/s",
}  # fmt: skip
P = "EXECUTION_AGENT_"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(P)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(f"{P}POSTGRES_URL", "postgresql://h/d")
    monkeypatch.setenv(f"{P}REDIS_URL", "redis://h")
    monkeypatch.setenv(f"{P}KAFKA__BOOTSTRAP", "h:9092")
    monkeypatch.setenv(f"{P}VENUES", venues())


def venues(**changes: Any) -> str:
    feed = {name: value for name, value in {**FIX, **changes}.items() if value is not None}
    return json.dumps({"ALPHA": {"format": "fix44", "feed": feed}})


@pytest.mark.parametrize(
    ("changes", "setting", "variable"),
    [
        ({"port": 0}, "venues.ALPHA.feed.port:", "VENUES__ALPHA__FEED__PORT)"),
        ({"host": None}, "venues.ALPHA.feed.host:", "VENUES__ALPHA__FEED__HOST)"),
        ({"prot": 1}, "venues.ALPHA.feed.prot:", "VENUES__ALPHA__FEED__PROT)"),
        ({"kind": None}, "venues.ALPHA.feed.kind:", "VENUES__ALPHA__FEED__KIND)"),
        ({"kind": "fax"}, "venues.ALPHA.feed.kind:", "VENUES__ALPHA__FEED__KIND)"),
    ],
)
def test_an_error_names_the_setting_and_its_variable(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], setting: str, variable: str
) -> None:
    monkeypatch.setenv(f"{P}VENUES", venues(**changes))
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"setting {setting}")
    assert str(raised.value).endswith(P + variable)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("POSTGRES_URL", "host=db password=hunter2"),
        ("POSTGRES_URL", "postgresql://u:hunter2@db:port/d"),
        ("PUBLISHER_POSTGRES_URL", "mysql://u:hunter2@db/d"),
        ("REDIS_URL", "hunter2@cache:6379"),
        ("REDIS_URL", "redis://:hunter2@cache:port"),
    ],
)
def test_an_address_that_is_none_stops_the_start_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str
) -> None:
    monkeypatch.setenv(P + setting, value)
    with pytest.raises(SettingsError, match=rf"setting {setting.lower()}: a URL such as .* is required") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)
    monkeypatch.setenv(P + setting, "vault:secret/agent#url")
    with pytest.raises(SettingsError, match="needs the setting vault"):  # a reference is fine as such
        load_settings()


def test_a_venue_may_be_given_the_account_that_its_messages_do_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().venues["ALPHA"].account == ""
    monkeypatch.setenv(f"{P}VENUES__ALPHA__ACCOUNT", "DC-1")
    assert load_settings().venues["ALPHA"].account == "DC-1"


def test_a_secret_is_named_by_the_variable_of_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = {"kind": "rest", "secrets": [1]}
    monkeypatch.setenv(f"{P}VENUES", json.dumps({"ALPHA": {"format": "canonical", "feed": feed}}))
    with pytest.raises(SettingsError, match=r"venues\.ALPHA\.feed\.secrets\.0: .*VENUES__ALPHA__FEED__SECRETS\)"):
        load_settings()


@pytest.mark.parametrize(
    "variable", ["STALE_SNAPSHOTS_SECONDS", "KAFKA_BOOTSTRAP", "WRITER__NAME", "HTTP__PROT", "KAFKA__BOOTSTRP"]
)
def test_a_variable_that_is_no_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(P + variable, "1")
    with pytest.raises(SettingsError, match=P + variable) as raised:
        load_settings()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("STATE", "x"), ("REQUIRE_SHARED", "1"), ("FIRST_TRADE_DATE", "2025-01-01"), ("SENSOR_SECONDS", "5"),
     ("DERIVE_EVERY_SECONDS", "15"), ("STALE_SNAPSHOT_SECONDS", "5"), ("HTTP__PORT", "1")],
)  # fmt: skip
def test_the_variables_of_the_other_programs_are_let_be(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(P + variable, value)
    load_settings()


def test_a_venue_of_the_environment_keeps_its_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "stream.toml"
    file.write_text('[venues.ALPHA]\nformat = "fix44"\n')
    monkeypatch.setenv(f"{P}CONFIG", str(file))
    monkeypatch.delenv(f"{P}VENUES")
    for name, value in FIX.items():
        monkeypatch.setenv(f"{P}VENUES__ALPHA__FEED__{name.upper()}", str(value))
    monkeypatch.setenv(f"{P}VENUES__Bet_A__FORMAT", "canonical")
    monkeypatch.setenv(f"{P}VENUES__Bet_A__FEED", '{"kind": "websocket", "url": "ws://h"}')
    found = load_settings().venues
    assert found.keys() == {"ALPHA", "Bet_A"}
    assert isinstance(found["ALPHA"].feed, FixFeedSettings)
    assert isinstance(found["Bet_A"].feed, WebSocketFeedSettings)


def test_a_variable_adds_to_the_venues_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}VENUES__ALPHA__FEED__PORT", "9001")
    feed = load_settings().venues["ALPHA"].feed
    assert isinstance(feed, FixFeedSettings)
    assert (feed.port, feed.host) == (9001, "h")


def test_one_venue_written_in_two_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}VENUES__ALPHA__FORMAT", "fix44")
    monkeypatch.setenv(f"{P}VENUES__alpha__FORMAT", "fix44")
    with pytest.raises(SettingsError, match=r"ALPHA.*alpha"):
        load_settings()


def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}VENUES", "{")
    with pytest.raises(SettingsError, match="venues") as raised:
        load_settings()
    assert "None" not in str(raised.value)


# --- a venue's second feed ---------------------------------------------------------------------------------


def with_backup(**feed: Any) -> str:
    socket = {"kind": "websocket", "url": "ws://h", **feed}
    return json.dumps(
        {"ALPHA": {"format": "fix44", "feed": FIX, "backup": {"format": "canonical", "feed": socket}}}
    )


def test_a_backup_speaks_its_own_format_and_is_decoded_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}VENUES", with_backup())
    settings = load_settings()
    assert feeds_of("ALPHA", settings.venues["ALPHA"]) == ("ALPHA.fix", "ALPHA.backup.ws")
    report = {
        "type": "fill", "exec_id": "E1", "cl_ord_id": "M1", "account": "ACC", "symbol": "BTCUSDT", "side": "buy",
        "last_qty": "1", "last_px": "100", "transact_time": "2026-11-23T09:30:00Z",
    }  # fmt: skip
    raw = json.dumps({"fills": [report]}).encode()
    for feed, kind in (("ALPHA.backup.ws", Captured), ("ALPHA.fix", DeadLetter)):
        arrival = Arrival(feed, "ALPHA", ArrivalKind.REPORT, raw, 1)
        (fact,) = decode_arrival(arrival, decoders_of(settings)).facts
        assert type(fact) is kind
        assert fact.feed == feed


def test_an_error_within_a_backup_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{P}VENUES", with_backup(url="http://h"))
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith("setting venues.ALPHA.backup.feed.url:")
    assert str(raised.value).endswith("VENUES__ALPHA__BACKUP__FEED__URL)")


def test_a_venue_by_the_name_of_anothers_feed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    named = json.loads(with_backup()) | {"ALPHA.backup.ws": {"format": "fix44", "feed": FIX}}
    monkeypatch.setenv(f"{P}VENUES", json.dumps(named))
    with pytest.raises(SettingsError, match="a feed of ALPHA has that name"):
        load_settings()
