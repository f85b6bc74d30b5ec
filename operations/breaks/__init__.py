"""``execution-agent breaks``: disagreements between reports and orders, as people handle them."""
