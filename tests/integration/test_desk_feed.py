"""What people ask for at the desk lands like any other fact: once, whatever crashes in between."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import psycopg
import pytest
from pydantic import SecretStr

from ledger.db.desk import Desk
from ledger.domain.times import format_utc
from ledger.domain.tolerances import Grace
from streaming.feeds.desk import verdict_of
from streaming.metrics import Metrics
from streaming.process import Process
from streaming.publisher import Publisher
from streaming.settings import HttpSettings, RestFeedSettings, Settings, VenueSettings
from streaming.topics import AUDIT_EVENT, COMPLIANCE_FLAGS
from streaming.venues import canonical, fix
from tests.integration.arrivals import VENUE, fill, fill_message, fills, intent
from tests.integration.database import terminate_sessions, until
from tests.integration.floor import request, vote
from tests.integration.people import Person
from tests.integration.topics import kafka_settings, read_topic
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from operations.embedded import Endpoints
    from streaming.venues.decoded import Decoded
    from tests.integration.floor import Floor


# --- four eyes ---------------------------------------------------------------------------------------------


async def test_two_persons_release_and_the_events_that_waited_go_out_in_order(
    floor: Floor, alice: Person, bob: Person
) -> None:
    break_id = await floor.overfill()
    before = await floor.told()
    async with floor.landing():
        vote(alice, break_id)
        vote(bob, break_id)
        (outcome,) = await floor.answered()
    assert (outcome["outcome"], outcome["why"]) == ("applied", None)
    assert before + [told for told in await floor.told() if told not in before] == [("fill", "E1"), ("fill", "E2")]
    assert await floor.value("SELECT ended_how FROM execution.breaks") == "release"
    assert await floor.value("SELECT count(*) FROM execution.executions WHERE withheld IS NOT NULL") == 0
    (released,) = await floor.events("break_released")
    assert (released["detail"]["requested_by"], released["detail"]["approved_by"]) == (alice.name, bob.name)
    assert [flag["detail"]["state"] for flag in await floor.events("compliance_flag")] == ["opened", "released"]


async def test_two_persons_reject_and_the_newest_is_voided(floor: Floor, alice: Person, bob: Person) -> None:
    break_id = await floor.overfill()
    async with floor.landing():
        vote(alice, break_id, "reject")
        vote(bob, break_id, "reject")
        await floor.answered()
    rows = await floor.watching.fetch("SELECT exec_id, status FROM execution.executions ORDER BY exec_id")
    assert [tuple(row) for row in rows] == [("E1", "active"), ("E2", "voided")]
    assert await floor.told() == [("fill", "E1")]
    assert await floor.value("SELECT cum_qty::text FROM execution.order_states") == "1"
    assert await floor.value("SELECT on_hold FROM execution.order_states") is False


async def test_an_execution_that_was_told_is_taken_back_as_a_bust(
    floor: Floor, alice: Person, bob: Person
) -> None:
    late = fills(fill_message("E1", transact_time=format_utc(T0 + 9 * SECOND)))
    await floor.land(intent(order_qty="1"), late)
    assert await floor.told() == [("fill", "E1")]
    await floor.land(fill("E0"))  # an earlier trade that came later: E1 is the newest
    break_id = await floor.open_break()
    async with floor.landing():
        vote(alice, break_id, "reject")
        vote(bob, break_id, "reject")
        await floor.answered()
    assert sorted(await floor.told()) == [("bust", "E1"), ("fill", "E0"), ("fill", "E1")]
    (taken_back,) = await floor.events("bust")
    assert (taken_back["cum_qty"], taken_back["slippage"]) == ("1", [])


async def test_the_streaming_process_runs_the_desk(
    floor: Floor, alice: Person, bob: Person, endpoints: Endpoints, topic_prefix: str, redis_url: str
) -> None:
    break_id = await floor.overfill()
    rest = RestFeedSettings(secrets=[SecretStr("whsec_" + "MDEyMzQ1Njc4OWFiY2RlZg==")])
    settings = Settings(
        postgres_url=SecretStr(floor.url),
        redis_url=SecretStr(redis_url),
        kafka=kafka_settings(endpoints, topic_prefix),
        http=HttpSettings(port=0),
        venues={VENUE: VenueSettings(format="canonical", feed=rest)},
    )
    stop = asyncio.Event()
    running = asyncio.create_task(Process(settings).run(stop))
    try:
        vote(alice, break_id)
        vote(bob, break_id)
        (outcome,) = await floor.answered()
        letter = await letter_of(floor, json.dumps(fill_message("E7", "M7")).encode())
        assert await floor.done(request(alice, letter)) == "pending"
    finally:
        stop.set()
        await running
    assert outcome["outcome"] == "applied"
    assert await floor.told() == [("fill", "E1"), ("fill", "E2")]


async def test_totals_that_were_released_stay_so_until_they_say_something_else(
    floor: Floor, alice: Person, bob: Person
) -> None:
    await floor.land(intent(), fills(fill_message("E1", cum_qty="5")))
    break_id = await floor.open_break()
    assert await floor.told() == []
    async with floor.landing():
        vote(alice, break_id)
        vote(bob, break_id)
        await floor.answered()
    assert await floor.told() == [("fill", "E1")]
    later = format_utc(T0 + 9 * SECOND)
    await floor.land(intent(), fills(fill_message("E1", cum_qty="5")))  # nothing new, read again from the ledger
    assert await floor.value("SELECT count(*) FROM execution.breaks WHERE ended_at IS NULL") == 0
    await floor.land(fills(fill_message("E2", cum_qty="7", transact_time=later)))
    assert await floor.open_break() == break_id
    assert await floor.value("SELECT theirs FROM execution.breaks") == "7"


async def test_one_person_twice_is_one_person(floor: Floor, alice: Person) -> None:
    break_id = await floor.overfill()
    async with floor.landing():
        for _ in range(3):
            vote(alice, break_id)
        await asyncio.sleep(0.3)
    assert await floor.open_break() == break_id
    assert await floor.value("SELECT count(*) FROM execution.desk_outcomes") == 0


async def test_votes_on_values_that_have_changed_are_refused_and_used_up(
    floor: Floor, alice: Person, bob: Person
) -> None:
    break_id = await floor.overfill()
    vote(alice, break_id)
    vote(bob, break_id)
    await floor.land(fill("E3"))
    async with floor.landing():
        (outcome,) = await floor.answered()
        assert outcome["outcome"] == "refused"
        assert outcome["why"] == "the break has changed since: ours 1, theirs 3"
        assert await floor.open_break() == break_id
        vote(bob, break_id)
        vote(alice, break_id)
        assert [row["outcome"] for row in await floor.answered(2)] == ["refused", "applied"]
    assert [exec_id for _, exec_id in await floor.told()] == ["E1", "E2", "E3"]


async def test_what_cannot_be_rejected_comes_back_with_why(floor: Floor, alice: Person, bob: Person) -> None:
    await floor.land(intent(), fills(fill_message("E1", cum_qty="5")))
    break_id = await floor.open_break()
    async with floor.landing():
        vote(alice, break_id, "reject")
        vote(bob, break_id, "reject")
        (outcome,) = await floor.answered()
    assert outcome["outcome"] == "refused"
    assert "about totals: no execution to void" in outcome["why"]
    assert await floor.open_break() == break_id


async def test_votes_from_before_it_opened_again_do_not_count(floor: Floor, alice: Person, bob: Person) -> None:
    break_id = await floor.overfill()
    vote(alice, break_id)
    bust = fills(fill_message("E9", type="bust", exec_ref_id="E2"))
    await floor.land(bust)
    assert await floor.value("SELECT ended_how FROM execution.breaks") == "facts"
    await floor.land(fill("E3"))
    assert await floor.open_break() == break_id
    async with floor.landing():
        vote(bob, break_id)
        await asyncio.sleep(0.3)
        assert await floor.open_break() == break_id
        vote(alice, break_id)
        await floor.answered()
    assert await floor.value("SELECT ended_how FROM execution.breaks") == "release"


async def test_a_crash_between_vote_and_landing_loses_nothing_and_lands_once(
    floor: Floor, alice: Person, bob: Person
) -> None:
    """The sessions end again and again around the commit; each start looks and lands what is not answered."""
    break_id = await floor.overfill()
    vote(alice, break_id)
    vote(bob, break_id)
    for number in range(5):
        with suppress(TimeoutError):
            async with floor.landing(), asyncio.timeout(0.05 * number):
                await asyncio.sleep(0.03 * number)
                await terminate_sessions(floor.watching)
                await asyncio.sleep(10)
        floor.inbox.discard(lambda _: True)
    async with floor.landing():
        await floor.answered()
    assert len(await floor.events("break_released")) == 1
    assert [exec_id for _, exec_id in await floor.told()] == ["E1", "E2"]
    assert await floor.value("SELECT count(*) FROM execution.break_resolutions") == 1


async def test_the_same_verdict_handed_in_twice_is_once(floor: Floor, alice: Person, bob: Person) -> None:
    break_id = await floor.overfill()
    vote(alice, break_id)
    vote(bob, break_id)
    (votes,) = (await Desk(floor.watching).open_votes()).values()
    found = verdict_of(votes)
    assert found is not None
    await floor.land(found[1], found[1])
    await floor.land(found[1])
    assert len(await floor.events("break_released")) == 1
    assert len(await floor.answered()) == 1


# --- who votes is the database's business ------------------------------------------------------------------


async def test_nobody_votes_in_anothers_name_or_time(floor: Floor, alice: Person) -> None:
    break_id = await floor.overfill()
    with psycopg.connect(alice.url, autocommit=True) as connection:
        for column, value in (("person", "bob"), ("at_ns", "1"), ("correlation_id", "C2")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "INSERT INTO execution.break_votes (break_id, verdict, reason, ours, theirs, "  # noqa: S608
                    f"{column}) VALUES (%s, 'release', 'x', '1', '2', %s)",
                    [break_id, value],
                )
        for statement in (
            "UPDATE execution.break_votes SET person = 'bob'",
            "DELETE FROM execution.break_votes",
            "UPDATE execution.breaks SET ended_at = now()",
            "INSERT INTO execution.desk_outcomes SELECT",
            "SELECT execution.land('{\"pending_gone\": []}')",
            "SET SESSION AUTHORIZATION postgres",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    vote(alice, break_id)
    cast = await floor.value("SELECT person || ' ' || correlation_id FROM execution.break_votes")
    assert cast == f"{alice.name} C1"


async def test_the_service_has_no_vote_and_nobody_changes_one(
    floor: Floor, ledger_url: str, alice: Person
) -> None:
    break_id = await floor.overfill()
    with pytest.raises(psycopg.Error, match="a vote is a person's") as refused:
        vote(Person("service", ledger_url), break_id)
    assert refused.value.sqlstate == "EA002"
    vote(alice, break_id)
    for statement in (
        "UPDATE execution.break_votes SET person = 'bob'",
        "DELETE FROM execution.break_votes",
        "TRUNCATE execution.break_votes",
        "DELETE FROM execution.break_notes",
    ):
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await floor.watching.execute(statement)


async def test_a_vote_is_on_an_open_break_as_it_stands_and_says_why(floor: Floor, alice: Person) -> None:
    break_id = await floor.overfill()
    with pytest.raises(psycopg.Error, match="has changed since: ours 1, theirs 2"):
        vote(alice, break_id, theirs="3")
    with pytest.raises(psycopg.errors.CheckViolation):
        vote(alice, break_id, reason=" \t\n")
    with pytest.raises(psycopg.errors.CheckViolation):
        vote(alice, break_id, "ignore")
    await floor.land(fills(fill_message("E9", type="bust", exec_ref_id="E2")))
    with pytest.raises(psycopg.Error, match="is not open"):
        vote(alice, break_id)


# --- dead letters handed in again --------------------------------------------------------------------------


async def letter_of(floor: Floor, raw: bytes, source: str = VENUE, reason: str = "malformed") -> str:
    return str(
        await floor.value(
            "INSERT INTO execution.dead_letters (dead_letter_id, source, feed, reason, field, value, rule, "
            "remedy, raw, received_ns) VALUES (gen_random_uuid(), $1, $2, $3, 'f', 'v', 'r', 'm', $4, 1) "
            "RETURNING dead_letter_id",
            source, f"{source}.rest" if source == VENUE else source, reason, raw,
        )
    )  # fmt: skip


async def test_a_letter_that_can_be_read_now_lands_and_is_marked(floor: Floor, alice: Person) -> None:
    """As after a decoder was mended."""
    await floor.land(intent())
    letter = await letter_of(floor, json.dumps(fill_message("E1")).encode())
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == "landed"
        assert await floor.done(request(alice, letter)) == "skipped: it was replayed before: landed"
        assert await floor.done(request(alice, letter, again=True)) == "duplicate"
    assert await floor.told() == [("fill", "E1")]
    assert await floor.value("SELECT replay_outcome FROM execution.dead_letters") == "duplicate"
    events = await floor.events("dead_letter_replayed")
    assert [e["detail"] for e in events] == [
        {"outcome": outcome, "requested_by": alice.name} for outcome in ("landed", "duplicate")
    ]
    assert len({e["event_id"] for e in events}) == 2


async def test_two_requests_at_once_are_one_replay(floor: Floor, alice: Person, bob: Person) -> None:
    await floor.land(intent())
    letter = await letter_of(floor, json.dumps(fill_message("E1")).encode())
    requests = [request(who, letter) for who in (alice, bob)]
    async with floor.landing():
        assert [await floor.done(r) for r in requests] == ["landed", "landed"]
    (event,) = await floor.events("dead_letter_replayed")
    assert event["detail"]["requested_by"] == f"{alice.name}, {bob.name}"


async def test_what_is_still_wrong_is_the_dead_letter_again(floor: Floor, alice: Person) -> None:
    await floor.land(fills({"type": "fill", "exec_id": "E1"}))
    letter = str(await floor.value("SELECT dead_letter_id FROM execution.dead_letters"))
    async with floor.landing():
        assert (await floor.done(request(alice, letter))).startswith("dead letter again: missing_field: ")
        assert (await floor.done(request(alice, letter))).startswith("dead letter again: missing_field: ")
    assert await floor.value("SELECT count(*) FROM execution.dead_letters") == 1
    assert len(await floor.events("dead_letter")) == 1
    assert len(await floor.events("dead_letter_replayed")) == 2


@pytest.mark.parametrize(
    ("source", "reason", "outcome"),
    [
        ("NOWHERE", "malformed", "refused: NOWHERE is no venue of the settings: nothing here reads its messages"),
        (
            "order-intents",
            "unknown_version",
            "refused: the event type of the message is not kept with its bytes: have it sent again",
        ),
    ],
)
async def test_what_nothing_can_read_is_refused(
    floor: Floor, alice: Person, source: str, reason: str, outcome: str
) -> None:
    letter = await letter_of(floor, b"x", source, reason)
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == outcome
    assert await floor.value("SELECT replayed_at FROM execution.dead_letters") is None


async def test_what_postgres_refuses_again_is_the_dead_letter_again(floor: Floor, alice: Person) -> None:
    def poisoned(venue: str, raw: bytes, account: str = "") -> Decoded:
        """A decoder that lets something through which Postgres cannot store."""
        decoded = canonical.decode(venue, raw, account)
        decoded.reports = [(msgspec.structs.replace(r, symbol="\x00"), item) for r, item in decoded.reports]
        return decoded

    letter = await letter_of(floor, json.dumps(fill_message("E1")).encode(), reason="ledger_refused")
    floor.decode = poisoned
    async with floor.landing():
        assert (await floor.done(request(alice, letter))).startswith("dead letter again: ledger_refused: ")
    floor.decode = canonical.decode
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == "pending"


async def test_a_fix_message_is_read_by_its_venues_decoder(floor: Floor, alice: Person) -> None:
    fields = (
        "8=FIX.4.4", "9=0", "35=8", "49=V", "56=A", "34=2", "52=20261118-11:06:41", "37=O1", "11=M1", "17=E1",
        "150=F", "39=1", "55=BTCUSDT", "54=1", "38=10", "32=1", "31=100", "14=1", "151=9", "6=100",
        "60=20261118-11:06:41", "1=ACC",
    )  # fmt: skip
    body = "\x01".join(fields[2:]) + "\x01"
    head = f"{fields[0]}\x019={len(body)}\x01{body}"
    raw = f"{head}10={sum(head.encode()) % 256:03d}\x01".encode()
    letter = await letter_of(floor, raw)
    floor.decode = fix.decode
    await floor.land(intent())
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == "landed"
    assert await floor.told() == [("fill", "E1")]


async def test_intents_and_snapshots_are_handed_in_again_too(floor: Floor, alice: Person) -> None:
    good = intent("C7", "M7")
    letter = await letter_of(floor, good.raw, "order-intents")
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == "landed"
        assert await floor.done(request(alice, letter, again=True)) == "duplicate"
    assert await floor.value("SELECT correlation_id FROM execution.orders") == "C7"


async def test_an_intent_that_the_rules_refused_is_refused_again(floor: Floor, alice: Person) -> None:
    await floor.land(intent(), intent(order_qty="7"))
    letter = str(await floor.value("SELECT dead_letter_id FROM execution.dead_letters"))
    async with floor.landing():
        assert (await floor.done(request(alice, letter))).startswith("dead letter again: conflicting_intent: ")


async def test_a_fill_before_its_intent_is_pending_and_lands_with_it(floor: Floor, alice: Person) -> None:
    letter = await letter_of(floor, json.dumps(fill_message("E1")).encode())
    async with floor.landing():
        assert await floor.done(request(alice, letter)) == "pending"
    await floor.land(intent())
    assert await floor.told() == [("fill", "E1")]


async def test_an_out_of_order_letter_ends_by_itself_when_the_missing_report_comes(
    floor: Floor, alice: Person
) -> None:
    floor.policy = msgspec.structs.replace(floor.policy, grace=Grace(0, 1, 10**18))
    await floor.land(intent())
    async with floor.landing() as lander:
        await floor.inbox.put([fills(fill_message("E9", type="bust", exec_ref_id="E1"))])
        async with asyncio.timeout(20):
            while not await floor.value("SELECT count(*) FROM execution.dead_letters"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        letter = str(await floor.value("SELECT dead_letter_id FROM execution.dead_letters"))
        assert await floor.done(request(alice, letter)) == "pending"
        await floor.inbox.put([fill("E1")])
        await until(lambda: lander.is_idle)
    assert (await floor.value("SELECT replay_outcome FROM execution.dead_letters")).startswith("landed: ")
    assert await floor.value("SELECT status FROM execution.executions") == "busted"
    assert [e["detail"]["requested_by"] for e in await floor.events("dead_letter_replayed")] == [alice.name, None]
    assert await floor.value("SELECT count(*) FROM execution.fills_pending") == 0


# --- what compliance reads ---------------------------------------------------------------------------------


async def test_flags_of_a_break_arrive_at_the_broker(
    floor: Floor, alice: Person, bob: Person, endpoints: Endpoints, topic_prefix: str
) -> None:
    break_id = await floor.overfill()
    async with floor.landing():
        vote(alice, break_id)
        vote(bob, break_id)
        await floor.answered()
    kafka = kafka_settings(endpoints, topic_prefix)
    may_publish = asyncio.Event()
    may_publish.set()
    publisher = Publisher(
        floor.connect, kafka, Metrics(), writer="writer", source="spiffe://test/agent",
        refill_seconds=86_400, may_publish=may_publish,
    )  # fmt: skip
    task = asyncio.create_task(publisher.run())
    try:
        await until(lambda: publisher.state == "live" and publisher.is_idle)
        flags = await asyncio.to_thread(read_topic, kafka, COMPLIANCE_FLAGS)
        audit = await asyncio.to_thread(read_topic, kafka, AUDIT_EVENT)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert [json.loads(flag.value)["detail"]["state"] for flag in flags] == ["opened", "released"]
    assert [(flag.key, flag.headers["ce_type"]) for flag in flags] == [("C1", COMPLIANCE_FLAGS.encode())] * 2
    assert {flag.event_id for flag in flags} <= {message.event_id for message in audit}
