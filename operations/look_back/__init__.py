"""``execution-agent look-back``: a venue compared with its own list of fills, for a person."""
