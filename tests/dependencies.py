"""What this project is built from: known holes in it (``make audit-deps``), its bill of materials (``make sbom``).

python -m tests.dependencies audit
python -m tests.dependencies sbom --output sbom.cdx.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
# exit codes of the audit: 0 nothing known, 1 known holes, 2 wrong usage, 3 not checked
KNOWN_HOLES, NOT_CHECKED = 1, 3


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(prog="python -m tests.dependencies", description=__doc__)
    parser.add_argument("what", choices=("audit", "sbom"))
    parser.add_argument("--output", type=Path, default=ROOT / ".state" / "sbom.cdx.json", help="of sbom")
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--service", default="pypi", help="of audit: pypi or osv")
    options = parser.parse_args(arguments)
    if options.what == "audit":
        return audit(options.lock, options.service)
    return sbom(options.lock, options.output)


def audit(lock: Path, service: str) -> int:
    """Ask the vulnerability service for each pinned version. Only an answer for all of them counts as checked."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [
            _tool("pip-audit"), "--requirement", str(lock), "--require-hashes", "--disable-pip",
            "--format", "json", "--output", str(answer), "--progress-spinner", "off", "--timeout", "10",
            "--vulnerability-service", service,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            found: list[dict[str, Any]] = json.loads(answer.read_text("utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError):
            return _not_checked((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
    return judge(found)


def judge(found: list[dict[str, Any]]) -> int:
    """Say what the service answered; give the exit code."""
    skipped = [d for d in found if "skip_reason" in d]
    holes = [(d["name"], d["version"], v) for d in found for v in d.get("vulns", [])]
    if found and len(skipped) == len(found):
        return _not_checked(skipped[0]["skip_reason"])
    for name, version, hole in holes:
        mended = ", ".join(hole.get("fix_versions", [])) or "no version"
        sys.stdout.write(
            f"{name} {version}: {hole['id']} ({', '.join(hole.get('aliases', []))}), mended in {mended}\n"
        )
    for dependency in skipped:
        sys.stdout.write(f"{dependency['name']}: not checked: {dependency['skip_reason']}\n")
    sys.stdout.write(f"{len(found)} dependencies, {len(holes)} known holes, {len(skipped)} not checked\n")
    return KNOWN_HOLES if holes else NOT_CHECKED if skipped else 0


def _not_checked(said: str) -> int:
    sys.stderr.write(
        "audit-deps: NOT CHECKED: the vulnerability service could not be asked, so nothing is known about these "
        f"dependencies. Run it where it can be reached. It said: {said[:300]}\n"
    )
    return NOT_CHECKED


def sbom(lock: Path, output: Path) -> int:
    """Write the bill of materials as CycloneDX JSON: every pinned package with its hashes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [
        _tool("cyclonedx-py"), "requirements", str(lock), "--pyproject", str(ROOT / "pyproject.toml"),
        "--output-format", "JSON", "--output-reproducible", "--output-file", str(output),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"sbom: {done.stderr.strip()}\n")
        return 1
    components = json.loads(output.read_text("utf-8"))["components"]
    sys.stdout.write(f"{output}: {len(components)} components\n")
    return 0


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


if __name__ == "__main__":
    sys.exit(main())
