"""Settings: one line that names what is wrong, as people write it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from streaming.errors import SettingsError
from streaming.settings import FixFeedSettings, WebSocketFeedSettings, load_settings

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
