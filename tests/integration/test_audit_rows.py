"""Audit events in Postgres: nobody changes them, and what persons do is among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from operations.people import remove

if TYPE_CHECKING:
    from tests.integration.people import Person

INSERT = (
    "INSERT INTO execution.audit_events (event_id, event_type, key, body) "
    "VALUES (gen_random_uuid(), 'x', 'k', 'b')"
)


@pytest.fixture
def ledger(ledger_url: str) -> Any:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        connection.execute("SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)")
        connection.execute(INSERT)
        connection.execute("INSERT INTO execution.audit_checkpoints VALUES (1, 'r', 'n')")
        yield connection


def partition(ledger: psycopg.Connection[Any]) -> str:
    found = ledger.execute("SELECT tableoid::regclass::text FROM execution.audit_events").fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize("change", ["UPDATE {} SET key = 'y'", "DELETE FROM {}", "TRUNCATE {}"])
def test_audit_events_are_append_only_in_every_partition(ledger: psycopg.Connection[Any], change: str) -> None:
    for table in ("execution.audit_events", partition(ledger), "execution.audit_events_default"):
        if table.endswith("default") and not change.startswith("TRUNCATE"):
            continue  # no row of it to change
        with pytest.raises(psycopg.Error, match="append-only") as refused:
            ledger.execute(change.format(table))
        assert refused.value.sqlstate == "EA005"
    assert ledger.execute("SELECT count(*) FROM execution.audit_events").fetchone() == (1,)


@pytest.mark.parametrize("change", ["UPDATE {} SET note = 'y'", "DELETE FROM {}", "TRUNCATE {}"])
def test_checkpoints_are_append_only(ledger: psycopg.Connection[Any], change: str) -> None:
    with pytest.raises(psycopg.Error, match="append-only"):
        ledger.execute(change.format("execution.audit_checkpoints"))


def test_an_owner_who_is_no_superuser_has_no_privilege_to_change_them(ledger: psycopg.Connection[Any]) -> None:
    for table in ("execution.audit_events", partition(ledger), "execution.audit_checkpoints"):
        granted = ledger.execute(
            "SELECT a.privilege_type FROM pg_class, aclexplode(relacl) a WHERE oid = %s::regclass", [table]
        ).fetchall()
        assert ("INSERT",) in granted
        assert not {("UPDATE",), ("DELETE",), ("TRUNCATE",)} & set(granted)


def test_an_event_says_which_login_and_process_wrote_it(ledger: psycopg.Connection[Any], ledger_url: str) -> None:
    with psycopg.connect(ledger_url, options="-c execution.process=spiffe://x/y") as named:
        named.execute(INSERT)
    login = ledger.info.user
    found = ledger.execute("SELECT recorded_by FROM execution.audit_events ORDER BY xid, position").fetchall()
    assert found == [(login,), (f"{login} spiffe://x/y",)]


def acts(ledger: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    found = ledger.execute(
        "SELECT body, recorded_by, key FROM execution.audit_events WHERE event_type <> 'x' ORDER BY xid, position"
    ).fetchall()
    return [{**json.loads(body), "recorded_by": who, "key": key} for body, who, key in found]


def test_what_persons_do_is_told_with_their_names(
    ledger: psycopg.Connection[Any], ledger_url: str, alice: Person, bob: Person
) -> None:
    break_id, letter_id = "0" * 31 + "1", "0" * 31 + "2"
    ledger.execute(
        "INSERT INTO execution.breaks (break_id, correlation_id, kind, ours, theirs) "
        "VALUES (%s, 'C1', 'overfill', 'o', 't')",
        [break_id],
    )
    ledger.execute(
        "INSERT INTO execution.dead_letters (dead_letter_id, source, feed, reason, field, value, rule, remedy, "
        "raw, received_ns) VALUES (%s, 's', 'f', 'r', 'f', 'v', 'r', 'r', '', 0)",
        [letter_id],
    )
    with psycopg.connect(alice.url, autocommit=True) as desk:
        desk.execute(
            "INSERT INTO execution.break_votes (break_id, verdict, reason, ours, theirs) "
            "VALUES (%s, 'release', 'why', 'o', 't')",
            [break_id],
        )
        for kind in ("note", "owner"):
            desk.execute(
                "INSERT INTO execution.break_notes (break_id, kind, note) VALUES (%s, %s, 'n')", [break_id, kind]
            )
        desk.execute("INSERT INTO execution.replay_requests (dead_letter_id) VALUES (%s)", [letter_id])
        desk.execute("INSERT INTO execution.halt_requests (venue, action, reason) VALUES ('V', 'halt', 'odd')")
        desk.execute("INSERT INTO execution.look_back_requests (venue, from_ns, until_ns) VALUES ('V', 1, 2)")
    remove(ledger_url, bob.name)
    people = [(act["event"], act["detail"]["login"]) for act in acts(ledger) if act["event"].startswith("person_")]
    assert people == [
        ("person_added", alice.name),
        ("person_added", bob.name),
        ("person_removed", bob.name),
    ]
    told = [act for act in acts(ledger) if act["recorded_by"] == alice.name]
    assert [(act["event"], act["key"], act["correlation_id"]) for act in told] == [
        ("break_voted", "C1", "C1"),
        ("break_noted", "C1", "C1"),
        ("break_assigned", "C1", "C1"),
        ("replay_requested", letter_id, None),
        ("halt_requested", "V", None),
        ("look_back_requested", "V", None),
    ]
    assert {act["detail"]["person"] for act in told} == {alice.name}
    assert told[0]["subject"] == break_id
    assert told[0]["detail"]["verdict"] == "release"
    assert told[4]["detail"]["action"] == "halt"
    assert told[5]["detail"]["until_ns"] == "2"
    for act in told:
        assert all(isinstance(value, str) for value in act["detail"].values())
        assert len(act["subject"]) == len(act["event_id"]) == 32


def test_persons_write_no_audit_event_of_their_own(ledger: psycopg.Connection[Any], alice: Person) -> None:
    with psycopg.connect(alice.url, autocommit=True) as desk:
        for statement in (INSERT, "SELECT execution.record_act('fill', gen_random_uuid(), 'k', NULL, '{}')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                desk.execute(statement)


def test_dagster_tells_of_its_corrections_and_of_nothing_else(urls: dict[str, str]) -> None:
    """An event of another kind would be published as ours: a resume, a hedge."""
    with psycopg.connect(urls["dagster"], autocommit=True) as dagster:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dagster.execute("SELECT execution.record_act('venue_resumed', gen_random_uuid(), 'ALPHA', NULL, '{}')")
        dagster.execute("SELECT execution.record_correction(current_date, 1, 2, 'live', 'derived')")
