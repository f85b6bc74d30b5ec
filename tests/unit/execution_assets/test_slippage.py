"""The table by venue: means are divided once, exactly, and nothing is divided by nothing."""

from decimal import Decimal

from execution_assets.slippage import summarise, venue_table


def test_means_are_exact_ratios_of_exact_sums() -> None:
    row = {
        "venue": "ALPHA", "kind": "arrival_mid", "currency": "USDT", "metric_count": 4, "best_effort_count": 1,
        "measured_count": 3, "bps_sum": Decimal(1), "notional": Decimal(7), "bps_notional": Decimal(-2),
    }  # fmt: skip
    found = summarise(row)
    assert found.mean_bps == Decimal("0.333333333333")
    assert found.weighted_bps == Decimal("-0.285714285714")
    assert "| ALPHA | arrival_mid | USDT | 4 | 1 | 0.3333 | -0.2857 |" in venue_table([found])


def test_a_venue_without_a_benchmark_has_no_mean() -> None:
    row = {
        "venue": "BETA", "kind": "fill_mid", "currency": "", "metric_count": 2, "best_effort_count": 2,
        "measured_count": 0, "bps_sum": Decimal(0), "notional": Decimal(0), "bps_notional": Decimal(0),
    }  # fmt: skip
    assert "| BETA | fill_mid | - | 2 | 2 | - | - |" in venue_table([summarise(row)])
