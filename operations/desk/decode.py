"""``execution-agent decode``: the reports that raw venue messages hold, and what is wrong with the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operations.desk.shown import Shown, defect_shown, raw_shown, report_shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operations.desk.messages import Message
    from operations.desk.venues import Format


def decoded_lines(messages: Iterable[Message], found: Format, venue: str, account: str) -> Iterator[Shown]:
    """Give one object a report, a defect, or a message that concerns no order, in the messages' order."""
    for count, message in enumerate(messages, 1):
        decoded = found.decode(venue, message.raw, account)
        for report, _ in decoded.reports:
            yield {"message": count, **report_shown(report)}
        for defect, raw in decoded.defects:
            yield {"message": count, "kind": "defect", **defect_shown(defect), **raw_shown(raw)}
        if decoded.others:
            yield {"message": count, "kind": "others", "others": dict(decoded.others)}
