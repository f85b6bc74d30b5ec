"""``execution-agent venues``: the venues, their feeds, and which of them is counted on."""
