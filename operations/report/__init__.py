"""``execution-agent report``: the page of a day without Dagster."""
