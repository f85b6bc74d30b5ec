"""``execution-agent dlq replay``: dead letters handed in again."""
