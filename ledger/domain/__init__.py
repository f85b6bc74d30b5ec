"""Pure rules about orders, fills, executions and slippage.

What belongs here: frozen records and functions of their arguments. What does not: a clock, I/O,
randomness, a library other than msgspec. Streaming and Dagster call the same functions.
"""
