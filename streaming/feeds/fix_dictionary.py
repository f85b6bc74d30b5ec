"""A FIX 4.4 dictionary that does not let the engine reject a fill. Standard library only: the child imports this.

The engine answers a message that its dictionary forbids with a session-level Reject(3), counts it as received
and drops its bytes: a fill without ExecID would be lost. So the rules for application messages go; those for
the header, the trailer and the administrative messages, which the session depends on, stay. Repeating groups
stay, too: without them the engine rejects the second PartyID as "tag appears more than once".
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

_NAMED_TYPES = frozenset({"DATA"})  # parsed by the length before it, as it may hold SOH: not a check but syntax


def write_relaxed(folder: Path) -> Path:
    """Write the dictionary into the folder and give its path."""
    source = Path(sys.prefix) / "share" / "quickfix" / "FIX44.xml"
    tree = ET.parse(source)  # noqa: S314  from the engine's own wheel
    relax(tree.getroot())
    path = folder / "FIX44-relaxed.xml"
    tree.write(path)
    return path


def relax(root: ET.Element) -> None:
    """Take the rules for application messages out."""
    strict = _session_fields(root)
    for message in root.iterfind("messages/message[@msgcat='app']"):
        _all_optional(message)
    for component in root.iterfind("components/component"):
        _all_optional(component)
    for field in root.iterfind("fields/field"):
        if field.get("name") not in strict and field.get("type") not in _NAMED_TYPES:
            field.set("type", "STRING")
            for value in field.findall("value"):
                field.remove(value)


def _session_fields(root: ET.Element) -> set[str | None]:
    parts = [root.find("header"), root.find("trailer"), *root.iterfind("messages/message[@msgcat='admin']")]
    return {field.get("name") for part in parts if part is not None for field in part.iter() if field is not part}


def _all_optional(part: ET.Element) -> None:
    for child in part.iter():
        if child.get("required") == "Y":
            child.set("required", "N")
