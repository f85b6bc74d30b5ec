"""Dictionaries that do not let the engine reject a fill. Standard library only: the child imports this.

The engine answers a message that its dictionary forbids with a session-level Reject(3), counts it as received
and drops its bytes: a fill without ExecID would be lost. So the rules for application messages go; those for
the header, the trailer and the administrative messages, which the session depends on, stay.

Repeating groups stay, too: without them the engine rejects the second PartyID as "tag appears more than once".
Venues send later versions' groups and messages in sessions of an earlier one (NoFills(1362) and Parties in FIX
4.2, TradeCaptureReport in FIX 4.2), so the application messages of every session are FIX 5.0SP2's, which has all.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

_DATA_TYPES = frozenset({"DATA", "XMLDATA"})  # parsed by the length before it, as it may hold SOH: not a check
_APPLICATION = "FIX50SP2"
# MsgType(35) that keep their groups: what a drop copy carries, of orders and trades. With all of the 156 messages
# the engine takes 2.7 s to read the dictionary, with these 0.2 s; of the others it still knows that they are
_WITH_GROUPS = frozenset(["8", "9", "AE", "AR", "B", "D", "F", "G", "H", "K", "L", "M", "N", "Q"])
_SESSIONS = {"FIX.4.2": "FIX42", "FIX.4.4": "FIX44"}
_WHEEL = Path(sys.prefix) / "share" / "quickfix"
_VERSION = ("type", "major", "minor", "servicepack")
_MSG_TYPE = "35"  # whether there is such a message is asked of the messages; a list of an early version has no AE


def write_relaxed(folder: Path, begin_string: str) -> dict[str, Path]:
    """Write the dictionaries of a session into the folder; give their paths by the engine's settings.

    What an earlier engine has written, from the same wheel and by the same rules, is taken as it is: a writer that
    takes over has no time for it.
    """
    if begin_string == "FIXT.1.1":
        paths = {
            "TransportDataDictionary": _place(folder, "FIXT11"),
            "AppDataDictionary": _place(folder, _APPLICATION),
        }
    else:
        paths = {"DataDictionary": _place(folder, _SESSIONS[begin_string])}
    if all(_is_fresh(path) for path in paths.values()):
        return paths
    application = _read(_APPLICATION)
    relax(application)
    if begin_string == "FIXT.1.1":
        transport = _read("FIXT11")
        _any_msg_type(transport)
        _write(paths["TransportDataDictionary"], transport)
        _write(paths["AppDataDictionary"], application)
    else:
        _put_session(_read(_SESSIONS[begin_string]), application)
        _write(paths["DataDictionary"], application)
    return paths


def relax(root: ET.Element) -> None:
    """Take the rules for application messages out."""
    for message in root.iterfind("messages/message[@msgcat='app']"):
        if message.get("msgtype") not in _WITH_GROUPS:
            message[:] = []
        _all_optional(message)
    for component in root.iterfind("components/component"):
        _all_optional(component)
    for field in root.iterfind("fields/field"):
        field.set("type", "DATA" if field.get("type") in _DATA_TYPES else "STRING")
        for value in field.findall("value"):
            field.remove(value)


def _put_session(session: ET.Element, root: ET.Element) -> None:
    """Make ``root`` a dictionary of the session's version: its header, trailer and administrative messages."""
    for attribute in _VERSION:
        root.set(attribute, session.get(attribute, "0"))
    _any_msg_type(session)
    admin = session.findall("messages/message[@msgcat='admin']")
    frame = [part for part in (session.find("header"), session.find("trailer")) if part is not None]
    used = {field.get("name") for part in (*frame, *admin) for field in part.iter() if field is not part}
    fields, messages = _part(root, "fields"), _part(root, "messages")
    names = {field.get("number"): field for field in fields}
    renamed: dict[str | None, str] = {}
    for field in session.iterfind("fields/field"):
        if field.get("name") not in used:
            continue
        there = names.get(field.get("number"))
        if there is not None:
            renamed[field.get("name")] = there.get("name", "")
            field.set("name", there.get("name", ""))
            fields.remove(there)
        fields.append(field)
    for part in (*frame, *admin):
        for field in part.iter():
            if field is not part:
                field.set("name", renamed.get(field.get("name"), field.get("name", "")))
    for part in frame:
        root.remove(_part(root, part.tag))
        root.append(part)
    for message in messages.findall("message[@msgcat='admin']"):
        messages.remove(message)
    messages.extend(admin)


def _any_msg_type(session: ET.Element) -> None:
    for field in session.iterfind(f"fields/field[@number='{_MSG_TYPE}']"):
        for value in field.findall("value"):
            field.remove(value)


def _part(root: ET.Element, name: str) -> ET.Element:
    part = root.find(name)
    assert part is not None, f"the wheel's dictionary has no <{name}>"
    return part


def _all_optional(part: ET.Element) -> None:
    for child in part.iter():
        if child.get("required") == "Y":
            child.set("required", "N")


def _read(name: str) -> ET.Element:
    # S314: from the engine's own wheel
    return ET.parse(_WHEEL / f"{name}.xml").getroot()  # noqa: S314


def _place(folder: Path, name: str) -> Path:
    return folder / f"{name}-relaxed.xml"


def _is_fresh(path: Path) -> bool:
    """Whether it was written after the wheel and these rules were installed."""
    if not path.exists():
        return False
    sources = (_WHEEL / f"{_APPLICATION}.xml", Path(__file__))
    return path.stat().st_mtime_ns > max(source.stat().st_ctime_ns for source in sources)


def _write(path: Path, root: ET.Element) -> None:
    fresh = path.with_suffix(f".{os.getpid()}")  # whole or not at all
    ET.ElementTree(root).write(fresh)
    fresh.replace(path)
