"""Where the truth is kept: tables, migrations, the landing transaction, what is read back.

What belongs here: SQL and the connections it runs on. What does not: a rule about fills (``ledger.domain``).
"""
