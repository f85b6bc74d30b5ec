"""Order state change matrices of FIX (4.2 to 5.0SP2, appendix D) as facts, and as the messages they are about.

A row of ``MATRICES`` is a message: to the venue ``D X 10000``, ``G Y,X 8000``, ``F Y,X``; from it ``8`` with
ClOrdID (and OrigClOrdID), ExecType, OrdStatus, OrderQty, CumQty, LeavesQty, LastQty, then what is not the default:
a price ``@50``, an AvgPx ``~50``, an ExecID ``=B``, an ExecRefID ``>B``, ``!`` where the figures do not follow
from what was reported so far; or ``9`` with the ids and OrdStatus. ``day`` begins the next day. A row with ``?``
before it is the other way it may go: the matrix goes on as if it had not been there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TITLES = {
    "NewOrder": "D", "CancelRequest": "F", "ReplaceRequest": "G", "ExecutionReport": "8", "CancelReject": "9",
}  # fmt: skip
_FIGURES = ("exec_type", "status", "order_qty", "cum_qty", "leaves_qty", "last_qty")
_EXEC_TYPES = {
    "New": "0", "DoneforDay": "3", "DoneForDay": "3", "Canceled": "4", "Replace": "5", "PendingCancel": "6",
    "Stopped": "7", "Rejected": "8", "Suspended": "9", "PendingNew": "A", "Calculated": "B", "Expired": "C",
    "Restated": "D", "PendingReplace": "E", "Trade": "F", "PartialFill": "F", "Fill": "F", "TradeCorrect": "G",
    "TradeCancel": "H", "OrderStatus": "I",
}  # fmt: skip
_STATUSES = {
    "New": "0", "PartiallyFilled": "1", "Filled": "2", "DoneForDay": "3", "Canceled": "4", "PendingCancel": "6",
    "Stopped": "7", "Rejected": "8", "Suspended": "9", "PendingNew": "A", "Calculated": "B", "Expired": "C",
    "PendingReplace": "E",
}  # fmt: skip
_TRADES = {"F", "G", "H"}


@dataclass(frozen=True)
class Step:
    """One message of a matrix; figures as text, "" where the matrix has none."""

    kind: str  # MsgType
    cl_ord_id: str
    orig: str = ""
    exec_type: str = ""
    status: str = ""
    order_qty: str = ""
    cum_qty: str = ""
    leaves_qty: str = ""
    last_qty: str = "0"
    last_px: str = "100"
    avg_px: str = ""
    exec_id: str = ""
    exec_ref_id: str = ""
    day: int = 1
    is_alternative: bool = False
    is_resent: bool = False
    is_other: bool = False  # figures that do not follow from what was reported so far

    @property
    def is_report(self) -> bool:
        return self.kind in "89"


def shared_matrices() -> dict[str, list[Step]]:
    """The transcribed matrices."""
    found = json.loads(shared("samples/fix/order_state_matrices.json").read_text())
    return {name: [_shared_step(step) for step in matrix["steps"]] for name, matrix in found.items()}


def _shared_step(given: dict[str, Any]) -> Step:
    def said(name: str, default: str = "") -> str:
        value = given.get(name)
        return default if value is None else str(value)

    status = said("ord_status").replace(" ", "")
    return Step(
        _TITLES[given["msg"]], said("clordid"), said("origclordid"), said("exec_type").replace(" ", ""),
        "DoneForDay" if status == "DoneforDay" else status, said("order_qty"), said("cum_qty"), said("leaves_qty"),
        said("last_qty", "0"), said("last_px", "100"), said("avg_px"), said("exec_id"), said("exec_ref_id"),
        2 if said("time").startswith("D2") else 1, bool(given.get("alternative")), bool(given.get("poss_resend")),
    )  # fmt: skip


def written_matrices() -> dict[str, list[Step]]:
    """Those of ``MATRICES``."""
    return {name: list(_steps(table)) for name, table in MATRICES.items()}


def _steps(table: str) -> Iterator[Step]:
    day = 1
    for row in table.strip().splitlines():
        words = row.split()
        if not words:
            continue
        if words == ["day"]:
            day += 1
            continue
        is_alternative = words[0] == "?"
        kind, ids, *rest = words[1:] if is_alternative else words
        cl_ord_id, _, orig = ids.partition(",")
        step = Step(kind, cl_ord_id, orig, day=day, is_alternative=is_alternative)
        if kind in "DGF":
            yield replace(step, order_qty=rest[0] if rest else "")
        elif kind == "9":
            yield replace(step, status=rest[0])
        else:
            figures = dict(zip(_FIGURES, rest[:6], strict=True))
            marks = {word[0]: word[1:] for word in rest[6:]}
            yield replace(
                step, **figures, last_px=marks.get("@", "100"), avg_px=marks.get("~", ""),
                exec_id=marks.get("=", ""), exec_ref_id=marks.get(">", ""), is_other="!" in marks,
            )  # fmt: skip


def paths(steps: Sequence[Step]) -> list[list[Step]]:
    """The matrix's own path first, then each way off it, up to where it leaves."""
    own = [step for step in steps if not step.is_alternative]
    off = [
        [*(s for s in steps[:number] if not s.is_alternative), step]
        for number, step in enumerate(steps)
        if step.is_alternative
    ]
    return [own, *off]


@dataclass(frozen=True)
class Spelling:
    """How a matrix is written as messages."""

    begin: str = "FIX.4.4"
    separator: str = "|"
    same_time: bool = False
    order_id: str = "O-1"

    @property
    def is_old(self) -> bool:
        return self.begin == "FIX.4.2"


def fix_lines(steps: Sequence[Step], spelling: Spelling, *, requests: bool) -> list[str]:
    """Give the messages; ``requests``: those to the venue, too."""
    return [_fix_line(number, step, spelling) for number, step in enumerate(steps) if step.is_report or requests]


def _fix_line(number: int, step: Step, spelling: Spelling) -> str:
    clock = f"2026110{step.day}-09:30:{0 if spelling.same_time else number:02d}.000"
    order_id = spelling.order_id if step.cl_ord_id == "X" or step.orig else ""
    fields = [
        ("8", spelling.begin), ("9", "100"), ("35", step.kind), ("34", str(number + 1)), ("49", "V"), ("56", "T"),
        ("52", clock), ("37", order_id if step.is_report else ""), ("11", step.cl_ord_id), ("41", step.orig),
    ]  # fmt: skip
    if step.kind == "8":
        fields += _report_fields(number, step, spelling)
    elif step.kind == "9":
        fields += [("39", _STATUSES[step.status]), ("434", "1"), ("102", "0")]
    if step.kind != "9":
        fields += [("55", "BTCUSD"), ("54", "1"), ("38", step.order_qty)]
    if step.kind == "D":
        fields += [("40", "1")]
    fields += [("97", "Y" if step.is_resent else ""), ("60", clock), ("10", "000")]
    return "".join(f"{tag}={value}{spelling.separator}" for tag, value in fields if value)


def _report_fields(number: int, step: Step, spelling: Spelling) -> list[tuple[str, str]]:
    exec_type, trans_type = _EXEC_TYPES[step.exec_type], ""
    trades = exec_type in _TRADES
    if spelling.is_old:
        trans_type = {"H": "1", "G": "2", "I": "3"}.get(exec_type, "0")
        if trades or exec_type == "I":
            exec_type = {"PartiallyFilled": "1", "Filled": "2"}.get(step.status, "1" if trades else "0")
    average = step.avg_px or ("100" if step.cum_qty.strip("0") else "0")
    return [
        ("17", "0" if step.exec_type == "OrderStatus" else step.exec_id or f"E{number}"), ("19", step.exec_ref_id),
        ("20", trans_type), ("150", exec_type), ("39", _STATUSES[step.status]), ("14", step.cum_qty),
        ("151", step.leaves_qty), ("32", step.last_qty), ("31", step.last_px if trades else "0"), ("6", average),
    ]  # fmt: skip


def intents(steps: Sequence[Step], venue: str = "ALPHA") -> list[dict[str, str | None]]:
    """The routed messages of a matrix as values of ``order.intent.route.v1``; each D begins an order."""
    roots: dict[str, str] = {}
    found: list[dict[str, str | None]] = []
    for number, step in enumerate(steps):
        if step.is_report or (step.is_resent and step.cl_ord_id in roots):
            continue
        root = roots[step.cl_ord_id] = roots.get(step.orig, f"C-{step.orig or step.cl_ord_id}")
        found.append(
            {
                "correlation_id": root,
                "msg_id": step.cl_ord_id,
                "action": {"D": "new", "G": "replace", "F": "cancel"}[step.kind],
                "orig_msg_id": step.orig or None,
                "venue": venue,
                "account": "ACC",
                "symbol": "BTCUSD",
                "side": "buy",
                "order_qty": step.order_qty or "10000",
                "routed_at": f"2026-11-0{step.day}T09:30:{number:02d}Z",
            }
        )
    return found


_ACKNOWLEDGED = "D X 10000\n? 8 X Rejected Rejected 10000 0 0 0\n8 X New New 10000 0 10000 0\n"
_STARTED = _ACKNOWLEDGED + "8 X Trade PartiallyFilled 10000 1000 9000 1000\n"
_RENEWED = """
D X 10000
8 X New New 10000 0 10000 0 =A
8 X Trade PartiallyFilled 10000 2000 8000 2000 =B
8 X DoneForDay DoneForDay 10000 2000 8000 0 =C
day
8 X Restated PartiallyFilled 10000 2000 8000 0 =D
"""
MATRICES = {
    "A.1.a filled": _ACKNOWLEDGED + """
        8 X Trade PartiallyFilled 10000 2000 8000 2000
        8 X Trade PartiallyFilled 10000 3000 7000 1000
        8 X Trade Filled 10000 10000 0 7000""",
    "B.1.a cancel of an unfilled order": _ACKNOWLEDGED + """
        F Y,X
        ? 9 Y,X New
        8 Y,X PendingCancel PendingCancel 10000 0 10000 0
        ? 9 Y,X New
        8 Y,X Canceled Canceled 10000 0 0 0""",
    "B.1.d cancel before the acknowledgement": """
        D X 10000
        F Y,X
        8 Y,X PendingCancel PendingCancel 10000 0 10000 0
        8 X New PendingCancel 10000 0 10000 0
        ? 9 Y,X New
        8 Y,X Canceled Canceled 10000 0 0 0""",
    "B.1.e cancel and acknowledgement cross": """
        D X 10000
        F Y,X
        8 X New New 10000 0 10000 0
        8 Y,X PendingCancel PendingCancel 10000 0 10000 0
        8 Y,X Canceled Canceled 10000 0 0 0""",
    "C.1.a replace of an unfilled order, more": _ACKNOWLEDGED + """
        G Y,X 11000
        ? 9 Y,X New
        8 Y,X PendingReplace PendingReplace 10000 0 10000 0
        ? 9 Y,X New
        8 Y,X Replace New 11000 0 11000 0
        8 Y Trade PartiallyFilled 11000 1000 10000 1000
        8 Y Trade PartiallyFilled 11000 3000 8000 2000""",
    "C.1.c replace of a filled order, more": _ACKNOWLEDGED + """
        8 X Trade Filled 10000 10000 0 10000
        G Y,X 12000
        ? 9 Y,X Filled
        8 Y,X PendingReplace PendingReplace 10000 10000 0 0
        ? 9 Y,X Filled
        8 Y,X Replace PartiallyFilled 12000 10000 2000 0
        8 Y Trade Filled 12000 12000 0 2000""",
    "C.2.a replace too late": _STARTED + """
        G Y,X 10000
        8 X Trade Filled 10000 10000 0 9000
        9 Y,X Filled""",
    "C.3.a replace, less, above what is filled": _STARTED + """
        G Y,X 8000
        8 X Trade PartiallyFilled 10000 1500 8500 500
        ? 9 Y,X PartiallyFilled
        8 Y,X PendingReplace PendingReplace 10000 1500 8500 0
        8 X Trade PendingReplace 10000 1600 8400 100
        ? 9 Y,X PartiallyFilled
        8 Y,X Replace PartiallyFilled 8000 1600 6400 0
        8 Y Trade Filled 8000 8000 0 6400""",
    "C.3.b replace, less, what is filled": _ACKNOWLEDGED + """
        G Y,X 7000
        8 X Trade PartiallyFilled 10000 7000 3000 7000
        8 Y,X Replace Filled 7000 7000 0 0""",
    "C.3.c replace, less than is filled": _ACKNOWLEDGED + """
        G Y,X 7000
        8 X Trade PartiallyFilled 10000 8000 2000 8000
        8 Y,X Replace Filled 8000 8000 0 0""",
    "D.1.a two replaces, both accepted": _STARTED + """
        G Y,X 8000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        8 X Trade PendingReplace 10000 1500 8500 500
        8 Y,X Replace PartiallyFilled 8000 1500 6500 0
        8 Y Trade PartiallyFilled 8000 3500 4500 2000
        G Z,Y 6000
        8 Z,Y PendingReplace PendingReplace 8000 3500 4500 0
        8 Y Trade PendingReplace 8000 4000 4000 500
        8 Z,Y Replace PartiallyFilled 6000 4000 2000 0
        8 Z Trade Filled 6000 6000 0 2000""",
    "D.1.b replace rejected, another accepted": _STARTED + """
        G Y,X 8000
        9 Y,X PartiallyFilled
        8 X Trade PartiallyFilled 10000 1500 8500 500
        8 X Trade PartiallyFilled 10000 3500 6500 2000
        G Z,X 6000
        8 Z,X PendingReplace PendingReplace 10000 3500 6500 0
        8 Z,X Replace PartiallyFilled 6000 3500 2500 0
        8 Z Trade PartiallyFilled 6000 5000 1000 1500""",
    "D.1.c replace rejected when pending, another accepted": _STARTED + """
        G Y,X 8000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        8 X Trade PendingReplace 10000 1500 8500 500
        9 Y,X PartiallyFilled
        8 X Trade PartiallyFilled 10000 3500 6500 2000
        G Z,X 6000
        8 Z,X PendingReplace PendingReplace 10000 3500 6500 0
        ? 9 Z,X PartiallyFilled
        8 Z,X Replace PartiallyFilled 6000 3500 2500 0
        8 Z Trade PartiallyFilled 6000 5000 1000 1500""",
    "D.2.a two replaces at once, one after the other": _STARTED + """
        G Y,X 8000
        G Z,Y 7000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        8 Y,X Replace PartiallyFilled 8000 1000 7000 0
        8 Z,Y PendingReplace PendingReplace 8000 1000 7000 0
        8 Z,Y Replace PartiallyFilled 7000 1000 6000 0
        8 Z Trade Filled 7000 7000 0 6000""",
    "D.2.b two replaces at once, both pending first": _STARTED + """
        G Y,X 8000
        G Z,Y 7000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        8 Z,X PendingReplace PendingReplace 8000 1000 7000 0 !
        8 Y,X Replace PendingReplace 8000 1000 7000 0
        8 Z,Y Replace PartiallyFilled 7000 1000 6000 0
        8 Z Trade Filled 7000 7000 0 6000""",
    "D.2.c two replaces at once, rejected one after the other": _STARTED + """
        G Y,X 8000
        G Z,Y 7000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        9 Y,X PartiallyFilled
        8 Z,X PendingReplace PendingReplace 10000 1000 9000 0
        9 Z,X PartiallyFilled""",
    "D.2.d second replace rejected as the first is pending": _STARTED + """
        G Y,X 8000
        G Z,Y 7000
        8 Y,X PendingReplace PendingReplace 10000 1000 9000 0
        9 Z,X PendingReplace
        8 Y,X Replace PartiallyFilled 8000 1000 7000 0
        8 Y Trade PartiallyFilled 8000 3000 5000 2000""",
    "E.1.b unsolicited cancel": _STARTED + "8 X Canceled Canceled 10000 1000 0 0",
    "F.1.a rejected": "D X 10000\n8 X Rejected Rejected 10000 0 0 0",
    "G.1.c status asked for": _STARTED + """
        8 X OrderStatus PartiallyFilled 10000 1000 9000 0
        8 X Trade Filled 10000 10000 0 9000
        8 X OrderStatus Filled 10000 10000 0 0""",
    "H.1.b GT, canceled the next day": _RENEWED + """
        F Y,X
        ? 9 Y,X PartiallyFilled
        8 Y,X PendingCancel PendingCancel 10000 2000 8000 0
        ? 9 Y,X PartiallyFilled
        8 Y,X Canceled Canceled 10000 2000 0 0""",
    "H.1.c GT, replaced the next day": _RENEWED + """
        G Y,X 15000
        ? 9 Y,X PartiallyFilled
        8 Y,X PendingReplace PendingReplace 10000 2000 8000 0
        8 X Trade PendingReplace 10000 3000 7000 1000
        ? 9 Y,X PartiallyFilled
        8 Y,X Replace PartiallyFilled 15000 3000 12000 0""",
    "I.1.a fill or kill, killed": "D X 10000\n8 X New New 10000 0 10000 0\n8 X Canceled Canceled 10000 0 0 0",
    "I.1.b immediate or cancel": _STARTED + "8 X Canceled Canceled 10000 1000 0 0",
    "I.1.c good till date, expired": _STARTED + "8 X Expired Expired 10000 1000 0 0",
    "J.1.b canceled, busted, filled again": """
        D X 10000
        8 X New New 10000 0 10000 0 =A
        8 X Trade PartiallyFilled 10000 5000 5000 5000 =B @50 ~50
        F Y,X
        8 Y,X PendingCancel PendingCancel 10000 5000 5000 0 =C ~50
        8 Y,X Canceled Canceled 10000 5000 0 0 =D ~50
        8 X TradeCancel Canceled 10000 0 0 0 =E >B ~0
        8 X Trade Canceled 10000 4000 0 4000 =F @51 ~51""",
    "J.1.c GT, both days corrected": _RENEWED + """
        8 X Trade PartiallyFilled 10000 3000 7000 1000 =E
        8 X TradeCorrect PartiallyFilled 10000 2500 7500 1500 =F >B
        8 X TradeCorrect PartiallyFilled 10000 2000 8000 500 =G >E""",
    "K.1.a trading halt, order canceled": _STARTED + "8 X Canceled Canceled 10000 1000 0 0",
    "K.1.b suspended and reinstated": _STARTED + """
        8 X Suspended Suspended 10000 1000 9000 0
        8 X Restated PartiallyFilled 10000 1000 9000 0
        8 X Trade Filled 10000 10000 0 9000""",
    "L.1.a guaranteed": """
        D X 10000
        8 X New New 10000 0 10000 0
        8 X Stopped Stopped 10000 0 10000 1000
        8 X Trade Stopped 10000 1000 9000 1000 @50 ~50""",
    "calculated": _STARTED + "8 X DoneForDay DoneForDay 10000 1000 0 0\n8 X Calculated Calculated 10000 1000 0 0",
    "busted after the full fill": _ACKNOWLEDGED + """
        8 X Trade Filled 10000 10000 0 10000 =B
        8 X TradeCancel New 10000 0 10000 0 =C >B ~0
        8 X Trade PartiallyFilled 10000 4000 6000 4000""",
}  # fmt: skip
