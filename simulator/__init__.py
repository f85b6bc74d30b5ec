"""A venue to practise against: three venues, the OrderAgent's intents, the market data, and their faults.

Nothing here is shared with what it tests: the encoders are written from docs/formats.md and the FIX 4.4
specification, not from the decoders.
"""
