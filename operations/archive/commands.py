"""``execution-agent archive``: its commands. What they print and do is in the modules named here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from operations.archive.giving import pull, query
from operations.archive.holding import drop_partition, hold, rotate
from operations.archive.looking import list_archives, verify

if TYPE_CHECKING:
    from collections.abc import Callable

_EXAMPLES: dict[str, tuple[Callable[..., None], str]] = {
    "list": (list_archives, "list --from 2026-11-16 --to 2026-11-20 --json"),
    "pull": (
        pull,
        "pull --from 2026-11-20 --venue ALPHA --correlation-id C1 --output evidence --reason 'inquiry 17'",
    ),
    "query": (
        query,
        "query 'SELECT symbol, sum(last_qty) FROM executions GROUP BY ALL' --from 2026-11-16 --reason 'week 47'",
    ),
    "verify": (verify, "verify --from 2026-01-01 --to 2026-11-20"),
    "hold": (hold, "hold --from 2026-11-20 --reason 'case 4711'"),
    "rotate": (rotate, "rotate --from 2026-01-01 --to 2026-11-20 --reason yearly"),
    "drop-partition": (
        drop_partition,
        "drop-partition 2025-01-02 --as postgresql://carol@db/ledger --reason 'disk space'",
    ),
}

archive = typer.Typer(
    help="Find, verify and open what is kept for years: encrypted, locked, with every access on record.",
    no_args_is_help=True,
)
for _name, (_command, _example) in _EXAMPLES.items():
    archive.command(_name, epilog=f"Example: `execution-agent archive {_example}`")(_command)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(archive, name="archive", epilog="Example: `execution-agent archive list --from 2026-11-16`")
