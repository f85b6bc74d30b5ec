"""When two wordings of one report agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ledger.domain.records import FillReport


def assert_one_report(one: FillReport, other: FillReport) -> None:
    """Hold two wordings to one identity, and to the same value wherever both say something."""
    assert one.report_id == other.report_id
    for field in set(msgspec.structs.asdict(one)) - {"content"}:
        ours, theirs = getattr(one, field), getattr(other, field)
        assert ours is None or theirs is None or ours == theirs, field
