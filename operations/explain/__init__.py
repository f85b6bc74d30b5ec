"""The story of an order from the ledger: what was routed, what venues said, and every decision that followed."""
