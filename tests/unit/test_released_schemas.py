"""Schemas in the course of time: FULL_TRANSITIVE. What was written for any release is read by today's schema, and
what is written today is read by every release.

``released/`` has schemas as they once were: one that changes is put there first, with the date of its last day.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

EVENTS = Path(__file__).parents[2] / "docs/events"
RELEASED = sorted((Path(__file__).parent / "released").glob("*.schema.json"))
Schema = dict[str, Any]


def broken(before: Schema, after: Schema) -> list[str]:
    """Say what makes one of two schemas refuse what holds to the other."""
    required = set(before["required"]) ^ set(after["required"])
    found = [f"required of one of them only: {sorted(required)}"] if required else []
    found += [f"{name} is gone" for name in before["properties"].keys() - after["properties"].keys()]
    for schema, other in ((before, after), (after, before)):
        for number, example in enumerate(schema["examples"]):
            found += [
                f"example {number}: {error.message}"
                for error in jsonschema.Draft202012Validator(other).iter_errors(example)
            ]
    return found


def today(path: Path) -> Schema:
    name = path.name.partition("@")[0]
    schema: Schema = json.loads((EVENTS / f"{name}.schema.json").read_text("utf-8"))
    return schema


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.name)
def test_a_released_schema_and_todays_read_each_other(path: Path) -> None:
    assert broken(json.loads(path.read_text("utf-8")), today(path)) == []


BREAKS: dict[str, Schema] = {
    "a field that is required from now on": {
        "required": ["snapshot_id", "symbol", "bid", "ask", "at", "traded_qty"]
    },
    "a field that is no longer required": {"required": ["snapshot_id", "symbol", "bid", "ask"]},
    "fields that are closed": {"additionalProperties": False, "properties": {"snapshot_id": {}, "symbol": {}}},
    "another type": {"properties": {"bid": {"type": "integer"}}},
}


@pytest.mark.parametrize("change", BREAKS)
def test_a_change_that_breaks_a_reader_is_found(change: str) -> None:
    before = json.loads(RELEASED[0].read_text("utf-8"))
    assert broken(before, before) == []
    assert broken(before, before | BREAKS[change]) != []
