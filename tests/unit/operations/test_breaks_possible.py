"""Which verdicts are refused with the first vote: those that no order's facts could make applicable."""

import pytest

from ledger.domain.records import BreakKind, Verdict
from operations.breaks.possible import never_applies

TOTALS = [BreakKind.CUM_QTY_DIFFERS, BreakKind.AVG_PX_DIFFERS, BreakKind.SPLIT_DIFFERS]


@pytest.mark.parametrize("kind", TOTALS)
def test_a_break_about_totals_is_released_and_never_rejected(kind: BreakKind) -> None:
    assert never_applies(kind, Verdict.RELEASE) is None
    said = never_applies(kind, Verdict.REJECT)
    assert said is not None
    assert said.startswith(f"a {kind} is about totals")
    assert "Release it, or have the venue bust or resend" in said


@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_order_that_is_not_known_has_nothing_to_decide(verdict: Verdict) -> None:
    assert "route the missing intent" in (never_applies(BreakKind.UNKNOWN_ORDER, verdict) or "")


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("kind", sorted(set(BreakKind) - {*TOTALS, BreakKind.UNKNOWN_ORDER}))
def test_what_depends_on_the_order_is_left_to_the_order(kind: BreakKind, verdict: Verdict) -> None:
    assert never_applies(kind, verdict) is None
