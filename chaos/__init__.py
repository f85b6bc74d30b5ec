"""``make chaos``: the streaming process killed again and again under load, and the books balanced after it."""
