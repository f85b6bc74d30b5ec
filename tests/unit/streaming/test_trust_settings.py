"""Settings of identity and secrets: what cannot work together is said before anything starts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from streaming.own_secrets import own_references
from streaming.references import references_in
from streaming.settings import Settings, masked
from trust.credentials import Held, Version
from trust.references import parse_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_c2ltdWxhdG9y"
REST = {"kind": "rest", "secrets": [SECRET]}


def settings(feed: dict[str, Any] | None = None, **changes: Any) -> Settings:
    return Settings.model_validate(
        {
            "postgres_url": "postgresql://h/d",
            "redis_url": "redis://h",
            "kafka": {"bootstrap": "h:9092"},
            "venues": {"C": {"format": "canonical", "feed": feed or REST}},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("feed", "changes", "said"),
    [
        ({"kind": "rest"}, {}, "secrets or peers must name at least one"),
        ({"kind": "rest", "peers": ["spiffe://a/b"]}, {"identity": {}}, "peers of C.rest need http.tls"),
        ({"kind": "rest", "peers": ["https://a/b"]}, {}, "'https://a/b' is no SPIFFE ID"),
        ({"kind": "rest", "peers": ["spiffe://a"]}, {}, "'spiffe://a' is no SPIFFE ID"),
        (None, {"http": {"tls": True}}, "http.tls needs the setting identity"),
        (None, {"vault": {"role": "r"}}, "vault.role needs the setting identity"),
        (None, {"identity": {"redis": "yes"}}, "'yes' is no SPIFFE ID"),
        (None, {"identity": {"kafka": "spiffe://a/b"}}, "identity.kafka must be name"),
        (None, {"identity": {"s3": "spiffe://a/b"}}, "identity.s3 must be name"),
        ({"kind": "rest", "secrets": ["vault:secret/c#w"]}, {}, "vault:secret/c#w needs the setting vault"),
        ({"kind": "rest", "secrets": ["vault:secret#w"]}, {"vault": {}}, "'vault:secret#w' is no reference"),
        (None, {"redis_url": "vault:secret/r#url"}, "vault:secret/r#url needs the setting vault"),
        (None, {"vault": {}, "redis_url": "vault-lease:db/r#url"}, "what is lent ends"),
        (
            None,
            {"vault": {}, "writer": "vault:secret/r#url"},
            "only settings that hold a secret may be references",
        ),
    ],
)
def test_what_cannot_work_is_refused(feed: dict[str, Any] | None, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        settings(feed, **changes)
    assert said in str(raised.value)


def test_references_are_found_wherever_a_venue_has_them() -> None:
    fix = {
        "kind": "fix", "host": "h", "port": 1, "sender_comp_id": "A", "target_comp_id": "B", "store": "/s",
        "password": "vault:kv/a#p", "tls_key": "vault:kv/a/deep#k",
    }  # fmt: skip
    backup = {"feed": {"kind": "websocket", "url": "ws://h", "token": "vault-lease:db/creds/x#t"}}
    look_back = {"url": "http://h", "key": "vault:kv/a#key", "secret": "plain", "format": "canonical"}
    venue = {"format": "fix", "feed": fix, "backup": backup, "look_back": look_back, "account": "A"}
    found = settings(vault={}, venues={"A": venue})
    wanted = {"vault:kv/a#p", "vault:kv/a/deep#k", "vault-lease:db/creds/x#t", "vault:kv/a#key"}
    assert set(references_in(found)) == wanted
    assert "plain" not in str(masked(found))


def secret_fields(kind: Any, seen: set[type[BaseModel]]) -> set[tuple[str, str]]:
    """Every field that holds a secret, of every model that settings are made of."""
    found: set[tuple[str, str]] = set()
    for part in (kind, *get_args(kind)):
        if part is not kind:
            found |= secret_fields(part, seen)
        elif isinstance(part, type) and issubclass(part, BaseModel) and part not in seen:
            seen.add(part)
            for name, field in part.model_fields.items():
                if "SecretStr" in str(field.annotation):
                    found.add((part.__name__, name))
                found |= secret_fields(field.annotation, seen)
    return found


def filled(model: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """The secrets of settings, by model and field."""
    if isinstance(model, BaseModel):
        for name in type(model).model_fields:
            value = getattr(model, name)
            for secret in value if isinstance(value, list) else [value]:
                if isinstance(secret, SecretStr):
                    yield (type(model).__name__, name), secret.get_secret_value()
            yield from filled(value)
    elif isinstance(model, dict):
        for value in model.values():
            yield from filled(value)


def test_whatever_holds_a_secret_takes_a_reference() -> None:
    def place(name: str) -> str:
        return f"vault:kv/agent#{name}"

    fix = {
        "kind": "fix", "host": "h", "port": 1, "sender_comp_id": "A", "target_comp_id": "B", "store": "/s",
        "password": place("password"),
    }  # fmt: skip
    venues = {
        "A": {
            "format": "fix", "feed": fix, "account": "A",
            "backup": {"feed": {"kind": "websocket", "url": "ws://h", "token": place("token")}},
            "look_back": {
                "url": "http://h", "key": place("key"), "secret": place("secret"), "format": "canonical",
            },
        },
        "C": {"format": "canonical", "feed": {"kind": "rest", "secrets": [place("webhook")]}},
    }  # fmt: skip
    own: dict[str, Any] = {
        "postgres_url": place("ledger"), "publisher_postgres_url": place("publisher"), "redis_url": place("redis"),
        "kafka": {"bootstrap": "b:1", "options": {"sasl.password": place("sasl"), "sasl.username": "agent"}},
        "audit": {
            "bucket": "bucket", "signer": "/key", "s3_access_key": place("s3"),
            "s3_secret_key": place("s3-secret"),
        },
    }  # fmt: skip
    found = settings(vault={}, venues=venues, **own)
    held = dict(filled(found))
    assert held.keys() == secret_fields(Settings, set()), "this test has them all"
    assert set(held.values()) <= {*references_in(found.venues), *own_references(found)}
    assert {place("sasl"), place("s3")} <= set(own_references(found))


def test_options_of_kafka_that_are_secrets_are_not_shown() -> None:
    options = {"sasl.password": "hidden-1", "ssl.key.pem": "hidden-2", "sasl.username": "agent"}
    shown = str(masked(settings(kafka={"bootstrap": "b:1", "options": options})))
    assert "hidden" not in shown
    assert "agent" in shown


@pytest.mark.parametrize(
    "text", ["vault:kv#f", "vault:kv/a", "vault:kv/a#", "vault:/a#f", "vault:kv//a#f", "vault:kv/a b#f", "secret"]
)
def test_a_reference_that_cannot_be_read_is_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is no reference to a secret") as raised:
        parse_reference(text)
    assert repr(text) in str(raised.value)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from("abc")), min_size=1, max_size=6),
    st.floats(0, 50),
    st.floats(0, 200),
)
def test_a_value_counts_until_its_successor_is_older_than_the_overlap(
    made: list[tuple[float, str]], overlap: float, now: float
) -> None:
    history = sorted(made, key=lambda version: version[0])
    versions = tuple(Version(n, at, {"f": value}) for n, (at, value) in enumerate(history, 1))[::-1]
    accepted = Held(versions, overlap).accepted("f", now)
    assert accepted[0] == history[-1][1], "the newest always counts, and comes first"
    wanted = {history[-1][1]}
    for (_, value), (replaced_at, _) in pairwise(history):
        if now < replaced_at + overlap:
            wanted.add(value)
    assert set(accepted) == wanted
    assert len(accepted) == len(set(accepted))
