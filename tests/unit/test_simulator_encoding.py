"""What the practice venues put on the wire, read with other people's parsers."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
import simplefix
from standardwebhooks import Webhook

from simulator import canonical, fix_message
from simulator.clock import Clock, fix_time, rfc3339
from simulator.fix_session import FixSession
from simulator.journal import Journal
from simulator.orders import Identifiers, Intent, Order, Report
from simulator.records import Message, Session, Unconfirmed
from simulator.rest_venue import sign

if TYPE_CHECKING:
    from pathlib import Path

WALL = 1_795_000_000_123_456_789
CLOCK = Clock(WALL)
SENT = fix_time(WALL)


def a_fill() -> Report:
    intent = Intent(
        at=0,
        correlation_id="C-1",
        msg_id="M-1",
        action="new",
        orig_msg_id=None,
        venue="ALPHA",
        account="ACC",
        symbol="BTCUSDT",
        side="buy",
        order_qty=Decimal("0.00010"),
        limit_price=Decimal("61700.00"),
        decision_price=Decimal("61686.005"),
        currency="USDT",
        venue_order_id="O-1",
    )
    order = Order(intent, Identifiers("t", 1))
    return order.fill(5, Decimal("0.00004"), Decimal("61686.01"), "maker", more=True)[0]


def parsed(raw: bytes) -> simplefix.FixMessage:
    parser = simplefix.FixParser()
    parser.append_buffer(raw)
    message = parser.get_message()
    assert message is not None
    return message


def test_an_order_refuses_to_overfill_or_to_pass_its_limit() -> None:
    order = Order(a_fill().intent, Identifiers("t", 1))
    with pytest.raises(ValueError, match=r"with 0\.00010 open"):
        order.fill(1, Decimal("0.00011"), Decimal(1), "taker", more=False)
    with pytest.raises(ValueError, match="beyond the limit"):
        order.fill(1, Decimal("0.00001"), Decimal(61701), "taker", more=False)


def test_times_keep_what_each_wire_can_say() -> None:
    assert rfc3339(WALL) == "2026-11-18T11:06:40.123456789Z"
    assert fix_time(WALL) == "20261118-11:06:40.123456"


def test_a_fix_frame_has_the_right_length_and_checksum() -> None:
    raw = fix_message.frame("8", ("ALPHA", "US"), 7, SENT, fix_message.execution_report(a_fill(), CLOCK))
    message = parsed(raw)
    assert fix_message.checksum_fits(message)
    assert message.encode() == raw  # simplefix computes both anew
    assert message.get(32) == b"0.00004"
    assert message.get(14) == b"0.00004"
    assert message.get(151) == b"0.00006"
    assert not fix_message.checksum_fits(parsed(fix_message.garbled(raw)))


def test_no_decimal_has_an_exponent() -> None:
    assert canonical.plain(Decimal("1E-7")) == "0.0000001"
    assert canonical.plain(Decimal("1E+2")) == "100"


def test_a_signature_is_what_standard_webhooks_verifies() -> None:
    body, now = canonical.rest_report(a_fill(), CLOCK), datetime.now(tz=UTC)
    headers = {
        "webhook-id": "id-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": sign(b"simulator", "id-1", now, body),
    }
    read = Webhook("whsec_c2ltdWxhdG9y").verify(body, headers)
    assert read["last_px"] == "61686.01"
    assert read["cl_ord_id"] is None  # a maker fill
    assert read["venue_order_id"] == "O-1"


def test_every_flaw_comes_up_and_none_is_a_readable_fill() -> None:
    rng, seen = random.Random(1), set()
    for _ in range(200):
        flaw, payload = canonical.malformed(a_fill(), CLOCK, "BAD-1", rng)
        seen.add(flaw)
        try:
            fields = json.loads(payload)
        except ValueError:
            assert flaw in {"truncated", "bad_utf8"}
            continue
        good = json.loads(canonical.websocket_report(a_fill(), CLOCK)) | {"exec_id": "BAD-1"}
        assert {name for name in good if fields.get(name) != good[name]} - {"correlation_id"}
    assert seen == set(canonical.FLAWS)
    assert {fix_message.malformed(a_fill(), CLOCK, "BAD-1", rng)[0] for _ in range(100)} == set(fix_message.FLAWS)


class Peer:
    """The other end of a session, message by message."""

    def __init__(self, session: FixSession) -> None:
        self.session = session
        self.raw: list[bytes] = []
        self.sequence = 0
        session.connect(self.raw.append)

    def say(self, kind: str, *fields: tuple[int, str], sequence: int = 0, poss_dup: bool = False) -> None:
        self.sequence = sequence or self.sequence + 1
        content = fix_message.body(list(fields))
        first_sent = SENT if poss_dup else None
        self.session.received(
            parsed(fix_message.frame(kind, ("US", "ALPHA"), self.sequence, SENT, content, first_sent=first_sent))
        )

    def heard(self) -> list[simplefix.FixMessage]:
        messages = [parsed(raw) for raw in self.raw]
        self.raw.clear()
        return messages


class Store:
    """A journal in memory."""

    def __init__(self) -> None:
        self.kept: dict[int, Message] = {}

    def keep_session(self, session: Session) -> None: ...

    def commit(self) -> None: ...

    def renumber(self, session: Session, message_id: int, sequence: int) -> None:
        message = next(one for one in self.kept.values() if one.id == message_id)
        self.kept[sequence] = msgspec.structs.replace(message, epoch=session.epoch, sequence=sequence)

    def messages(self, session: Session, first: int, last: int) -> list[Message]:
        return [
            self.kept[one]
            for one in sorted(self.kept)
            if first <= one <= last and self.kept[one].epoch == session.epoch
        ]


@pytest.fixture
def peer() -> Peer:
    return Peer(FixSession(("ALPHA", "US"), Store(), Session("ALPHA"), lambda _: None))


def test_nothing_is_said_before_the_logon(peer: Peer) -> None:
    peer.say("1", (112, "hello"))
    assert peer.session.hang_up
    assert not peer.raw


def test_a_test_request_is_answered_with_its_id(peer: Peer) -> None:
    peer.say("A", (98, "0"), (108, "30"))
    peer.say("1", (112, "hello"))
    logon, heartbeat = peer.heard()
    assert (logon.message_type, logon.get(108)) == (b"A", b"30")
    assert (heartbeat.message_type, heartbeat.get(112)) == (b"0", b"hello")


def test_a_gap_of_the_peer_is_asked_for_and_its_gap_fill_accepted(peer: Peer) -> None:
    peer.say("A", (98, "0"), (108, "30"))
    peer.heard()
    peer.say("0", sequence=5)
    (resend,) = peer.heard()
    assert (resend.message_type, resend.get(7), resend.get(16)) == (b"2", b"2", b"0")
    peer.say("4", (123, "Y"), (36, "6"), sequence=2, poss_dup=True)
    assert peer.session.state.next_in == 6
    peer.say("1", (112, "x"), sequence=6)
    assert peer.heard()[-1].get(112) == b"x"


def test_a_sequence_too_low_is_refused(peer: Peer) -> None:
    peer.say("A", (98, "0"), (108, "30"))
    peer.say("0", sequence=1)
    assert b"expecting 2 but received 1" in peer.heard()[-1].get(58)
    assert peer.session.hang_up


def test_a_foreign_comp_id_is_refused(peer: Peer) -> None:
    peer.session.received(parsed(fix_message.frame("A", ("THEM", "ALPHA"), 1, SENT, b"98=0\x01108=30\x01")))
    assert not peer.session.logged_on
    assert peer.session.hang_up


def test_a_reset_begins_at_one_and_undelivered_reports_follow() -> None:
    store = Store()
    session = FixSession(("ALPHA", "US"), store, Session("ALPHA", next_out=40, next_in=9), lambda _: None)
    body = fix_message.execution_report(a_fill(), CLOCK)
    store.kept[39] = Message(1, "ALPHA", 1, 39, WALL, "", (1,), (body,))
    session.unconfirmed[39] = Unconfirmed(1, (1,))
    peer = Peer(session)
    peer.say("A", (98, "0"), (108, "30"), (141, "Y"))
    while session.replaying:
        session.replay_piece()
    logon, report = peer.heard()
    assert (logon.get(34), logon.get(141)) == (b"1", b"Y")
    assert (report.get(34), report.get(17), report.get(43)) == (b"2", a_fill().exec_id.encode(), None)
    assert session.state.next_in == 2


def test_a_journal_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Journal(tmp_path, "")
    session = first.session("ALPHA")
    session.next_out = 17
    first.keep_session(session)
    first.add_intent("C-1", "M-1", b"{}")
    first.close()
    second = Journal(tmp_path, "")
    assert (first.run, second.run, first.tag == second.tag) == (1, 2, True)
    assert second.session("ALPHA").next_out == 17
    assert second.unacked_intents() == [("C-1", "M-1", b"{}")]
    second.close()
