"""`execution-agent decode` and `replay`: what files hold, in whatever form, and where orders stand after it."""

import base64
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from operations.cli import app
from tests.shared import needs_shared, shared

FILL = (
    "8=FIX.4.4|9=1|35=8|34=2|49=V|52=20261102-09:30:01|56=T|37=O-1|11=M1|17=E1|150=F|39=1|55=BTCUSD|54=1|38=10000|"
    "14=3000|151=7000|32=3000|31=100.50|6=100.5|60=20261102-09:30:01.123456789|10=000|"
)
REST = (
    FILL.replace("17=E1", "17=E2")
    .replace("14=3000|151=7000|32=3000", "14=10000|151=0|32=7000")
    .replace("39=1", "39=2")
)
NEW = (
    "8=FIX.4.4|9=1|35=8|34=1|49=V|52=20261102-09:30:00|56=T|37=O-1|11=M1|17=E0|150=0|39=0|55=BTCUSD|54=1|38=10000|"
    "14=0|151=10000|6=0|60=20261102-09:30:00|10=000|"
)
HEARTBEAT = "8=FIX.4.4|9=1|35=0|34=1|49=V|52=20261102-09:30:00|56=T|10=000|"
BAD = FILL.replace("31=100.50", "31=abc").replace("17=E1", "17=E9")
INTENT = {
    "correlation_id": "C1", "msg_id": "M1", "action": "new", "venue": "ALPHA", "account": "ACC",
    "symbol": "BTCUSD", "side": "buy", "order_qty": "10000", "limit_price": "101",
    "routed_at": "2026-11-02T09:29:59Z",
}  # fmt: skip


def run(*arguments: str | Path, sent: bytes = b"") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=sent)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def decoded(sent: str | bytes, *options: str, venue: str = "fix44") -> list[dict[str, Any]]:
    raw = sent.encode() if isinstance(sent, str) else sent
    return lines(run("decode", "--venue", venue, *options, "-", sent=raw))


def replayed(sent: str, *options: str | Path, venue: str = "fix44") -> list[dict[str, Any]]:
    return lines(run("replay", "--venue", venue, *options, "-", sent=sent.encode()))


@pytest.fixture
def intents(tmp_path: Path) -> Path:
    path = tmp_path / "intents.jsonl"
    path.write_text(json.dumps(INTENT) + "\n")
    return path


# --- decode -------------------------------------------------------------------------------------------------


def test_a_fill_is_printed_exactly() -> None:
    [line] = decoded(FILL)
    assert line.items() >= {
        "message": 1, "kind": "fill", "exec_type": "Trade", "venue": "fix44", "exec_id": "E1", "cl_ord_id": "M1",
        "venue_order_id": "O-1", "symbol": "BTCUSD", "side": "buy", "last_qty": "3000", "last_px": "100.5",
        "cum_qty": "3000", "leaves_qty": "7000", "transact_time": "2026-11-02T09:30:01.123456789Z",
        "trade_date": "2026-11-02",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        f"{NEW}\n{FILL}\n{REST}\n",
        f"{NEW}\r\n{FILL}\r\n{REST}\r\n",
        f"{NEW}{FILL}{REST}",
        f"\ufeff{NEW}\n\n{FILL}\n{REST}",
        "".join(f"20261102-09:30:01.123 : {line}\n" for line in (NEW, FILL, REST)),
        "".join(f"2026-11-02 09:30:01 <V in> [{line}]\n" for line in (NEW, FILL, REST)),
        "".join(f"{line.replace('|', '^A')}\n" for line in (NEW, FILL, REST)),
        "".join(line.replace("|", "\x01") for line in (NEW, FILL, REST)),
        "".join(f"{line}\n".replace("|", "\x01") for line in (NEW, FILL, REST)),
        "".join(f"{line.removesuffix('|')}\n" for line in (NEW, FILL, REST)),
    ],
    ids=[
        "lines",
        "crlf",
        "one line",
        "bom",
        "quickfix log",
        "brackets",
        "caret",
        "wire",
        "soh lines",
        "open",
    ],
)
def test_a_fix_file_in_whatever_form(text: str) -> None:
    assert [(line["message"], line["kind"], line.get("exec_id")) for line in decoded(text)] == [
        (1, "order", "E0"),
        (2, "fill", "E1"),
        (3, "fill", "E2"),
    ]


def test_what_is_wrong_is_named_and_its_bytes_are_kept() -> None:
    [line] = decoded(BAD)
    assert line["kind"] == "defect"
    assert (line["reason"], line["field"], line["value"]) == ("not_a_number", "LastPx(31)", "abc")
    assert line["rule"]
    assert line["remedy"]
    assert line["raw"] == BAD
    assert base64.b64decode(line["raw_base64"]) == BAD.replace("|", "\x01").encode()


def test_other_messages_are_counted_by_name_and_other_lines_said() -> None:
    result = run("decode", "--venue", "fix", "-", sent=f"connected\n{HEARTBEAT}\nbye\n".encode())
    assert lines(result) == [{"message": 1, "kind": "others", "others": {"heartbeat": 1}}]
    assert result.stderr == "execution-agent: 2 lines hold no message; the first is standard input:1\n"


def test_a_message_that_was_cut_off_is_a_defect() -> None:
    found = decoded(f"{FILL.removesuffix('10=000|')}\n{REST}\n")
    assert [(line["kind"], line.get("exec_id")) for line in found] == [("defect", None), ("fill", "E2")]


def test_fields_without_a_begin_string_are_a_defect_and_not_nothing() -> None:
    [line] = decoded("35=8|17=E1|150=F|\n")
    assert (line["kind"], line["reason"]) == ("defect", "malformed")


def test_a_text_that_holds_a_begin_string_is_one_message() -> None:
    text = FILL.replace("|", "\x01").replace("\x0110=000", "\x0158=see 8=FIX.4.4|35=8\x0110=000")
    body = text[text.index("35=8") : text.index("10=000")]
    [line] = decoded(text.replace("9=1\x01", f"9={len(body)}\x01", 1))
    assert line["exec_id"] == "E1"


def test_gzip_several_files_and_raw_fields(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(NEW.encode()))
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": 1, "raw": FILL}) + "\n" + json.dumps({"raw": REST}) + "\n")
    assert [line["exec_id"] for line in lines(run("decode", "--venue", "fix", tmp_path / "a.gz"))] == ["E0"]
    both = lines(run("decode", "--venue", "fix", "--raw-field", "raw", tmp_path / "b.jsonl"))
    assert [line["exec_id"] for line in both] == ["E1", "E2"]


@needs_shared
def test_the_real_messages_with_their_notes() -> None:
    path = shared("samples/fix/messages.jsonl")
    found = lines(run("decode", "--venue", "FIX-4.4", "--raw-field", "raw", path))
    assert [line["message"] for line in found] == list(range(1, 9))
    plain = lines(run("decode", "--venue", "fix", path))
    assert [line.get("exec_id") for line in plain] == [line.get("exec_id") for line in found]


@needs_shared
@pytest.mark.parametrize(
    ("venue", "name", "kinds"),
    [
        ("binance", "binance_spot/execution_report_trade.json", ["fill"]),
        ("Binance-Spot", "binance_spot/execution_report_new.json", ["order"]),
        ("binance_futures", "binance_futures/order_update_trade.json", ["fill"]),
        ("kraken", "kraken/ws_v2_executions_seq8_pending_new.json", ["order"]),
        ("COINBASE", "coinbase/ws_user.json", None),
        ("deribit", "deribit/doc_user_trades_instrument_two_fills_same_ms.json", ["fill", "fill"]),
    ],
)
def test_a_json_document_pretty_printed_on_one_line_and_in_a_list(
    venue: str, name: str, kinds: list[str] | None
) -> None:
    document = shared(f"samples/{name}").read_bytes()
    found = decoded(document, venue=venue)
    assert kinds is None or [line["kind"] for line in found] == kinds
    assert all(line["message"] == 1 for line in found)
    short = json.dumps(json.loads(document)).encode()
    one_line = decoded(b"2026-11-02T09:30:01 [in] " + short + b"\n" + short, venue=venue)
    in_list = decoded(b"[" + short + b", " + document + b"]", venue=venue)
    for both in (one_line, in_list):
        assert [line["message"] for line in both] == [1] * len(found) + [2] * len(found)
        assert [line.get("exec_id") for line in both] == [line.get("exec_id") for line in found] * 2


def test_json_that_cannot_be_read_costs_its_own_line() -> None:
    good = json.dumps({"channel": "heartbeat", "last_sequence": 1})
    found = decoded(f'{good}\n{{"channel": \n{good}\n', venue="canonical")
    assert [line["kind"] for line in found] == ["others", "defect", "others"]
    assert [line["kind"] for line in decoded(f"{good}\n\xff{{\n".encode("latin-1"), venue="canonical")] == [
        "others",
        "defect",
    ]


def test_what_is_deeper_in_a_cut_message_is_no_message() -> None:
    whole = json.dumps({"channel": "executions", "sequence": 1, "data": [{"type": "fill", "exec_id": "E1"}]})
    [line] = decoded(f"{whole[:-1]}\n", venue="canonical")
    assert (line["kind"], line["raw"]) == ("defect", whole[:-1])


@pytest.mark.parametrize("venue", ["fix", "binance", "kraken", "coinbase", "deribit", "canonical"])
def test_no_bytes_whatever_stop_it(venue: str, intents: Path) -> None:
    single = [*FILL.replace("|", "\x01"), *'{}[]",:\n0|^A\x1e\xff']
    pieces = [*single, FILL, '{"e":', "8=FIX.4.4|", "10=000|", '[{"a":1},']
    for seed in range(40):
        chance = random.Random(seed)
        sent = "".join(chance.choices(pieces, k=chance.randrange(60))).encode("latin-1")
        for arguments in (["decode"], ["replay"], ["replay", "--intents", intents]):
            result = run(*arguments, "--venue", venue, "-", sent=sent)
            assert result.exit_code == 0, (seed, result.exception)
            assert all(json.loads(line)["message"] for line in result.stdout.splitlines())


_DEEP = 200_000


@pytest.mark.parametrize("sent", ["[" * _DEEP, "[" * _DEEP + "]" * _DEEP, '{"raw":' * _DEEP])
@pytest.mark.parametrize("options", [[], ["--raw-field", "raw"]])
def test_what_is_nested_beyond_reason_is_a_defect(sent: str, options: list[str]) -> None:
    found = run("decode", "--venue", "binance", *options, "-", sent=sent.encode())
    shown = lines(found)
    assert [line["reason"] for line in shown] in (["malformed"], [])
    assert bool(shown) != ("1 line holds no message" in found.stderr)  # never neither


@pytest.mark.parametrize("sent", ["[" * _DEEP, '{"venue":' * _DEEP, '{"correlation_id":' + "[" * _DEEP])
def test_intents_and_snapshots_nested_beyond_reason_are_said(sent: str, tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text(sent)
    for option in ("--intents", "--snapshots"):
        result = run("replay", "--venue", "binance", option, deep, "-", sent=b'{"e":"x"}')
        assert result.exit_code == 0, result.exception
        assert f"{deep}:1: " in result.stderr
        assert "JSON as in docs/formats.md is required" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["decode", "--venue", "nasdaq", "-"],
            2,
            "--venue 'nasdaq' is not known: give one of canonical, fix, fix42",
        ),
        (["decode", "--venue", "fix", "nowhere.log"], 1, "nowhere.log cannot be read: No such file"),
        (["replay", "--venue", "fix", "--intents", "nowhere", "-"], 1, "nowhere cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], code: int, said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_gzip_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(FILL.encode())[:-9])
    result = run("decode", "--venue", "fix", tmp_path / "cut.gz")
    assert result.exit_code == 1
    assert "its gzip is damaged" in result.stderr


# --- replay -------------------------------------------------------------------------------------------------


def test_one_line_a_message_with_the_state_after_it(intents: Path) -> None:
    new, beat, fill, bad, again, rest = replayed(
        f"{NEW}\n{HEARTBEAT}\n{FILL}\n{BAD}\n{FILL}\n{REST}", "--intents", intents
    )
    assert (new["ord_status"], new["cum_qty"], new["leaves_qty"], new["avg_px"]) == ("New", "0", "10000", "0")
    assert beat == {
        "message": 2, "correlation_id": None, "msg_id": None, "exec_id": None, "ord_status": None, "cum_qty": None,
        "leaves_qty": None, "avg_px": None, "executions": [], "breaks": [], "pending": [], "dead_letters": [],
        "others": {"heartbeat": 1},
    }  # fmt: skip
    assert (fill["message"], fill["correlation_id"], fill["msg_id"], fill["exec_id"]) == (3, "C1", "M1", "E1")
    assert (fill["ord_status"], fill["cum_qty"], fill["leaves_qty"]) == ("PartiallyFilled", "3000", "7000")
    assert fill["avg_px"] == "100.5"
    assert [letter["field"] for letter in bad["dead_letters"]] == ["LastPx(31)"]
    assert (bad["correlation_id"], bad["cum_qty"]) == ("C1", "3000")  # its order stands as before
    assert (again["duplicates"], again["cum_qty"]) == (1, "3000")
    assert (rest["ord_status"], rest["leaves_qty"]) == ("Filled", "0")
    assert [execution["exec_id"] for execution in rest["executions"]] == ["E1", "E2"]


def test_a_guarantee_of_fix_4_2_is_no_trade(intents: Path) -> None:
    """Matrix D37: Stopped is told as a partial fill with CumQty 0, and lasts when the trade has come."""
    old = FILL.replace("FIX.4.4", "FIX.4.2").replace("150=F|39=1", "20=0|150=1|39=7")
    promised = old.replace("14=3000|151=7000", "14=0|151=10000")
    traded = old.replace("17=E1", "17=E2")
    first, second = replayed(f"{promised}\n{traded}", "--intents", intents)
    assert (first["ord_status"], first["cum_qty"], first["executions"]) == ("Stopped", "0", [])
    assert (second["ord_status"], second["cum_qty"], second["breaks"]) == ("Stopped", "3000", [])


def test_breaks_show_at_once_with_both_values(intents: Path) -> None:
    [line] = replayed(REST, "--intents", intents)  # the venue counts 10000, one report is missing
    assert [(b["kind"], b["ours"], b["theirs"]) for b in line["breaks"]] == [("cum_qty_differs", "7000", "10000")]
    [line] = replayed(FILL.replace("54=1", "54=2").replace("31=100.50", "31=102"), "--intents", intents)
    assert "side_differs" in {b["kind"] for b in line["breaks"]}


def test_a_bust_waits_for_its_fill_and_a_fill_for_its_intent(intents: Path) -> None:
    bust = (
        FILL.replace("150=F", "150=H")
        .replace("17=E1", "17=E3|19=E1")
        .replace("14=3000|151=7000", "14=0|151=10000")
    )
    early, late = replayed(f"{bust}\n{FILL}", "--intents", intents)
    assert [(p["reason"], p["exec_id"], p["exec_ref_id"]) for p in early["pending"]] == [
        ("awaiting_reference", "E3", "E1")
    ]
    assert (late["pending"], late["cum_qty"]) == ([], "0")
    assert [e["status"] for e in late["executions"]] == ["busted"]
    [line] = replayed(FILL.replace("11=M1", "11=M9").replace("37=O-1", "37=O-9"), "--intents", intents)
    assert (line["correlation_id"], line["msg_id"], line["executions"]) == (None, "M9", [])
    assert [(p["reason"], p["exec_id"]) for p in line["pending"]] == [("awaiting_intent", "E1")]
    assert (line["ord_status"], line["cum_qty"], line["leaves_qty"]) == ("PartiallyFilled", "3000", "7000")


def test_an_intent_may_come_later_when_they_are_taken_in_order(tmp_path: Path) -> None:
    late = tmp_path / "intents"
    late.write_text(json.dumps([{**INTENT, "routed_at": "2026-11-02T09:30:01.5Z"}]))
    text = f"{FILL}\n{REST.replace('60=20261102-09:30:01', '60=20261102-09:30:02')}"
    assert [line["correlation_id"] for line in replayed(text, "--intents", late)] == ["C1", "C1"]
    first, second = replayed(text, "--intents", late, "--in-order")
    assert (first["correlation_id"], first["executions"]) == (None, [])
    assert (second["correlation_id"], second["cum_qty"]) == ("C1", "10000")


def test_intents_without_venue_and_account_are_of_the_reports(tmp_path: Path) -> None:
    bare = tmp_path / "intents"
    bare.write_text(json.dumps({k: v for k, v in INTENT.items() if k not in {"venue", "account"}}))
    for text in (FILL, FILL.replace("37=O-1|", "37=O-1|1=ACC-7|")):
        [line] = replayed(text, "--intents", bare)
        assert (line["breaks"], line["cum_qty"]) == ([], "3000")


def test_a_bad_intent_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    both = tmp_path / "intents.jsonl"
    both.write_text(json.dumps({**INTENT, "msg_id": "M0", "order_qty": "0"}) + "\n" + json.dumps(INTENT) + "\n")
    result = run("replay", "--venue", "fix", "--intents", both, "-", sent=FILL.encode())
    assert [line["cum_qty"] for line in lines(result)] == ["3000"]
    assert result.stderr.startswith(f"execution-agent: {both}:1: order_qty='0': ")


def test_whose_messages_they_are_must_be_clear(tmp_path: Path) -> None:
    both = tmp_path / "intents.jsonl"
    rows = [INTENT, {**INTENT, "correlation_id": "C2", "venue": "Fix_44"}]
    both.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [line["correlation_id"] for line in replayed(FILL, "--intents", both)] == ["C2"]
    assert [line["correlation_id"] for line in replayed(FILL, "--intents", both, "--name", "ALPHA")] == ["C1"]
    result = run("replay", "--venue", "fix42", "--intents", both, "-", sent=FILL.encode())
    assert result.exit_code == 2
    assert "say with --name whose the messages are" in result.stderr


def test_snapshots_give_the_executions_their_slippage(intents: Path, tmp_path: Path) -> None:
    book = {"snapshot_id": "S1", "symbol": "BTCUSD", "bid": "99", "ask": "101", "at": "2026-11-02T09:29:58Z"}
    (tmp_path / "snapshots").write_text(json.dumps(book))
    [line] = replayed(FILL, "--intents", intents, "--snapshots", tmp_path / "snapshots")
    [execution] = line["executions"]
    found = {metric["kind"]: metric for metric in execution["slippage"]}
    assert (found["arrival_mid"]["bps"], found["arrival_mid"]["benchmark"]) == ("50", "100")
    assert found["arrival_mid"]["snapshot_id"] == "S1"


def test_a_trade_capture_with_two_sides_is_one_line_with_both(tmp_path: Path) -> None:
    sides = "552=2|54=1|37=O-1|11=M1|1=ACC|54=2|37=O-2|11=M2|1=ACC|"
    capture = (
        "8=FIX.4.4|9=1|35=AE|34=1|49=V|52=20261102-09:30:00|56=T|571=T1|487=0|856=0|17=E1|55=BTCUSD|32=5|31=100|"
        f"75=20261102|60=20261102-09:30:00|{sides}10=000|"
    )
    path = tmp_path / "intents"
    other = {**INTENT, "correlation_id": "C2", "msg_id": "M2", "side": "sell", "limit_price": "99"}
    path.write_text(json.dumps(INTENT) + "\n" + json.dumps(other))
    [line] = replayed(capture, "--intents", path)
    assert line["correlation_id"] == "C2"
    assert [(r["correlation_id"], r["msg_id"], r["cum_qty"]) for r in line["reports"]] == [
        ("C1", "M1", "5"),
        ("C2", "M2", "5"),
    ]


def test_a_line_that_is_no_json_is_a_message_that_is_wrong() -> None:
    sent = '{"type":"fill"}\nconnection closed\n{"channel":"heartbeat"}\n'
    found = decoded(sent, venue="canonical")
    assert [(line["message"], line.get("reason")) for line in found] == [
        (1, "missing_field"),
        (2, "malformed"),
        (3, None),
    ]
