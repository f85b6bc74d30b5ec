"""Benchmarks that anyone can run: ``make bench``. Ratios against yardsticks of the same run and machine."""
