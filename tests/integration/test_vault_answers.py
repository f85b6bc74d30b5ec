"""What stands before Vault, or a Vault that is busy, answers: nothing that is held is taken back by that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.integration.bao import Corner, corner_of
from tests.integration.test_credentials import Watched, lending, reader_of
from tests.integration.vault_balancer import Answer, Balancer, balancer
from trust.errors import CredentialsError, GoneError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded import Endpoints
    from streaming.secret_events import SecretChange

JSON, TEXT, HTML = "application/json", "text/plain; charset=utf-8", "text/html"
NOT_VAULTS = {
    "no endpoint is ready": Answer(404, TEXT, "404 page not found\n"),
    "a page that is not found": Answer(404, HTML, "<html><h1>404 Not Found</h1></html>"),
    "another's JSON, not found": Answer(404, JSON, '{"message": "no Route matched"}'),
    "another's JSON, with errors": Answer(404, JSON, '{"errors": [{"code": 7}]}'),
    "JSON that is no object": Answer(404, JSON, "[]"),
    "data that is no object": Answer(404, JSON, '{"data": [], "errors": ["x"]}'),
    "nginx without a client certificate": Answer(400, HTML, "<h1>400 No required SSL certificate was sent</h1>"),
    "400 without errors": Answer(400, JSON, '{"errors": []}'),
    "an engine that is being upgraded": Answer(
        400,
        JSON,
        '{"errors": ["Upgrading from non-versioned to versioned data. This backend will be unavailable for a '
        'brief period and will resume service shortly."]}',
    ),
    "a page for maintenance": Answer(200, HTML, "<h1>We are back soon</h1>"),
    "another's JSON": Answer(200, JSON, '{"status": "ok"}'),
    "too many requests": Answer(429, JSON, '{"errors": ["request path: rate limit quota exceeded"]}'),
}
_EACH = pytest.mark.parametrize("answer", NOT_VAULTS.values(), ids=NOT_VAULTS.keys())


@pytest.fixture
def corner(endpoints: Endpoints) -> Iterator[Corner]:
    with corner_of(endpoints.vault_addr, endpoints.vault_token) as corner:
        yield corner


@pytest.fixture
def between(endpoints: Endpoints) -> Iterator[Balancer]:
    with balancer(endpoints.vault_addr) as between:
        yield between


@_EACH
async def test_what_is_held_stays_whatever_others_than_vault_answer(
    corner: Corner, between: Balancer, answer: Answer
) -> None:
    corner.put("venues/charlie", webhook="one")
    place = SecretStr(corner.reference("venues/charlie", "webhook"))
    watched = Watched(reader_of(between.address, corner.token()), place.get_secret_value())
    told: list[SecretChange] = []
    watched.credentials.tell = told.append
    await watched.credentials.look()
    between.answer = answer
    for _ in range(2):
        await watched.credentials.look()
        assert watched.credentials.value(place) == "one"
        assert watched.series("execution_vault_away") == 1
    assert between.answered >= 2
    assert told == []
    between.answer = None
    corner.put("venues/charlie", webhook="two")
    await watched.credentials.look()
    assert watched.credentials.value(place) == "two"
    # what Vault itself says counts, also through the balancer
    corner.client.secrets.kv.v2.delete_metadata_and_all_versions("venues/charlie", mount_point=corner.mount)
    await watched.credentials.look()
    assert watched.credentials.accepted(place) == ()
    assert [change.event for change in told] == ["secret_withdrawn"]


def test_nothing_is_gone_that_was_never_read_either(corner: Corner, between: Balancer) -> None:
    """Whoever only waits for Vault goes on waiting."""
    corner.put("venues/charlie", webhook="one")
    reader = reader_of(between.address, corner.token())
    for answer in NOT_VAULTS.values():
        between.answer = answer
        with pytest.raises(CredentialsError) as said:
            reader.read(f"vault:{corner.mount}/venues/charlie")
        assert not isinstance(said.value, GoneError)


def test_a_lease_is_held_whatever_others_than_vault_answer(
    endpoints: Endpoints, corner: Corner, between: Balancer
) -> None:
    with lending(endpoints, corner, default_ttl="1h", max_ttl="2h") as mount:
        reader, place = reader_of(between.address, endpoints.vault_token), f"vault-lease:{mount}/creds/agent"
        held = reader.read(place)
        assert held.lease is not None
        for answer in NOT_VAULTS.values():
            between.answer = answer
            assert reader.read(place, held) is held
            # also where it is due to be renewed, and then to be lent anew
            due = held._replace(lease=held.lease._replace(since=held.lease.since - 3000))
            with pytest.raises(CredentialsError) as said:
                reader.read(place, due)
            assert not isinstance(said.value, GoneError)
        # a lease that Vault does not know is no reason to take 400 of somebody else for its word
        between.answer = None
        corner.client.sys.revoke_lease(held.lease.lease_id)
        between.answer = NOT_VAULTS["nginx without a client certificate"]._replace(only="/creds/")
        with pytest.raises(CredentialsError) as said:
            reader.read(place, held)
        assert not isinstance(said.value, GoneError)
        between.answer = None
        assert reader.read(place, held).value("username") != held.value("username")
