"""The pages name what there is: every setting, series and table, and no file that is not there."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ledger.db.tables import metadata
from streaming.metrics import Metrics
from streaming.settings import (
    AuditSettings,
    BackupSettings,
    DelaySettings,
    FailoverSettings,
    FeedSettings,
    HaltSettings,
    LookBackSettings,
    Settings,
    ToleranceSettings,
)
from streaming.trust_settings import IdentitySettings, VaultSettings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
RULES = ROOT / "deploy/prometheus/rules.yml"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")]
FEEDS = {model.__name__: model for model in get_args(get_args(FeedSettings)[0])}


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def documented(page: str) -> dict[str, str]:
    """The default of each setting whose name stands in the first column of a table."""
    return dict(re.findall(r"^\| `([a-z0-9_.*]+)` \| ([^|]*) \|", page, re.MULTILINE))


def check(name: str, field: FieldInfo, page: str) -> None:
    said = documented(page).get(name)
    assert said is not None, f"{name} is missing in docs/operations.md"
    assert ("required" in said) == field.is_required(), f"{name}: required or not?"
    if isinstance(field.default, str | int | float) and field.default != "":
        assert said.strip("`") == str(field.default).lower().removesuffix(".0") or said.strip("`") == str(
            field.default
        ), f"{name}: the default is {field.default!r}"


@pytest.mark.parametrize(("name", "field"), [*fields_of(Settings)])
def test_every_setting_is_in_the_reference_with_its_default(name: str, field: FieldInfo) -> None:
    check(name, field, OPERATIONS)


def test_the_defaults_of_tolerances_are_those_of_the_reference() -> None:
    for name, field in ToleranceSettings.model_fields.items():
        assert documented(OPERATIONS)[f"venues.*.tolerances.{name}"] == str(field.default)


def test_the_defaults_of_halts_are_those_of_the_reference() -> None:
    for name, field in HaltSettings.model_fields.items():
        assert documented(OPERATIONS)[f"venues.*.halt.{name}"] == str(field.default).lower()


def test_the_defaults_of_failover_are_those_of_the_reference() -> None:
    for name, field in FailoverSettings.model_fields.items():
        assert documented(OPERATIONS)[f"venues.*.failover.{name}"].strip("`") == str(field.default)


def test_the_defaults_of_delays_are_those_of_the_reference() -> None:
    for name, field in DelaySettings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        assert (
            documented(OPERATIONS)[f"venues.*.delay.{name}"]
            == str("none" if default in (None, {}) else default).lower()
        )


def test_the_defaults_of_looking_back_are_those_of_the_reference() -> None:
    for name, field in LookBackSettings.model_fields.items():
        check(f"venues.*.look_back.{name}", field, OPERATIONS)


def test_the_defaults_of_the_audit_log_are_those_of_the_reference() -> None:
    for name, field in AuditSettings.model_fields.items():
        check(f"audit.{name}", field, OPERATIONS)


@pytest.mark.parametrize(("part", "model"), [("identity", IdentitySettings), ("vault", VaultSettings)])
def test_the_defaults_of_identity_and_vault_are_those_of_the_reference(part: str, model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        check(f"{part}.{name}", field, OPERATIONS)


def test_every_setting_of_the_reference_is_there() -> None:
    described = OPERATIONS.split("## Settings")[1].split("\n## ")[0].split("A FIX feed")[0]
    known = {name for name, _ in fields_of(Settings)} | {
        "venues.*.format",
        "venues.*.account",
        "venues.*.feed.kind",
        *(f"venues.*.tolerances.{name}" for name in ToleranceSettings.model_fields),
        *(f"venues.*.halt.{name}" for name in HaltSettings.model_fields),
        *(f"venues.*.backup.{name}" for name in BackupSettings.model_fields),
        *(f"venues.*.failover.{name}" for name in FailoverSettings.model_fields),
        *(f"venues.*.delay.{name}" for name in DelaySettings.model_fields),
        *(f"venues.*.look_back.{name}" for name in LookBackSettings.model_fields),
        *(f"audit.{name}" for name in AuditSettings.model_fields),
        *(f"identity.{name}" for name in IdentitySettings.model_fields),
        *(f"vault.{name}" for name in VaultSettings.model_fields),
    }
    assert set(documented(described)) == known


@pytest.mark.parametrize("model", [*FEEDS.values()], ids=[*FEEDS])
def test_every_setting_of_a_feed_is_in_its_table(model: type[BaseModel]) -> None:
    kind = model.model_fields["kind"].default
    table = OPERATIONS.split(f'`kind = "{kind}"`' if kind != "fix" else 'with `kind = "fix"`')[1].split("\n\n")[1]
    for name, field in model.model_fields.items():
        if name != "kind":
            check(name, field, table)
    assert set(documented(table)) == set(model.model_fields) - {"kind"}, "a setting that is not there"


def series() -> dict[str, tuple[str, ...]]:
    found = {}
    for collector in Metrics().registry._collector_to_names:
        name, kind = collector._name, collector._type  # type: ignore[attr-defined]
        labels: tuple[str, ...] = collector._labelnames  # type: ignore[attr-defined]
        found[name + ("_total" if kind == "counter" else "")] = labels
    return found


def test_every_series_is_in_the_list_of_metrics_with_its_labels() -> None:
    rows = re.findall(r"^\| `(execution_\w+)` \| \w+ \| ([^|]*)\|", OPERATIONS, re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == series()


def test_the_page_of_tables_is_what_the_metadata_gives() -> None:
    page = tables_page()
    assert page.PAGE.read_text("utf-8") == page.render(), "run .venv/bin/python docs/tables.py"


def test_the_notes_on_columns_name_columns_that_are_there() -> None:
    columns = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.columns}
    assert tables_page().NOTES.keys() <= columns


def tables_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables_page", ROOT / "docs/tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, target


def test_the_alert_rules_ask_for_series_and_labels_that_are_there() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = series()
    for rule in rules:
        assert {"summary", "remedy"} == set(rule["annotations"])
        asked = {name.removesuffix("_bucket") for name in re.findall(r"\bexecution_\w+", rule["expr"])}
        assert asked <= known.keys(), rule["alert"]
        labels = {label for name in asked for label in known[name]} | {"instance"}
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels, rule["alert"]
        section = re.match(r"docs/operations\.md: (.*)", rule["annotations"]["remedy"])
        assert section is None or f"**{section[1]}" in OPERATIONS, rule["alert"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
