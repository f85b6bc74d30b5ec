"""What the ledger's database layer raises."""

from __future__ import annotations


class LedgerError(Exception):
    """Base of the database layer's errors."""


class LedgerUnavailableError(LedgerError):
    """Postgres cannot be reached or gave the connection up; nothing of the batch is known to be landed."""


class LeaseLostError(LedgerError):
    """Another process is the writer, or the session that held the lease ended."""


class LandingConflictError(LedgerError):
    """Rows of the batch are already there: the book was behind the database."""


class PositionWentBackError(LedgerError):
    """A feed's position would shrink within its numbering."""


class LedgerRefusedError(LedgerError):
    """Postgres will not store these rows whatever happens: what is in them is wrong, not the connection."""
