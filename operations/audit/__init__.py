"""``execution-agent audit``: the log of every decision, checked, proven and shown."""
