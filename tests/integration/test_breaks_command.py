"""`execution-agent breaks` and `people`: what two persons decide is done when the command says so."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from ledger.db.landing import Landing
from ledger.domain.records import BreakKind
from operations.breaks.guide import WHAT_TO_DO
from operations.breaks.pages import summary
from operations.cli import app
from operations.people import require_person
from tests.integration.arrivals import fill, fill_message, fills, intent
from tests.integration.database import connected
from tests.integration.people import Person, person

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.integration.floor import Floor


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXECUTION_AGENT_CONFIG", "EXECUTION_AGENT_POSTGRES_URL", "EXECUTION_AGENT_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(ledger_url: str, tmp_path: Path) -> Path:
    """A state folder with the settings of a streaming process that does not run."""
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "stream.toml").write_text(
        f'postgres_url = "{ledger_url}"\nredis_url = "redis://127.0.0.1:1/0"\n'
        '[kafka]\nbootstrap = "127.0.0.1:1"\n'
        '[venues.ALPHA]\nformat = "canonical"\n'
        '[venues.ALPHA.feed]\nkind = "rest"\nsecrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="]\n'
    )
    return tmp_path


async def run(*arguments: str, who: Person | None = None, state: Path | None = None) -> Result:
    options = [*(["--url", who.url] if who is not None else []), *(["--state", str(state)] if state else [])]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*arguments, *options]))


async def said(*arguments: str, who: Person | None = None, state: Path | None = None) -> str:
    result = await run(*arguments, who=who, state=state)
    assert result.exit_code == 0, result.output
    return result.stdout


# --- votes -------------------------------------------------------------------------------------------------


async def test_the_second_person_releases_and_is_told_what_went_out(
    floor: Floor, alice: Person, bob: Person, state: Path
) -> None:
    break_id = (await floor.overfill()).replace("-", "")
    first = await said("breaks", "release", break_id[:6], "--reason", "phoned", who=alice, state=state)
    assert first == f"{alice.name} votes to release overfill of C1: waiting for a second person\n"
    again = await said("breaks", "release", break_id[:6], "--reason", "really", who=alice, state=state)
    assert again == first
    second = await said("breaks", "release", break_id[:6], "--reason", "agreed", who=bob, state=state)
    assert second.splitlines() == [
        f"released: overfill of C1, by {alice.name} and {bob.name}",
        "published in order: fill E2",
    ]
    assert await floor.told() == [("fill", "E1"), ("fill", "E2")]
    async with connected(floor.url) as other:  # the lease was given back
        await Landing(other).take_lease("execution-agent")


async def test_a_running_process_lands_what_two_persons_decide(
    floor: Floor, alice: Person, bob: Person, state: Path
) -> None:
    floor.writer = "execution-agent"
    break_id = await floor.overfill()
    async with floor.landing() as lander:
        await lander.ready.wait()
        await said("breaks", "reject", break_id, "--reason", "not ours", who=alice, state=state)
        second = await said("breaks", "reject", break_id, "--reason", "not ours", who=bob, state=state)
    assert second.splitlines()[:2] == [
        f"rejected: overfill of C1, by {alice.name} and {bob.name}",
        "voided E2: buy 1 BTCUSDT @ 100",
    ]
    rows = await floor.watching.fetch("SELECT exec_id, status FROM execution.executions ORDER BY exec_id")
    assert [tuple(row) for row in rows] == [("E1", "active"), ("E2", "voided")]


async def test_what_else_is_wrong_keeps_the_order_on_hold(
    floor: Floor, alice: Person, bob: Person, state: Path
) -> None:
    await floor.land(intent(), fill("E1"))
    conflict = fills(fill_message("E1", last_px="101"))
    await floor.land(conflict, fills(fill_message("E2", side="sell")))
    assert {exec_id for _, exec_id in await floor.told()} == {"E1"}, "nothing of E2 goes out"
    rows = json.loads(await said("breaks", "list", "--kind", "side_differs", "--json", state=state))
    await said("breaks", "reject", rows[0]["break_id"], "--reason", "x", who=alice, state=state)
    second = await said("breaks", "reject", rows[0]["break_id"], "--reason", "y", who=bob, state=state)
    assert second.splitlines() == [
        f"rejected: side_differs of C1, by {alice.name} and {bob.name}",
        "voided E2: sell 1 BTCUSDT @ 100",
        "the order stays on hold: 1 more of its breaks open",
    ]


async def test_what_can_never_apply_is_refused_with_the_first_vote(
    floor: Floor, alice: Person, state: Path
) -> None:
    await floor.land(intent(), fills(fill_message("E1", cum_qty="5")))
    break_id = await floor.open_break()
    result = await run("breaks", "reject", break_id, "--reason", "x", who=alice, state=state)
    assert result.exit_code == 1
    assert result.stderr.startswith("execution-agent: refused: a cum_qty_differs is about totals")
    assert "Release it, or have the venue bust or resend" in result.stderr
    assert await floor.value("SELECT count(*) FROM execution.break_votes") == 0
    await said("breaks", "release", break_id, "--reason", "x", who=alice, state=state)


async def test_a_conflicting_duplicate_tells_the_wording_that_went_and_the_one_that_counts(
    floor: Floor, alice: Person, bob: Person, state: Path
) -> None:
    await floor.land(intent(), fill("E1"))
    await floor.land(fills(fill_message("E1", last_px="101")), fills(fill_message("E1", last_px="102")))
    break_id = await floor.open_break()
    price = "SELECT trim_scale(last_px)::text FROM execution.executions"
    before = await floor.value(price)
    await said("breaks", "reject", break_id, "--reason", "x", who=alice, state=state)
    second = await said("breaks", "reject", break_id, "--reason", "y", who=bob, state=state)
    lines, now = second.splitlines(), await floor.value(price)
    assert now != before
    assert lines[1] == f"voided the wording of E1: buy 1 BTCUSDT @ {before}"
    assert lines[2] == f"what counts of E1: buy 1 BTCUSDT @ {now}"
    assert lines[-1] == "the order stays on hold: the same break is still open with other values"


async def test_votes_that_do_not_agree_are_named(floor: Floor, alice: Person, bob: Person, state: Path) -> None:
    break_id = await floor.overfill()
    await said("breaks", "reject", break_id, "--reason", "x", who=alice, state=state)
    waiting = await said("breaks", "release", break_id, "--reason", "y", who=bob, state=state)
    assert waiting.splitlines() == [
        f"{bob.name} votes to release overfill of C1: waiting for a second person",
        f"{alice.name} voted to reject at ours 1, theirs 2: that does not agree",
    ]
    assert await floor.open_break() == break_id
    assert "release 1, reject 1" in await said("breaks", "list", state=state)
    agreeing = await said("breaks", "reject", break_id, "--reason", "so be it", who=bob, state=state)
    assert agreeing.startswith("rejected: ")


async def test_the_list_counts_the_last_vote_of_each_person(floor: Floor, alice: Person, state: Path) -> None:
    break_id = await floor.overfill()
    assert (await said("breaks", "list", state=state)).splitlines()[1].endswith("  none")
    for word in ("reject", "release"):
        await said("breaks", word, break_id, "--reason", "x", who=alice, state=state)
        assert (await said("breaks", "list", state=state)).splitlines()[1].endswith(f"  {word} 1")
    (row,) = json.loads(await said("breaks", "list", "--json", state=state))
    assert (row["releases"], row["rejects"]) == (1, 0)
    await floor.land(fill("E3"))  # other values: the vote was not on them
    assert (await said("breaks", "list", state=state)).splitlines()[1].endswith("  none")


async def test_without_a_process_and_its_settings_the_vote_is_recorded(
    floor: Floor, alice: Person, bob: Person, tmp_path: Path
) -> None:
    break_id = await floor.overfill()
    options = ("--reason", "x", "--wait", "0.2")
    await said("breaks", "release", break_id, *options, who=alice, state=tmp_path)
    recorded = await said("breaks", "release", break_id, *options, who=bob, state=tmp_path)
    assert recorded.startswith("recorded, and both persons agree: it lands as soon as")
    async with floor.landing():
        await floor.answered()
    assert await floor.told() == [("fill", "E1"), ("fill", "E2")]


async def test_no_vote_without_a_login_of_ones_own(floor: Floor, state: Path) -> None:
    break_id = await floor.overfill()
    result = await run("breaks", "release", break_id, "--reason", "x", state=state)
    assert result.exit_code == 1
    assert "a vote is a person's: log in as yourself with --url" in result.stderr
    assert "execution-agent people add NAME" in result.stderr
    assert await floor.value("SELECT count(*) FROM execution.break_votes") == 0


async def test_a_break_that_changed_or_ended_is_said(floor: Floor, alice: Person, state: Path) -> None:
    break_id = await floor.overfill()
    seen = ("--reason", "x", "--ours", "1", "--theirs", "2")
    await floor.land(fill("E3"))
    changed = await run("breaks", "release", break_id, *seen, who=alice, state=state)
    assert (changed.exit_code, "the break has changed: theirs is 3 now" in changed.stderr) == (1, True)
    await floor.land(*(fills(fill_message(f"B{n}", type="bust", exec_ref_id=f"E{n}")) for n in (2, 3)))
    ended = await run("breaks", "release", break_id, "--reason", "x", who=alice, state=state)
    assert (ended.exit_code, "not open any more" in ended.stderr) == (1, True)
    assert "ended: facts" in await said("breaks", "list", "--all", who=alice, state=state)


# --- looking -----------------------------------------------------------------------------------------------


async def test_the_list_is_oldest_first_by_age_and_narrows(floor: Floor, alice: Person, state: Path) -> None:
    break_id = await floor.overfill()
    await floor.land(intent("C2", "M2", limit_price="99"), fill("E7", "M2"))
    await floor.watching.execute(
        "UPDATE execution.breaks SET opened_at = now() - interval '3 hours' WHERE kind = 'overfill'"
    )
    lines = (await said("breaks", "list", who=alice, state=state)).splitlines()
    assert [line.split()[0] for line in lines] == ["id", break_id[:8], lines[2].split()[0], "2"]
    assert ("< 1 day (3h)" in lines[1], "< 2 min (" in lines[2]) == (True, True)
    assert lines[3] == "2 open: 1 < 2 min, 0 < 1 h, 1 < 1 day, 0 older"

    async def listed(*options: str) -> list[str]:
        found = json.loads(await said("breaks", "list", "--json", *options, who=alice, state=state))
        return [row["kind"] for row in found]

    assert await listed() == ["overfill", "price_beyond_limit"]
    assert await listed("--age", "1h") == ["overfill"]
    assert await listed("--kind", "price_beyond_limit") == ["price_beyond_limit"]
    assert await listed("--venue", "BRAVO") == []
    assert await said("breaks", "assign", break_id, "carol", who=alice, state=state) == (
        f"carol owns it, says {alice.name}\n"
    )
    assert await listed("--owner", "carol") == ["overfill"]
    assert await said("breaks", "list", "--owner", "nobody", who=alice, state=state) == f"{summary([])}\n"


async def test_one_is_shown_with_all_that_is_known(floor: Floor, alice: Person, state: Path) -> None:
    break_id = await floor.overfill()
    await said("breaks", "release", break_id, "--reason", "phoned", who=alice, state=state)
    await said("breaks", "note", break_id, "ticket \x1b[31m7741", who=alice, state=state)
    page = await said("breaks", "show", break_id[:5], who=alice, state=state)
    for part in (
        "kind    overfill", "ours    1", "theirs  2", "OrderQty 1, CumQty 2, LeavesQty 0, AvgPx 100;",
        "new M1: buy 1",
        "E2 active: buy 1 BTCUSDT @ 100", "events that wait:\n  fill E2", "ALPHA.rest fill E1", '"exec_id": "E1"',
        f"{alice.name}: release (ours 1, theirs 2): phoned", "7741", WHAT_TO_DO[BreakKind.OVERFILL],
    ):  # fmt: skip
        assert part in page
    assert "\x1b" not in page
    shown = json.loads(await said("breaks", "show", break_id, "--json", who=alice, state=state))
    assert re.fullmatch(r"[0-9T:-]{19}\.\d{9}Z", shown["opened_at"])
    assert shown["state"]["avg_px"] == "100"
    assert (shown["theirs"], len(shown["reports"]), shown["votes"][0]["person"]) == ("2", 2, alice.name)


async def test_a_fill_without_an_order_is_listed_by_its_venue_and_cannot_be_released(
    floor: Floor, alice: Person, state: Path
) -> None:
    await floor.land(fill("E1", "M404"))
    await floor.watching.execute("UPDATE execution.fills_pending SET since_ns = 0")
    async with floor.landing():
        async with asyncio.timeout(20):
            while not await floor.value("SELECT count(*) FROM execution.breaks"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    (row,) = json.loads(await said("breaks", "list", "--venue", "ALPHA", "--json", who=alice, state=state))
    assert row["kind"] == "unknown_order"
    assert "E1" in await said("breaks", "show", row["break_id"], who=alice, state=state)
    for verdict in ("release", "reject"):
        result = await run("breaks", verdict, row["break_id"], "--reason", "x", who=alice, state=state)
        assert (result.exit_code, "route the missing intent" in result.stderr) == (1, True)
    assert await floor.value("SELECT count(*) FROM execution.break_votes") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("breaks", "show", "0000"), 1, "there is no break 0000"),
        (("breaks", "show", "xyz"), 1, "at least 4 of its 32 hex digits"),
        (("breaks", "list", "--kind", "odd"), 2, "--kind: 'odd' is none of symbol_differs"),
        (("breaks", "list", "--age", "old"), 2, "--age: 'old' is no duration"),
        (("people", "add", "Al ice"), 1, "NAME 'Al ice': a lower-case letter"),
        (("people", "remove", "postgres"), 1, "there is no person postgres"),
    ],
)
async def test_what_is_wrong_is_one_line(state: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    result = await run(*arguments, state=state)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert len(result.stderr.splitlines()) == 1


async def test_the_beginning_of_two_ids_is_not_one(floor: Floor, state: Path) -> None:
    await floor.watching.execute(
        "INSERT INTO execution.breaks (break_id, correlation_id, kind, ours, theirs) VALUES "
        "('aaaa0000-0000-0000-0000-000000000001', 'C', 'overfill', '1', '2'), "
        "('aaaa0000-0000-0000-0000-000000000002', 'C', 'overfill', '1', '2')"
    )
    result = await run("breaks", "show", "aaaa", state=state)
    assert (result.exit_code, "is the beginning of 2 breaks" in result.stderr) == (1, True)


def test_every_kind_of_break_has_its_advice_here_and_in_the_manual() -> None:
    manual = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    assert set(WHAT_TO_DO) == set(BreakKind)
    for kind, advice in WHAT_TO_DO.items():
        assert any(line.startswith(f"| `{kind}` | ") and f"| {advice} |" in line for line in manual.splitlines())


# --- people ------------------------------------------------------------------------------------------------


async def test_people_are_added_listed_and_locked_out(ledger_url: str, state: Path) -> None:
    with person(ledger_url, "dora") as dora:
        assert dora.name in (await said("people", "list", state=state)).splitlines()
        twice = await run("people", "add", dora.name, state=state)
        assert (twice.exit_code, "a name stands for one person for good" in twice.stderr) == (1, True)
        with psycopg.connect(dora.url) as session:
            assert (
                await said("people", "remove", dora.name, state=state) == f"{dora.name} may not log in any more\n"
            )
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dora.url)
        assert dora.name not in await said("people", "list", state=state)


async def test_a_note_takes_a_person(floor: Floor, urls: dict[str, str], state: Path) -> None:
    break_id = await floor.overfill()
    for url in (urls["writer"], urls["auditor"]):
        for words in (("note", break_id, "mine"), ("assign", break_id, "me")):
            refused = await run("breaks", *words, "--url", url, state=state)
            assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
            assert "is a person's to do" in refused.stderr or "needs the role operator" in refused.stderr
    assert await floor.value("SELECT count(*) FROM execution.break_notes") == 0


async def test_an_administrator_adds_persons_and_is_named(
    ledger_url: str, urls: dict[str, str], state: Path
) -> None:
    made = f"eve_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(ledger_url, autocommit=True) as owner:
        try:
            root = (await said("people", "add", f"{made}_root", "--administrator", state=state)).strip()
            for url in (urls["writer"], urls["dagster"], urls["auditor"]):
                refused = await run("people", "add", made, "--url", url, state=state)
                assert (refused.exit_code, "may not add or remove persons" in refused.stderr) == (1, True)
            added = ("--role", "auditor", "--role", "backfill", "--url", root)
            url = (await said("people", "add", made, *added, state=state)).strip()
            shown = await said("people", "list", state=state)
            assert f"{made}  auditor, backfill\n" in shown
            assert f"{made}_root  operator, administrator\n" in shown
            assert require_person(url, "this", "auditor") == made
            refused = await run("people", "add", f"{made}_too", "--url", url, state=state)
            assert (refused.exit_code, "may not add or remove persons" in refused.stderr) == (1, True)
            await said("people", "remove", made, "--url", root, state=state)
            acts = owner.execute(
                "SELECT event_type, recorded_by FROM execution.audit_events WHERE key = %s ORDER BY position",
                [made],
            ).fetchall()
            assert acts == [("person_added", f"{made}_root"), ("person_removed", f"{made}_root")]
        finally:
            for name in (made, f"{made}_root"):
                owner.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


async def test_a_login_that_was_made_may_look_and_vote_and_nothing_else(ledger_url: str, alice: Person) -> None:
    with psycopg.connect(alice.url, autocommit=True) as connection:
        for table in ("fills", "executions", "order_states", "audit_events", "dead_letters"):
            connection.execute(sql.SQL("SELECT count(*) FROM execution.{}").format(sql.Identifier(table)))
        for statement in ("CREATE TABLE execution.x ()", "CREATE ROLE x", "DELETE FROM execution.fills"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
