"""``execution-agent backfill``: days derived again from a terminal, and what would change before it changes."""
