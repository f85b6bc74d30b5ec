"""The schemas of the events: real events hold to them, and what they allow the decoders accept."""

import json
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml  # type: ignore[import-untyped]
from referencing import Registry, Resource

from ledger.db.outbox_event import OutboxEvent
from ledger.domain.book import Book
from ledger.domain.breaks import make_break
from ledger.domain.completeness import NOT_LISTED
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.delays import DelayPolicy, Expected, Late
from ledger.domain.errors import Defect, DefectError
from ledger.domain.events import (
    COMPLIANCE_FLAG,
    DEAD_LETTER,
    FILL_EVENTS,
    DecisionBody,
    FillBody,
    SlippageBody,
)
from ledger.domain.failover import Cause, Health, HealthKind
from ledger.domain.halts import AGENT, ClockChange, Halt, HaltCause, Resume
from ledger.domain.identity import dead_letter_id, identify
from ledger.domain.numbers import parse_decimal
from ledger.domain.records import (
    Action,
    AuditEvent,
    BenchmarkKind,
    BreakKind,
    Captured,
    DeadLetter,
    ExecType,
    OrderIntent,
    OrdStatus,
    Overdue,
    PendingReason,
    ReportKind,
    Resolution,
    Side,
    Snapshot,
    Verdict,
    Waiting,
)
from ledger.domain.sequence_gaps import GapFilled
from streaming.decoding import decode_intent, decode_snapshot
from streaming.producing import TopicWriter
from streaming.settings import KafkaSettings
from streaming.topics import (
    AUDIT_EVENT,
    COMPLIANCE_FLAGS,
    DEAD_LETTERS,
    FILL_DELAYS,
    FILL_EVENT,
    HALTS,
    HEDGES,
    INBOUND,
    MARKET_DATA,
    ORDER_INTENT,
    OUTBOUND,
    STATUS_REQUESTS,
    topics_of,
)
from tests.unit.domain.comparisons import audited, missing
from tests.unit.domain.facts import SECOND, T0, intent, order_report, report, snapshot

EVENTS = Path(__file__).parents[2] / "docs/events"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.name.removesuffix(".schema.json"): json.loads(path.read_text()) for path in EVENTS.glob("*.schema.json")
}
REGISTRY: Registry[Any] = Registry().with_resources(  # type: ignore[call-arg]
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)
BUST, CORRECT, REPLACE = ReportKind.BUST, ReportKind.CORRECT, Action.REPLACE


POLICY = Policy(delays={"ALPHA": DelayPolicy(hedge_limits={"USDT": Decimal(500)})})


def late(correlation_id: str = "C1", at: int = T0 + 10 * SECOND) -> Late:
    return Late(correlation_id, "ALPHA", "BTCUSDT", at, Expected(5 * SECOND, 800), 0, "live")


def in_flight(qty: str = "10") -> list[Fact]:
    """A market order with the snapshots that it is judged by."""
    routed = msgspec.structs.replace(intent(qty=qty), currency="USDT")
    return [snapshot("S1", "99", "101"), snapshot("S2", "99", "101", T0 + 9 * SECOND), routed]


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(SCHEMAS[name], registry=REGISTRY)


def events_of(*batches: Iterable[Fact]) -> list[AuditEvent]:
    """Decide one batch after the other, and give all events."""
    book, events = Book(), []
    for facts in batches:
        decision = decide(book, list(facts), POLICY)
        book.apply(decision)
        events += decision.events
    return events


def verdict(kind: BreakKind, word: Verdict, ours: str, theirs: str, about: Captured | None = None) -> Resolution:
    """Two persons agree on a break of the order C1."""
    found = make_break("C1", kind, about.report.report_id if about is not None else None, ours, theirs)
    said = (found.break_id, "C1", word, ours, theirs, "alice", "bob", "they looked")
    return Resolution(identify(*said), *said, T0 + 9 * SECOND)


def overdue(captured: Captured, reason: PendingReason, correlation_id: str | None) -> Overdue:
    """The grace time of a report is over."""
    row_id = captured.report.report_id
    return Overdue(T0 + 99 * SECOND, (Waiting(row_id, reason, correlation_id, captured),))


LETTER = DeadLetter(
    dead_letter_id("ALPHA", b"8=FIX"),
    "ALPHA",
    "ALPHA.fix",
    Defect("not_a_number", "32", "NaN", "a decimal number is required", "Ask the venue to resend it."),
    b"8=FIX",
    T0,
)
DAYS: dict[str, list[list[Fact]]] = {
    "a fill with every slippage": [
        [snapshot("S1", "99.9", "100.1"), intent(decision="99.5", limit="101"), report(px="100.25")],
    ],
    "no snapshot, and a stale one": [
        [intent(), report()],
        [snapshot("S1", "9", "11", T0 - 60 * SECOND), report("E2")],
    ],
    "a fill before its intent": [[report()], [intent()]],
    "a bust and corrects": [
        [snapshot("S1", "99", "101"), intent(), report("E1"), report("E2", qty="2")],
        [report("E3", kind=BUST, ref="E1"), report("E4", kind=CORRECT, ref="E2", qty="1.5", px="99.9")],
        [report("E5", kind=CORRECT, ref="E4", qty="1", px="99.8")],
    ],
    "a bust before its fill": [[intent(), report("E2", kind=BUST, ref="E1")], [report("E1")]],
    "a hold that a replace ends": [
        [intent(limit="99"), report(px="100"), report("E2", px="98")],
        [intent(msg_id="M2", action=REPLACE, orig="M1", limit="105", at=T0 + SECOND)],
    ],
    "an overfill that grows": [
        [intent(qty="1"), report("E1"), report("E2")],
        [report("E3", at=T0 + 3 * SECOND)],
    ],
    "an overfill that a bust ends": [
        [intent(qty="1"), report("E1"), report("E2")],
        [report("E3", kind=BUST, ref="E2")],
    ],
    "one identity, two contents": [[intent(), report(px="100"), report(px="101")]],
    "another side and symbol": [[intent(), report("E1", side=Side.SELL), report("E2", symbol="ETHUSDT")]],
    "a snapshot that comes late": [
        [snapshot("S1", "99", "101", T0 - SECOND), intent(), report()],
        [snapshot("S2", "98", "100", T0 + SECOND // 2)],
    ],
    "an overfill that two persons release": [
        [intent(qty="1"), report("E1"), report("E2")],
        [verdict(BreakKind.OVERFILL, Verdict.RELEASE, "1", "2")],
    ],
    "an overfill that two persons reject": [
        [intent(qty="1"), report("E1"), report("E2")],
        [verdict(BreakKind.OVERFILL, Verdict.REJECT, "1", "2")],
    ],
    "a wording that two persons reject when it was told": [
        [intent(), report(px="100")],
        [report(px="101")],
        [verdict(BreakKind.CONFLICTING_DUPLICATE, Verdict.REJECT, "last_px 100", "last_px 101", report())],
    ],
    "another wording that says more": [[intent(), report()], [report(fee="0.5")]],
    "totals that differ": [
        [intent(), report(cum="5")],
        [intent("C2", "M2"), report("E2", cl_ord_id="M2", cum="1", avg="9")],
    ],
    "a fill whose intent comes after its grace time": [
        [report()],
        [overdue(report(), PendingReason.INTENT, None)],
        [intent()],
    ],
    "a bust whose fill comes after its grace time": [
        [intent(), report("E2", kind=BUST, ref="E1")],
        [overdue(report("E2", kind=BUST, ref="E1"), PendingReason.REFERENCE, "C1")],
        [report("E1")],
    ],
    "a venue that is halted for each cause, and resumed": [
        [
            Halt("ALPHA", cause, T0 + n, T0, AGENT, "late", figure, figure and 5)
            for n, (cause, figure) in enumerate(((HaltCause.LATENCY, 6 * SECOND), (HaltCause.PERSON, None)))
        ],
        [Resume("ALPHA", T0 + SECOND, "alice", "mended", request_id=1)],
        [Halt("ALPHA", HaltCause.IN_A_ROW, T0, T0, AGENT, "late", 9, 5)],
        [Halt("BETA", HaltCause.SILENCE, T0, T0, AGENT, "quiet", 9 * SECOND, 5)],
    ],
    "a clock that is off and right again": [
        [ClockChange("ALPHA", is_off, T0, -2 * SECOND, SECOND)] for is_off in (True, False)
    ],
    "a feed that is out and is not, with its backup": [
        [
            Health(kind, "ALPHA", "ALPHA.fix", T0 + n, T0, "it is so", cause, other)
            for n, (kind, cause, other) in enumerate(
                (
                    (HealthKind.OUTAGE, Cause.SILENCE, None),
                    (HealthKind.SWITCHED, Cause.SILENCE, "ALPHA.backup.ws"),
                    (HealthKind.RECOVERED, None, None),
                    (HealthKind.RETURNED, None, "ALPHA.fix"),
                    (HealthKind.RENUMBERED, Cause.GAP, None),
                )
            )
        ],
        [Health(HealthKind.SNAPSHOTS_OUT, "market-data", "market-data", T0, T0, "no broker", Cause.SNAPSHOTS)],
        [Health(HealthKind.SNAPSHOTS_BACK, "market-data", "market-data", T0 + 1, T0 + 1, "it is back")],
    ],
    "a gap in a feed's numbers that is filled, in part by nothing": [
        [GapFilled("ALPHA", "ALPHA.fix", 5, 9, T0, T0 + SECOND)],
        [GapFilled("ALPHA", "ALPHA.fix", 12, 40, T0, T0 + SECOND, ((13, 13), (20, 31)))],
    ],
    "fills that a feed left out": [[missing("E1")], [audited(present=("E1",))]],
    "fills that the venue does not list, and does later": [
        [audited(unlisted=("E1", "E2"))],
        [audited(present=("E1", "E2"))],
    ],
    "a late order that fills as was estimated": [in_flight(), [late()], [report(qty="10", at=T0 + 11 * SECOND)]],
    "a late order that fills in part": [in_flight(), [late()], [report(qty="4", at=T0 + 11 * SECOND)]],
    "a late order that was canceled": [
        in_flight(),
        [late()],
        [order_report(ExecType.CANCELED, at=T0 + 11 * SECOND)],
    ],
    "a late order that the venue says is working": [
        in_flight("1"),
        [late()],
        [order_report(ExecType.ORDER_STATUS, status=OrdStatus.NEW, cum="0", at=T0 + 11 * SECOND)],
    ],
    "dead letters": [[LETTER, intent(), intent(qty="11"), intent("C2")]],
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_its_examples_hold_to_it(name: str) -> None:
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:execution-agent:schema:{name}"
    assert schema["examples"]
    for example in schema["examples"]:
        validator(name).validate(example)


@pytest.mark.parametrize("day", DAYS)
def test_events_hold_to_the_schemas_of_their_topics(day: str) -> None:
    for event in events_of(*DAYS[day]):
        body = json.loads(event.body)
        validator(AUDIT_EVENT).validate(body)
        assert (body["event"], body["event_id"]) == (event.event_type, event.event_id)
        if event.event_type in FILL_EVENTS:
            validator(FILL_EVENT).validate(body)
            assert body["correlation_id"] == event.key
        if event.event_type == DEAD_LETTER:
            validator(DEAD_LETTERS).validate(body)
        if topics_of(event.event_type)[0] == HALTS:
            validator(HALTS).validate(body)
            assert body["detail"]["venue"] == event.key
        if (topic := topics_of(event.event_type)[0]) in {FILL_DELAYS, STATUS_REQUESTS, HEDGES}:
            validator(topic).validate(body)
            assert body["correlation_id"] == event.key
            assert set(body["detail"]) <= set(SCHEMAS[topic]["properties"]["detail"]["properties"])
        if event.event_type == COMPLIANCE_FLAG:
            validator(COMPLIANCE_FLAGS).validate(body)
            assert topics_of(event.event_type) == (COMPLIANCE_FLAGS, AUDIT_EVENT)
            assert body["correlation_id"] == event.key


# what Postgres records, and checkpoints: integration/test_audit_rows.py, test_audit_checkpoints.py
ACTS = {
    "checkpoint", "break_voted", "break_noted", "break_assigned", "replay_requested", "halt_requested",
    "look_back_requested", "person_added", "person_removed", "executions_corrected",
}  # fmt: skip


def test_every_kind_of_event_was_among_them() -> None:
    """But for acts, accesses to archives (test_archive_command.py) and secrets (test_credentials.py)."""
    events = [event for day in DAYS.values() for event in events_of(*day)]
    known = {
        name
        for name in SCHEMAS[AUDIT_EVENT]["properties"]["event"]["enum"]
        if not name.startswith(("archive_", "secret_"))
    }
    assert {event.event_type for event in events} == known - ACTS


def test_every_cause_of_a_halt_was_among_them() -> None:
    halts = [e for day in DAYS.values() for e in events_of(*day) if topics_of(e.event_type)[0] == HALTS]
    causes = SCHEMAS[HALTS]["properties"]["detail"]["properties"]["cause"]["enum"]
    assert {json.loads(event.body)["detail"]["cause"] for event in halts} == set(causes) == set(HaltCause)


def test_every_state_and_kind_of_flag_was_among_them() -> None:
    flags = [
        json.loads(event.body)["detail"]
        for day in DAYS.values()
        for event in events_of(*day)
        if event.event_type == COMPLIANCE_FLAG
    ]
    states = SCHEMAS[COMPLIANCE_FLAGS]["properties"]["detail"]["properties"]["state"]["enum"]
    assert {flag["state"] for flag in flags} == set(states)
    assert {flag["kind"] for flag in flags} >= {"overfill", "unknown_order", "cum_qty_differs", "avg_px_differs"}


def test_a_schema_names_exactly_the_fields_that_are_written() -> None:
    """A field that is written and not in the schema, or the other way round, is a mistake in one of them."""
    fill = SCHEMAS[FILL_EVENT]
    assert set(fill["properties"]) == set(fill["required"]) == set(FillBody.__struct_fields__)
    slippage = fill["properties"]["slippage"]["items"]
    assert set(slippage["properties"]) == set(SlippageBody.__struct_fields__)
    assert set(SCHEMAS[AUDIT_EVENT]["$defs"]["decision"]["properties"]) == set(DecisionBody.__struct_fields__)
    for topic in (DEAD_LETTERS, COMPLIANCE_FLAGS, HALTS, FILL_DELAYS, STATUS_REQUESTS, HEDGES):
        assert set(SCHEMAS[topic]["properties"]) == set(DecisionBody.__struct_fields__)


def test_a_schema_lists_every_value_of_an_enumeration() -> None:
    slippage = SCHEMAS[FILL_EVENT]["properties"]["slippage"]["items"]["properties"]
    assert set(slippage["kind"]["enum"]) == set(BenchmarkKind)
    assert set(SCHEMAS[ORDER_INTENT]["properties"]["action"]["enum"]) == set(Action)
    assert set(SCHEMAS[COMPLIANCE_FLAGS]["$defs"]["kind"]["enum"]) == {*BreakKind, NOT_LISTED}
    assert set(SCHEMAS[FILL_EVENT]["properties"]["ord_status"]["enum"]) == set(OrdStatus)
    pending = json.dumps(SCHEMAS[AUDIT_EVENT]["$defs"]["decision"]["allOf"][0])
    assert all(f'"{reason}"' in pending for reason in (PendingReason.INTENT, PendingReason.REFERENCE))


@pytest.mark.parametrize(
    "change", [{"last_qty": 1.5}, {"event": "filled"}, {"event_id": "E1"}, {"transact_time": "today"}]
)
def test_a_wrong_event_does_not_hold_to_the_schema(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator(FILL_EVENT).validate(SCHEMAS[FILL_EVENT]["examples"][0] | change)


# --- in: what the schema allows is read, what it forbids is not ----------------------------------------------


def test_the_examples_of_an_intent_are_read_as_they_say() -> None:
    for example in SCHEMAS[ORDER_INTENT]["examples"]:
        read = decode_intent(json.dumps(example).encode())
        assert isinstance(read, OrderIntent)
        assert (read.msg_id, read.action, read.orig_msg_id) == (
            example["msg_id"],
            example["action"],
            example.get("orig_msg_id"),
        )
        assert read.order_qty == parse_decimal("order_qty", str(example["order_qty"]))


def test_the_examples_of_a_snapshot_are_read_as_they_say() -> None:
    for example in SCHEMAS[MARKET_DATA]["examples"]:
        read = decode_snapshot(json.dumps(example).encode())
        assert isinstance(read, Snapshot)
        assert (read.snapshot_id, read.bid) == (example["snapshot_id"], parse_decimal("bid", str(example["bid"])))


def test_the_fields_that_are_read_are_those_of_the_schema() -> None:
    as_read = {"routed_ns": "routed_at", "at_ns": "at"}
    for struct, topic in ((OrderIntent, ORDER_INTENT), (Snapshot, MARKET_DATA)):
        assert {as_read.get(name, name) for name in struct.__struct_fields__} == set(SCHEMAS[topic]["properties"])


DROP = object()
VALUES: list[Any] = [DROP, None, True, [], {}, 0, -1, 1.5, 10**18, "", "x", "X" * 256, "X" * 257, "a\x00b", "é"]
VALUES += ["0", "0.0", "-1", "1e3", "1e-3", "12.50", "NaN", "Infinity", "buy", "BUY", "new", "replace"]
VALUES += ["cancel", "2026-11-23", "2026-11-23T09:30:00Z", "2026-11-23T09:30:00", "2026-11-23 09:30:00+01:00"]
VALUES += ["2026-11-23T09:30:00.1234567890Z", "2026-11-23T09:30:00.123456789z"]
CANNOT_BE_SAID = {"crossed", "no_price", "out_of_range"}  # by a schema


@pytest.mark.parametrize("topic", INBOUND)
def test_decoder_and_schema_agree_on_what_is_right(topic: str) -> None:
    schema, decode = SCHEMAS[topic], decode_intent if topic == ORDER_INTENT else decode_snapshot
    for field, value, example in product(schema["properties"], VALUES, schema["examples"]):
        message = example | {field: value}
        if value is DROP:
            del message[field]
        refused = refusal(decode, message)
        if refused in CANNOT_BE_SAID:
            continue
        allowed = validator(topic).is_valid(message)
        assert allowed is (refused is None), f"{field}={value!r}: allowed is {allowed}, the decoder says {refused}"


def refusal(decode: Callable[[bytes], object], message: dict[str, Any]) -> str | None:
    try:
        decode(json.dumps(message).encode())
    except DefectError as error:
        return error.defect.reason
    return None


# --- the AsyncAPI document -----------------------------------------------------------------------------------


def test_the_document_has_every_topic_and_its_schema() -> None:
    document = yaml.safe_load((EVENTS / "asyncapi.yaml").read_text())
    channels = {channel["address"]: channel for channel in document["channels"].values()}
    assert set(channels) == {*INBOUND, *OUTBOUND}
    for address, channel in channels.items():
        (reference,) = channel["messages"].values()
        message = document["components"]["messages"][reference["$ref"].rsplit("/", 1)[1]]
        assert message["name"] == address
        if address != DEAD_LETTERS:
            assert message["payload"]["schema"]["$ref"] == f"./{address}.schema.json"
    directions = {
        document["channels"][operation["channel"]["$ref"].rsplit("/", 1)[1]]["address"]: operation["action"]
        for operation in document["operations"].values()
    }
    assert directions == dict.fromkeys(INBOUND, "receive") | dict.fromkeys(OUTBOUND, "send")


class Recorder:
    """Takes what a producer would send."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def produce(self, topic: str, value: bytes, key: str, **message: Any) -> None:
        self.sent.append({"topic": topic, "value": value, "key": key, **message})

    def poll(self, _: float) -> None: ...

    def begin_transaction(self) -> None: ...

    def commit_transaction(self, _: float) -> None: ...


def test_messages_carry_the_headers_of_the_document() -> None:
    headers = yaml.safe_load((EVENTS / "asyncapi.yaml").read_text())["components"]["schemas"]["cloudEventHeaders"]
    writer, recorder = (
        TopicWriter(KafkaSettings(bootstrap="127.0.0.1:1", topic_prefix="t."), "spiffe://x"),
        Recorder(),
    )
    writer._producer = recorder  # type: ignore[assignment]
    (event,) = events_of([LETTER])
    written = OutboxEvent(event.event_id, event.event_type, event.key, event.body, LETTER.raw)
    assert writer.write([written], set()) == {DEAD_LETTERS: 1, AUDIT_EVENT: 1}
    for sent, topic in zip(recorder.sent, (DEAD_LETTERS, AUDIT_EVENT), strict=True):
        carried = {name: value if isinstance(value, str) else value.decode() for name, value in sent["headers"]}
        jsonschema.validate(carried, headers)
        assert set(carried) == {*headers["required"], *(["ce_reason"] if topic == DEAD_LETTERS else [])}
        assert (sent["topic"], carried["ce_type"]) == (f"t.{topic}", topic)
        assert (sent["key"], carried["ce_id"]) == (event.key, event.event_id)
    assert recorder.sent[0]["value"] == LETTER.raw
    validator(DEAD_LETTERS).validate(json.loads(dict(recorder.sent[0]["headers"])["ce_reason"]))
