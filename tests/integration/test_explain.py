"""`execution-agent explain` on a real ledger: whatever is asked for, the whole story and no other order's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.errors import Defect
from ledger.domain.identity import dead_letter_id, identify, make_order_report
from ledger.domain.records import (
    Action,
    Break,
    CapturedOrder,
    DeadLetter,
    ExecType,
    OrdStatus,
    Overdue,
    PendingReason,
    ReportKind,
    Resolution,
    Verdict,
    Waiting,
)
from ledger.domain.times import utc_date
from operations.cli import app
from tests.integration.database import connected
from tests.unit.domain.facts import SECOND, T0, intent, report, snapshot

if TYPE_CHECKING:
    from decimal import Decimal

WIRE = b"8=FIX.4.4\x0135=8\x0117=EXEC-9\x0111=MSG-1\x0131=\x1b[31mnan\x0110=000\x01"
DEFECT = Defect("not_a_number", "LastPx(31)", "nan", "a decimal number is required", "Ask the venue to resend it.")
LETTER = DeadLetter(dead_letter_id("ALPHA", WIRE), "ALPHA", "ALPHA.fix", DEFECT, WIRE, T0 + 7 * SECOND)


def stated(
    exec_id: str,
    exec_type: ExecType,
    *,
    at: int,
    cl_ord_id: str | None = "MSG-1",
    orig: str | None = None,
    order_qty: Decimal | None = None,
    status: OrdStatus | None = None,
    venue_order_id: str = "ORDER-77",
) -> CapturedOrder:
    made = make_order_report(
        venue="ALPHA",
        trade_date=utc_date(at),
        exec_type=exec_type,
        transact_ns=at,
        exec_id=exec_id,
        ord_status=status,
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig,
        venue_order_id=venue_order_id,
        order_qty=order_qty,
    )
    return CapturedOrder(made, "ALPHA.fix", WIRE.replace(b"EXEC-9", exec_id.encode()), at + 1)


async def land(url: str, *batches: list[Fact]) -> Book:
    book = Book()
    async with connected(url) as connection:
        landing = Landing(connection)
        for batch in batches:
            decision = decide(book, batch, Policy())
            await landing.land(decision, ())
            book.apply(decision)
    return book


@pytest.fixture
async def ledger(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An order with a replace, a bust, a fill by OrderID alone and a released break; and another order."""
    second = intent("C1", "MSG-2", action=Action.REPLACE, orig="MSG-1", qty="12", limit="101", at=T0 + 3 * SECOND)
    book = await land(
        ledger_url,
        [snapshot("SNAP-1", "99", "101", T0 - 1)],
        [report("EXEC-1", cl_ord_id="MSG-1", qty="2", px="100", at=T0 + SECOND)],  # before its intent
        [intent("C1", "MSG-1", qty="10", limit="101"), second],
        [stated("EXEC-0", ExecType.NEW, at=T0 + SECOND - 5, status=OrdStatus.NEW)],
        [report("EXEC-2", cl_ord_id="MSG-1", qty="1", px="100.5", at=T0 + 2 * SECOND, fee="0.1")],
        [report("BUST-2", kind=ReportKind.BUST, ref="EXEC-2", cl_ord_id="MSG-1", at=T0 + 3 * SECOND)],
        [stated("EXEC-3", ExecType.REPLACED, at=T0 + 4 * SECOND, cl_ord_id="MSG-2", orig="MSG-1")],
        [report("EXEC-4", cl_ord_id=None, venue_order_id="ORDER-77", qty="3", px="102", at=T0 + 5 * SECOND)],
        [intent("C2", "MSG-9", qty="1"), report("EXEC-1", cl_ord_id="MSG-9", symbol="ETHUSDT", at=T0 + SECOND)],
        [report("EXEC-5", cl_ord_id="nobody", venue_order_id="ORDER-5", at=T0 + 6 * SECOND), LETTER],
    )
    [found] = book.orders["C1"].breaks.values()
    await land_more(ledger_url, book, [_release(found)])
    for name in ("EXECUTION_AGENT_CONFIG", "EXECUTION_AGENT_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXECUTION_AGENT_POSTGRES_URL", ledger_url)
    return ledger_url


async def land_more(url: str, book: Book, facts: list[Fact]) -> None:
    async with connected(url) as connection:
        landing = Landing(connection)
        await landing.land(decide(book, facts, Policy()), ())


def _release(found: Break) -> Resolution:
    return Resolution(
        identify("resolution", found.break_id),
        found.break_id,
        found.correlation_id,
        Verdict.RELEASE,
        found.ours,
        found.theirs,
        "ann",
        "bob",
        "agreed on the phone",
        T0 + 9 * SECOND,
    )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments])


def story(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_reports_in_the_venues_order_with_the_state_after_each(ledger: str) -> None:
    [order] = story("C1")["orders"]
    assert [(i["action"], i["msg_id"], i["order_qty"]) for i in order["intents"]] == [
        ("new", "MSG-1", "10"),
        ("replace", "MSG-2", "12"),
    ]
    after = [
        (
            r["exec_id"],
            r["after"]["ord_status"],
            r["after"]["cum_qty"],
            r["after"]["leaves_qty"],
            r["after"]["avg_px"],
        )
        for r in order["reports"]
    ]
    assert after == [
        ("EXEC-0", "New", "0", "10", "0"),
        ("EXEC-1", "PartiallyFilled", "2", "8", "100"),
        ("EXEC-2", "PartiallyFilled", "3", "7", "100.166666666667"),
        ("BUST-2", "PartiallyFilled", "2", "8", "100"),
        ("EXEC-3", "PartiallyFilled", "2", "10", "100"),
        ("EXEC-4", "PartiallyFilled", "5", "7", "101.2"),
    ]
    assert order["state"]["ord_status"] == "PartiallyFilled"


def test_how_each_was_matched_and_what_it_waited_for(ledger: str) -> None:
    [order] = story("C1")["orders"]
    reports = {r["exec_id"]: r for r in order["reports"]}
    assert reports["EXEC-1"]["matched_by"] == "ClOrdID MSG-1, routed as new"
    assert reports["EXEC-1"]["waited"] == "awaiting_intent (over)"
    assert reports["EXEC-2"]["waited"] is None
    assert reports["BUST-2"]["matched_by"] == "ClOrdID MSG-1, routed as new; takes back execution EXEC-2"
    assert reports["EXEC-3"]["matched_by"] == "ClOrdID MSG-2, routed as replace"
    assert reports["EXEC-4"]["matched_by"].startswith("OrderID ORDER-77, learned from report EXEC-0 of ")
    assert reports["EXEC-0"]["raw"] == "8=FIX.4.4|35=8|17=EXEC-0|11=MSG-1|31=\\x1b[31mnan|10=000|"


def test_executions_breaks_and_events(ledger: str) -> None:
    [order] = story("C1")["orders"]
    executions = {e["exec_id"]: e for e in order["executions"]}
    assert {name: (e["status"], e["chain"]) for name, e in executions.items()} == {
        "EXEC-1": ("active", []),
        "EXEC-2": ("busted", ["BUST-2"]),
        "EXEC-4": ("active", []),
    }
    arrival = next(m for m in executions["EXEC-4"]["slippage"] if m["kind"] == "arrival_mid")
    assert (arrival["bps"], arrival["benchmark"], arrival["snapshot_id"]) == ("200", "100", "SNAP-1")
    assert (arrival["bid"], arrival["ask"], arrival["quality"]) == ("99", "101", "exact")
    [found] = order["breaks"]
    assert (found["kind"], found["exec_id"], found["ours"], found["theirs"]) == (
        "price_beyond_limit",
        "EXEC-4",
        "101",
        "102",
    )
    [resolution] = found["resolutions"]
    assert (resolution["verdict"], resolution["requested_by"], resolution["approved_by"]) == (
        "release",
        "ann",
        "bob",
    )
    assert (found["ended_how"], bool(found["ended_at"])) == ("release", True)
    told = {e["event_id"]: e["event_type"] for e in order["events"]}
    assert all(e["execution_id"] in told for e in order["executions"])
    assert {"fill", "bust", "pending", "break_opened", "break_released", "compliance_flag"} <= set(told.values())


@pytest.mark.parametrize("name", ["EXEC-2", "BUST-2", "EXEC-3", "MSG-2", "ORDER-77", "C1"])
def test_every_name_leads_to_the_order(ledger: str, name: str) -> None:
    assert [order["correlation_id"] for order in story(name)["orders"]] == ["C1"]


@pytest.mark.parametrize("name", ["nobody", "ALPHA:c:nobody", "ORDER-5", "EXEC-5"])
def test_every_name_of_an_order_without_intent_gives_what_waits(ledger: str, name: str) -> None:
    found = story(name)
    assert found["orders"] == []
    assert [(w["exec_id"], w["waits_for"]) for w in found["waiting"]] == [("EXEC-5", "awaiting_intent")]
    assert run(name, "--venue", "BRAVO").exit_code == 1


@pytest.mark.parametrize("name", ["lost", "ALPHA:c:lost", "ORDER-77L", "ALPHA:v:ORDER-77L"])
async def test_a_state_of_an_order_without_intent_is_found_by_its_names(ledger: str, name: str) -> None:
    lost = stated("EXEC-8", ExecType.NEW, at=T0 + 8 * SECOND, cl_ord_id="lost", venue_order_id="ORDER-77L")
    await land(ledger, [lost])
    found = story(name)
    assert [(w["kind"], w["exec_id"]) for w in found["waiting"]] == [("order", "EXEC-8")]
    assert found["orders"] == []


@pytest.mark.parametrize("name", ["ALPHA:c:MSG-1", "ALPHA:v:ORDER-77"])
def test_what_a_break_called_it_leads_to_the_order_when_its_intent_has_come(ledger: str, name: str) -> None:
    assert [order["correlation_id"] for order in story(name)["orders"]] == ["C1"]
    assert run(name.replace(":c:", ":v:")).exit_code == (1 if ":c:" in name else 0)


def test_the_state_after_the_verdicts_is_a_step_of_its_own(ledger: str) -> None:
    [order] = story("C1")["orders"]
    assert order["reports"][-1]["after"]["breaks"] == ["price_beyond_limit"]
    after = order["after_verdicts"]
    assert (after["cum_qty"], after["breaks"]) == ("5", [])
    assert "  after the verdicts: PartiallyFilled, CumQty 5, LeavesQty 7, AvgPx 101.2\n" in run("C1").stdout
    [without] = story("C2")["orders"]
    assert without["after_verdicts"] is None
    assert "after the verdicts" not in run("C2").stdout


async def test_the_letter_of_what_came_out_of_order_is_the_orders(ledger: str) -> None:
    early = report("B1", kind=ReportKind.BUST, ref="E0", cl_ord_id="S1", at=T0 + SECOND)
    book = await land(ledger, [intent("C5", "S1", qty="10"), early])
    waiting = Waiting(early.report.report_id, PendingReason.REFERENCE, "C5", early)
    await land_more(ledger, book, [Overdue(T0 + 3600 * SECOND, (waiting,))])
    [order] = story("C5")["orders"]
    assert [letter["reason"] for letter in order["dead_letters"]] == ["out_of_order"]
    assert "dead_letter" in [event["event_type"] for event in order["events"]]


async def test_short_ids_are_looked_for_as_whole_values_of_their_fields(ledger: str) -> None:
    def letter(raw: bytes) -> DeadLetter:
        return DeadLetter(dead_letter_id("ALPHA", raw), "ALPHA", "ALPHA.fix", DEFECT, raw, T0)

    mine = [b"8=FIX.4.4\x0111=M1\x0131=x\x01", b'{"cl_ord_id": "M1", "last_px": "x"}', b"8=FIX.4.4|17=7|31=x|"]
    others = [b"8=FIX.4.4\x0111=M12\x0131=x\x01", b"8=FIX.4.4\x0158=M1\x0131=x\x01", b'{"last_qty": "7"}']
    await land(ledger, [intent("C6", "M1", qty="10"), report("7", cl_ord_id="M1", at=T0 + SECOND)])
    await land(ledger, [letter(raw) for raw in (*mine, *others)])
    [order] = story("C6")["orders"]
    assert {each["dead_letter_id"].replace("-", "") for each in order["dead_letters"]} == {
        letter(raw).dead_letter_id for raw in mine
    }


def test_all_times_for_programs_are_in_one_notation(ledger: str) -> None:
    whole = run("C1", "--json").stdout + run("EXEC-5", "--json").stdout
    times = re.findall(r"\d{4}-\d\d-\d\dT[^\" ),]*", whole)
    assert len(times) > 20
    assert [time for time in times if not re.fullmatch(r"[0-9T:-]{19}\.\d{9}Z", time)] == []


def test_an_exec_id_of_two_orders_gives_both_and_one_of_none_says_so(ledger: str) -> None:
    assert [order["correlation_id"] for order in story("EXEC-1")["orders"]] == ["C1", "C2"]
    found = story("EXEC-5", "--venue", "ALPHA")
    assert found["orders"] == []
    assert [(w["exec_id"], w["waits_for"]) for w in found["waiting"]] == [("EXEC-5", "awaiting_intent")]
    for arguments in (["EXEC-1", "--venue", "BRAVO"], ["EXEC-77"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert arguments[0] in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_page_for_people_has_it_all_and_is_safe_to_look_at(ledger: str) -> None:
    page = run("C1").stdout
    assert "\x1b" not in page
    for said in (
        "Order C1",
        "replace MSG-2 of MSG-1, 12",
        "after it: PartiallyFilled, CumQty 5, LeavesQty 7, AvgPx 101.2",
        "EXEC-2: busted, by BUST-2, buy 1 @ 100.5",
        "arrival_mid: 200 bps against 100",
        "price_beyond_limit of EXEC-4: ours 101, theirs 102",
        "release asked for by ann, approved by bob: agreed on the phone",
        "not_a_number: LastPx(31)=nan",
    ):
        assert said in page
    assert "EXEC-5" not in page
    assert "ETHUSDT" not in page


def test_votes_and_notes_stand_beside_their_break(ledger: str) -> None:
    [found] = story("MSG-9")["orders"][0]["breaks"]
    with psycopg.connect(ledger) as connection:
        connection.execute("SET session_replication_role = replica")  # the rows as they are, by no person's login
        connection.execute(
            "INSERT INTO execution.break_votes"
            " (break_id, correlation_id, verdict, reason, ours, theirs, person, at_ns)"
            " VALUES (%s, 'C2', 'reject', 'not ours', 'BTCUSDT', 'ETHUSDT', 'ann', %s)",
            (found["break_id"], T0),
        )
        connection.execute(
            "INSERT INTO execution.break_notes (break_id, person, kind, note)"
            " VALUES (%s, 'bob', 'note', 'asked ALPHA')",
            (found["break_id"],),
        )
    [found] = story("MSG-9")["orders"][0]["breaks"]
    assert [(v["person"], v["verdict"], v["reason"]) for v in found["votes"]] == [("ann", "reject", "not ours")]
    assert [(n["person"], n["kind"], n["note"]) for n in found["notes"]] == [("bob", "note", "asked ALPHA")]
    page = run("MSG-9").stdout
    assert "ann votes reject: not ours" in page
    assert "bob, note: asked ALPHA" in page
