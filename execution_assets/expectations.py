"""Great Expectations on one frame: no Dagster, no database. Importing GX takes seconds, so it waits.

GX runs with analytics and progress bars off: a check must not call home or draw bars into a run's log. Its context
is ephemeral; only where a ``folder`` is given are the suite and its result kept, for the day's data docs.
"""

from __future__ import annotations

import os
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.standalone import make_standalone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd

SAMPLE = 20  # identities of failing rows that a check shows


class Expected(msgspec.Struct, frozen=True):
    """One expectation's outcome. ``sample``: identities of rows that fail it, ``values`` what they have there."""

    rule: str
    success: bool
    checked: int
    failing: int
    sample: list[str]
    error: str | None = None
    values: list[str] = []


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a suite on a frame."""

    row_count: int
    expected: list[Expected]

    @property
    def success(self) -> bool:
        """Whether all of it holds."""
        return all(e.success for e in self.expected)

    @property
    def failing(self) -> int:
        """How many failures there are, over all expectations."""
        return sum(e.failing for e in self.expected)

    def sample(self) -> list[str]:
        """Name failing rows, each once."""
        return list(dict.fromkeys(identity for e in self.expected for identity in e.sample))[:SAMPLE]

    def findings(self) -> list[tuple[str, str]]:
        """Give failing rows with what is wrong of each: (identity, value)."""
        pairs = [(one, value) for e in self.expected for one, value in zip(e.sample, e.values, strict=False)]
        return list(dict.fromkeys(pairs))[:SAMPLE]


def evaluate(
    frame: pd.DataFrame,
    suite: Callable[[Any], Sequence[Any]],
    identity: str,
    *,
    name: str = "day",
    folder: Path | None = None,
) -> Outcome:
    """Validate ``frame`` against what ``suite`` builds from GX's expectations; ``identity`` names its rows.

    An empty frame holds whatever is expected of its rows.
    """
    if frame.empty:
        if folder is not None:
            _forget(folder, name)
        return Outcome(0, [])
    gx = _great_expectations()
    context = _context(gx, folder)
    expected = context.suites.add_or_update(
        gx.ExpectationSuite(name=name, expectations=list(suite(gx.expectations)))
    )
    batch = (
        context.data_sources.add_pandas("ledger")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("whole")
    )
    validation = gx.ValidationDefinition(name=name, data=batch, suite=expected)
    result = context.validation_definitions.add_or_update(validation).run(
        batch_parameters={"dataframe": frame},
        # a day's folder has one result of a check, its last
        run_id=gx.RunIdentifier(run_name="latest", run_time="1970-01-01T00:00:00Z"),
        result_format={
            # SUMMARY bounds what it lists; COMPLETE would list every failing row of the day
            "result_format": "SUMMARY",
            "unexpected_index_column_names": [identity],
            "partial_unexpected_count": SAMPLE,
        },
    )
    return Outcome(len(frame), [_read(one, identity, len(frame)) for one in result.results])


def build_data_docs(folder: Path) -> Path:
    """Build the HTML pages of the results that are kept in ``folder``, and give the first page."""
    gx = _great_expectations()
    pages = _pages(folder)
    shutil.rmtree(pages, ignore_errors=True)  # a page whose check has nothing to look at any more
    _context(gx, folder).build_data_docs()
    shutil.rmtree(pages / "static")  # 4 MB a day of pictures and fonts that no page shows
    make_standalone(pages)
    return pages / "index.html"


def _great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        # what GX's own modules import is deprecated (sre_constants); nothing of ours is imported here
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations  # noqa: PLC0415  7-13 s
        import great_expectations.data_context.types.base  # noqa: PLC0415
    return great_expectations


def _context(gx: Any, folder: Path | None) -> Any:
    types = gx.data_context.types.base
    if folder is None:
        stores = types.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        sites = {}
    else:
        stores = types.FilesystemStoreBackendDefaults(root_directory=str(folder / "results"))
        sites = {
            "day": {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": str(_pages(folder)),
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            }
        }
    return gx.get_context(
        mode="ephemeral",
        project_config=types.DataContextConfig(
            store_backend_defaults=stores,
            data_docs_sites=sites,
            progress_bars=types.ProgressBarsConfig(globally=False),
            analytics_enabled=False,
        ),
    )


def _forget(folder: Path, name: str) -> None:
    """Drop the kept result of a check that finds nothing to look at now."""
    results = folder / "results"
    (results / "expectations" / f"{name}.json").unlink(missing_ok=True)
    shutil.rmtree(results / "uncommitted" / "validations" / name, ignore_errors=True)


def _pages(folder: Path) -> Path:
    return folder / "pages"


def _read(one: Any, identity: str, row_count: int) -> Expected:
    details = one.result or {}
    config = one.expectation_config
    column = config.kwargs.get("column", "")
    bounds = {k: v for k, v in config.kwargs.items() if k in {"min_value", "max_value"} and v is not None}
    limits = "".join(f" {name}={value}" for name, value in bounds.items())
    rows = (details.get("partial_unexpected_index_list") or [])[:SAMPLE]
    message = one.exception_info.get("exception_message") if one.exception_info else None
    return Expected(
        f"{config.type}: {column}{limits}",
        bool(one.success),
        int(details.get("element_count", row_count)),
        int(details.get("unexpected_count", 0 if one.success else 1)),
        [str(row[identity]) for row in rows],
        message,
        [str(row.get(column, "")) for row in rows],
    )
