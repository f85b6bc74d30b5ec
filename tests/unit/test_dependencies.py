"""The audit of dependencies never takes silence for an all-clear; the bill of materials is the lock file's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.dependencies import KNOWN_HOLES, LOCK, NOT_CHECKED, judge, main

if TYPE_CHECKING:
    from pathlib import Path

CLEAN = {"name": "a", "version": "1", "vulns": []}
HOLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "aliases": ["X"], "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ([CLEAN], 0),
        ([CLEAN, HOLE], KNOWN_HOLES),
        ([HOLE, SKIPPED], KNOWN_HOLES),
        ([CLEAN, SKIPPED], NOT_CHECKED),
        ([SKIPPED], NOT_CHECKED),
    ],
)
def test_what_is_not_checked_is_not_clean(answer: list[dict[str, Any]], code: int) -> None:
    assert judge(answer) == code


def test_a_service_that_is_away_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"certifi==2024.2.2 --hash=sha256:{'0' * 64}\n")
    assert main(["audit", "--lock", str(lock)]) == NOT_CHECKED
    assert "NOT CHECKED" in capsys.readouterr().err


def test_the_bill_names_every_pinned_package_with_its_hashes(tmp_path: Path) -> None:
    output = tmp_path / "sbom.json"
    assert main(["sbom", "--output", str(output)]) == 0
    bill = json.loads(output.read_text())
    named = {(c["name"].lower(), c["version"]) for c in bill["components"]}
    pinned = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", LOCK.read_text(), re.MULTILINE)
    assert {(name.lower(), version) for name, version in pinned} <= named
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "execution-agent")
    assert all(c["externalReferences"][0]["hashes"] for c in bill["components"])
