"""An order's story for people: one page, with headings in bold where a terminal can show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from operations.dead_letters import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console

    from operations.desk.shown import Shown

Line = tuple[str, str]  # text, style
_HEADING = "bold"
_FAINT = "dim"


def print_story(story: Shown, console: Console) -> None:
    """Print all orders of a story, then the reports that have none."""
    lines: list[Line] = []
    for order in story["orders"]:
        lines += [*_order(order), ("", "")]
    if story["waiting"]:
        lines.append(("Reports without an order", _HEADING))
        for report in story["waiting"]:
            lines.append((f"  {_said(report)}", ""))
            lines.append((f"     waits for {report['waits_for']} since {report['since']}", ""))
            lines += _came(report)
    while lines and not lines[-1][0]:
        lines.pop()
    for text, style in lines:
        console.print(Text(escaped(text), style=style), soft_wrap=True)


def _order(order: Shown) -> Iterator[Line]:
    root = order["intents"][0] if order["intents"] else {}
    state = order["state"]
    yield f"Order {order['correlation_id']}", _HEADING
    yield f"  {_words(root, 'venue', 'account', 'symbol', 'side')}", ""
    if state is not None:
        yield f"  {_state(state)}, OrderQty {state['order_qty']}", ""
    yield "Routed", _HEADING
    for intent in order["intents"]:
        prices = _labelled(intent, limit="limit_price", decision="decision_price", OrderID="venue_order_id")
        of = f" of {intent['orig_msg_id']}" if intent["orig_msg_id"] else ""
        message = f"{intent['action']} {intent['msg_id']}{of}, {intent['order_qty']}"
        yield f"  {intent['routed_at']}  {message}{prices}", ""
    yield from _section("Reported, in the venue's order", order["reports"], _report)
    if order["after_verdicts"] is not None:
        yield f"  after the verdicts: {_after(order['after_verdicts'])}", ""
    yield from _section("Executions", order["executions"], _execution)
    yield from _section("Totals of the venue", order["totals"], _total)
    yield from _section("Waiting", order["pending"], _pending)
    yield from _section("Breaks", order["breaks"], _break)
    yield from _section("Events", order["events"], _event)
    yield from _section("Dead letters that name it", order["dead_letters"], _letter)


def _section(heading: str, rows: Iterable[Shown], lines: Callable[[Shown], Iterator[Line]]) -> Iterator[Line]:
    found = [line for row in rows for line in lines(row)]
    if found:
        yield heading, _HEADING
        yield from found


def _report(report: Shown) -> Iterator[Line]:
    yield f"  {report['number']}. {_said(report)}", ""
    yield f"     matched by {report['matched_by']}", ""
    if report["waited"]:
        yield f"     waited: {report['waited']}", ""
    if report["after"] is not None:
        yield f"     after it: {_after(report['after'])}", ""
    if report["withheld"]:
        yield "     its event is withheld until the breaks are ended", ""
    yield from _came(report)


def _said(report: Shown) -> str:
    traded = f" {report['last_qty']} @ {report['last_px']}" if report["kind"] != "order" else ""
    status = f" ({report['ord_status']})" if report["kind"] == "order" and report["ord_status"] else ""
    names = _labelled(
        report, ExecID="exec_id", acts_on="exec_ref_id", ClOrdID="cl_ord_id", OrderID="venue_order_id"
    )
    claims = _labelled(report, CumQty="cum_qty", LeavesQty="leaves_qty", AvgPx="avg_px")
    said = f"; the venue says{claims.removeprefix(',')}" if claims else ""
    return f"{report['transact_time']}  {report['exec_type']}{status}{traded}{names}{said}"


def _came(report: Shown) -> Iterator[Line]:
    yield f"     from {report['feed']}, received {report['received_at']}, landed {report['landed_at']}", _FAINT
    yield f"     {report['raw']}", _FAINT


def _execution(execution: Shown) -> Iterator[Line]:
    chain = f", by {' then '.join(str(each) for each in execution['chain'])}" if execution["chain"] else ""
    rule = f", {execution['match_rule']}" if execution["match_rule"] else ""
    rest = _labelled(execution, currency="currency", message="msg_id", liquidity="liquidity")
    traded = f"{execution['side']} {execution['last_qty']} @ {execution['last_px']}{rest}"
    yield f"  {execution['exec_id']}: {execution['status']}{chain}{rule}, {traded}", ""
    if execution["fee"] is not None:
        bps = f", {execution['fee_bps']} bps" if execution["fee_bps"] is not None else ""
        yield f"     fee {execution['fee']} {execution['fee_currency'] or ''}{bps}", ""
    for metric in execution["slippage"]:
        yield f"     {_slippage(metric)}", ""


def _slippage(metric: Shown) -> str:
    reason = f": {metric['quality_reason']}" if metric["quality_reason"] else ""
    quality = f"{metric['quality']}{reason}"
    if metric["bps"] is None:
        return f"{metric['kind']}: no figure, {quality}"
    place = f" of {metric['benchmark_at']}" if metric["benchmark_at"] else ""
    snapshot = ""
    if metric["snapshot_id"]:
        snapshot = f", snapshot {metric['snapshot_id']} ({metric['bid']} / {metric['ask']})"
    return f"{metric['kind']}: {metric['bps']} bps against {metric['benchmark']}{place}{snapshot}, {quality}"


def _total(total: Shown) -> Iterator[Line]:
    parts = ", ".join(str(each) for each in total["executions"])
    yield f"  {total['exec_id']}: {total['cum_qty']} @ {total['avg_px']} is {total['rule']} of {parts}", ""


def _pending(pending: Shown) -> Iterator[Line]:
    overdue = f", overdue since {pending['overdue_at']}" if pending["overdue_at"] else ""
    yield f"  {pending['exec_id'] or 'the order'}: {pending['reason']} since {pending['since']}{overdue}", ""


def _break(found: Shown) -> Iterator[Line]:
    about = f" of {found['exec_id']}" if found["exec_id"] else ""
    ended = f"ended {found['ended_at']} by {found['ended_how']}" if found["ended_at"] else "open"
    values = f"ours {found['ours']}, theirs {found['theirs']}"
    yield f"  {found['kind']}{about}: {values}; opened {found['opened_at']}, {ended}  [{found['break_id']}]", ""
    for vote in found["votes"]:
        yield f"     {vote['at']}  {vote['person']} votes {vote['verdict']}: {vote['reason']}", ""
    for note in found["notes"]:
        yield f"     {note['at']}  {note['person']}, {note['kind']}: {note['note']}", ""
    for resolution in found["resolutions"]:
        voids = f", voids {', '.join(resolution['voids'])}" if resolution["voids"] else ""
        people = f"asked for by {resolution['requested_by']}, approved by {resolution['approved_by']}"
        yield f"     {resolution['at']}  {resolution['verdict']} {people}: {resolution['reason']}{voids}", ""


def _event(event: Shown) -> Iterator[Line]:
    published = {True: "published", False: "not published yet", None: "not published"}[event["published"]]
    yield f"  {event['event_id']}  {event['event_type']}, {published} on {', '.join(event['topics'])}", ""


def _letter(letter: Shown) -> Iterator[Line]:
    outcome = f"; replayed: {letter['replay_outcome']}" if letter["replay_outcome"] else ""
    what = f"{letter['reason']}: {letter['field']}={letter['value']}"
    yield f"  {letter['dead_letter_id']}  {letter['feed']} {letter['received_at']}  {what}{outcome}", ""


def _after(state: Shown) -> str:
    breaks = "; breaks: " + ", ".join(state["breaks"]) if state["breaks"] else ""
    return f"{_state(state)}{breaks}"


def _state(state: Shown) -> str:
    figures = f"CumQty {state['cum_qty']}, LeavesQty {state['leaves_qty']}, AvgPx {state['avg_px']}"
    return f"{state['ord_status']}, {figures}"


def _words(row: Shown, *names: str) -> str:
    return " ".join(str(row[name]) for name in names if row.get(name))


def _labelled(row: Shown, **names: str) -> str:
    """``, limit 101``: what a row has of these."""
    return "".join(
        f", {label.replace('_', ' ')} {row[name]}" for label, name in names.items() if row.get(name) is not None
    )
