"""The checks of the derived assets: every outcome, passed or failed, says what was looked at and what to do.

A suite stands beside what it judges: ``executions``, ``slippage``, ``venues``; ``making`` is the one factory. They
are partitioned as what they judge, so that a day is held back by its own verdict: in a run of a day they look at
that day, in a run of several at each, started alone at the last one derived; their metadata names it.
"""

from execution_assets.checks import executions, slippage, venues

CHECKS = [*executions.CHECKS, *venues.CHECKS, *slippage.CHECKS]
