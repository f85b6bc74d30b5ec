"""The checks of the derived assets: every outcome, passed or failed, says what was looked at and what to do.

A suite stands beside what it judges: ``executions``, ``slippage``, ``venues``; ``making`` is the one factory. They
are not partitioned themselves (Dagster 1.13 calls that a preview): in a run of a day they look at that day,
started alone at the last one derived, and their metadata names it.
"""

from execution_assets.checks import executions, slippage, venues

CHECKS = [*executions.CHECKS, *venues.CHECKS, *slippage.CHECKS]
