"""The definitions are what was last reviewed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.db.tables import SCHEMA, metadata
from tests.unit.specs import SNAPSHOT, specs


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return specs()


def test_the_definitions_are_those_of_the_snapshot(found: dict[str, Any]) -> None:
    known = json.loads(SNAPSHOT.read_text("utf-8"))
    assert found == known, "look at the difference; if it is meant: make specs"


def test_derived_assets_can_be_backfilled_in_one_run_and_have_a_pool_each(found: dict[str, Any]) -> None:
    derived = {n: a for n, a in found["assets"].items() if a["group"] == "derived" and n != "data_docs"}
    assert {a["backfill"] for a in derived.values()} == {"SINGLE_RUN"}
    assert all(a["partitions"] == "DailyPartitionsDefinition" and a["code_version"] for a in derived.values())
    pools = [pool for a in derived.values() for pool in a["pools"]]
    assert len(pools) == len(set(pools)) == len(derived)


def test_lineage_names_columns_that_there_are(found: dict[str, Any]) -> None:
    assets = found["assets"]
    seen = 0
    for name, asset in assets.items():
        for column, sources in asset["lineage"].items():
            assert not asset["columns"] or column in asset["columns"], f"{name}.{column}"
            for source in sources:
                seen += 1
                upstream, _, theirs = source.rpartition(".")
                assert theirs in metadata.tables[f"{SCHEMA}.{upstream}"].columns, source
    assert seen > 30
