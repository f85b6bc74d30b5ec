"""Messages to begin with: real ones of ../shared where that is, the documents' examples everywhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from operations.desk.messages import find_messages
from streaming.venues import DECODERS
from tests.conftest import ROOT
from tests.shared import shared

if TYPE_CHECKING:
    from pathlib import Path

INTENT, SNAPSHOT, VERDICT, CONTROL = "order-intents", "snapshots", "verdicts", "controls"
_SAMPLES = {
    "binance_spot": ("binance", "binance_spot"),
    "binance_futures": ("binance_usdm",),
    "kraken": ("kraken", "kraken_futures"),
    "coinbase": ("coinbase",),
    "deribit": ("deribit",),
}
_FIX = (
    "8=FIX.4.4|9=176|35=8|49=VENUE|56=AGENT|34=2|52=20261102-09:30:00.123|37=O1|11=M1|17=E1|150=F|39=1|55=BTCUSDT|"
    "54=1|38=10|32=1|31=100.5|151=9|14=1|6=100.5|60=20261102-09:30:00.123456|453=1|448=ACC|447=D|452=24|136=1|"
    "137=0.1|138=USD|139=4|10=000|"
)
_CAPTURE = (
    "8=FIX.5.0SP2|9=100|35=AE|571=T1|487=0|880=T1|55=BTC-PERP|32=5|31=10|60=20261102-09:30:00|552=1|54=1|37=O1|11=M1|"
    "453=1|448=A|452=24|1362=2|1363=P1|1364=10|1365=2|1363=P2|1364=10|1365=3|10=000|"
)


def corpus() -> dict[str, list[bytes]]:
    """Messages by the format of a venue, or by what of ours they are."""
    found: dict[str, list[bytes]] = {name: [] for name in (*DECODERS, INTENT, SNAPSHOT, VERDICT, CONTROL)}
    for name in DECODERS:
        if name.startswith("fix"):
            found[name] = [text.replace("|", "\x01").encode() for text in (_FIX, _CAPTURE)]
    for folder, formats in _SAMPLES.items():
        for path in sorted(shared(f"samples/{folder}").glob("*.json")):
            for name in formats:
                found[name] += [path.read_bytes(), *_inside(path)]
    messages = shared("samples/fix/messages.jsonl")
    if messages.is_file():
        real = [m.raw for m in find_messages([str(messages)], is_fix=True, raw_field="raw").messages]
        for name in DECODERS:
            if name.startswith("fix"):
                found[name] += real
    events = ROOT / "docs" / "events"
    found["canonical"] += _examples(events / "canonical.report.schema.json")
    found[INTENT] += _examples(events / "order.intent.route.v1.schema.json")
    found[SNAPSHOT] += _examples(events / "market.data.snapshot.v1.schema.json")
    found[VERDICT].append(
        b'[{"vote_id":1,"break_id":"00000000000000000000000000000001","correlation_id":"C1","verdict":"release",'
        b'"person":"a","reason":"r","ours":"1","theirs":"2","at_ns":1}]'
    )
    found[CONTROL].append(b'{"type":"halt","venue":"A"}')
    spare = found["canonical"]
    return {name: messages or spare for name, messages in found.items()}


def _examples(path: Path) -> list[bytes]:
    examples = json.loads(path.read_text("utf-8")).get("examples", [])
    return [json.dumps(example).encode() for example in examples]


def _inside(path: Path) -> list[bytes]:
    """A document's own messages, where it is a list of them or wraps them with remarks."""
    document = json.loads(path.read_text("utf-8"))
    parts = (
        document if isinstance(document, list) else [v for v in document.values() if isinstance(v, dict | list)]
    )
    return [json.dumps(part).encode() for part in parts]
