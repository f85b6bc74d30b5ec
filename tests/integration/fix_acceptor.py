"""A drop copy venue for the tests, on the real QuickFIX acceptor, in a process of its own.

``python fix_acceptor.py FOLDER PORT [BEGINSTRING] [reset-flagged | reset-always | reset-silently]
[CERTIFICATE KEY CA]``
Commands are lines on stdin:
``burst FIRST COUNT`` sends numbered fills, ``raw FIELDS`` one message of these fields (``|`` for SOH).
``asked`` tells the ResendRequests so far as ``FIRST-LAST``, ``gives COUNT`` has no more than the first COUNT
messages of a request sent again, ``lose COUNT`` uses up numbers of messages that the venue then does not have,
``received`` tells the application messages that came, ``renumber`` ends the connection and starts the numbers
over. Each is answered by a line.
"""

# ruff: noqa: ARG002, N802, T201  the callbacks are QuickFIX's, and the answers go to stdout

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import quickfix as fix

# of a group's counter: the fields of an entry, the first of which begins it
GROUPS = {
    "136": ("137", "138", "139"),
    "453": ("448", "447", "452"),
    "552": ("54", "37", "11", "453"),
    "1362": ("1363", "1364", "1365"),
}


class Venue(fix.Application):  # type: ignore[misc]  # the wheel has no types
    flags = 0  # Logons to come that say ResetSeqNumFlag(141)=Y
    gives = 0  # of a ResendRequest; 0 is all

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.received: list[str] = []

    def onCreate(self, session_id: Any) -> None:
        self.session_id = session_id

    def onLogon(self, session_id: Any) -> None: ...

    def onLogout(self, session_id: Any) -> None: ...

    def toAdmin(self, message: Any, session_id: Any) -> None:
        if self.flags and message.getHeader().getField(35) == "A":
            self.flags -= 1
            message.setField(fix.StringField(141, "Y"))

    def fromAdmin(self, message: Any, session_id: Any) -> None:
        if message.getHeader().getField(35) == "2":
            first, last = int(message.getField(7)), int(message.getField(16))
            self.asked.append(f"{first}-{last}")
            if self.gives and (not last or last - first >= self.gives):
                message.setField(fix.EndSeqNo(first + self.gives - 1))

    def toApp(self, message: Any, session_id: Any) -> None: ...

    def fromApp(self, message: Any, session_id: Any) -> None:
        self.received.append(message.toString().replace("\x01", "|"))


def fill(number: int) -> str:
    return (
        f"35=8\x0137=V-1\x0111=m-1\x0117=E-{number}\x01150=F\x0139=1\x011=ACC\x0155=ACME\x0154=1\x0138=1000000\x01"
        f"32=1\x0131={100 + number % 50}.25\x0114={number}\x01151={1000000 - number}\x016=101.25\x0115=USD\x01"
        "60=20260102-10:02:14.591\x01"
    )


def put(part: Any, pairs: list[tuple[str, str]], members: tuple[str, ...] | None = None) -> None:
    """Move the leading fields to a message, or those of ``members`` to an entry of a group."""
    while pairs and (members is None or pairs[0][0] in members):
        tag, value = pairs.pop(0)
        inner = GROUPS.get(tag)
        if inner is None or not pairs or pairs[0][0] != inner[0]:
            (part.getHeader() if tag in {"35", "1128"} else part).setField(fix.StringField(int(tag), value))
            continue
        while pairs and pairs[0][0] == inner[0]:
            entry = fix.Group(int(tag), int(inner[0]))
            entry.setField(fix.StringField(int(inner[0]), pairs.pop(0)[1]))
            put(entry, pairs, inner[1:])
            part.addGroup(entry)


def send(session_id: Any, body: str) -> None:
    message = fix.Message()
    pairs = [(tag, value) for tag, equals, value in (pair.partition("=") for pair in body.split("\x01")) if equals]
    put(message, pairs)
    fix.Session.sendToTarget(message, session_id)


def act(venue: Venue, command: str, rest: str) -> str:
    if command == "burst":
        first, count = map(int, rest.split())
        for number in range(first, first + count):
            send(venue.session_id, fill(number))
    elif command == "raw":
        send(venue.session_id, rest.replace("|", "\x01"))
    elif command == "gives":
        venue.gives = int(rest)
    elif command == "lose":
        session = fix.Session.lookupSession(venue.session_id)
        session.setNextSenderMsgSeqNum(session.getExpectedSenderNum() + int(rest))
    elif command == "renumber":
        venue.flags, venue.gives = 1, 0
        fix.Session.lookupSession(venue.session_id).reset()
    told = {"asked": " ".join(venue.asked), "received": "\t".join(venue.received)}
    return told.get(command, "done")


def main() -> None:
    folder, port, *tls = sys.argv[1:]
    configuration = Path(folder) / "acceptor.cfg"
    begin_string = tls.pop(0) if tls and tls[0].startswith("FIX") else "FIX.4.4"
    lines = [
        "[DEFAULT]",
        "ConnectionType=acceptor",
        "StartTime=00:00:00",
        "EndTime=00:00:00",
        "UseDataDictionary=N",
        "SocketNodelay=Y",
        "SocketReuseAddress=Y",
        f"SocketAcceptPort={port}",
        f"FileStorePath={folder}",
    ]
    flags = {"reset-flagged": 1, "reset-always": 1_000_000}.get(tls[0], 0) if tls else 0
    if tls[:1] == ["reset-silently"]:
        lines.append("ResetOnLogon=Y")
    if tls and tls[0].startswith("reset-"):
        del tls[0]
    if tls:
        names = ("ServerCertificateFile", "ServerCertificateKeyFile", "CertificationAuthoritiesFile")
        lines += [f"{name}={value}" for name, value in zip(names, tls, strict=True)]
        lines += ["CertificateVerifyLevel=2", "SSLProtocol=+TLSv1_2 +TLSv1_3"]
    lines += ["[SESSION]", f"BeginString={begin_string}", "SenderCompID=VENUE", "TargetCompID=AGENT"]
    if begin_string == "FIXT.1.1":
        lines.append("DefaultApplVerID=9")
    configuration.write_text("\n".join(lines) + "\n")
    settings = fix.SessionSettings(str(configuration))
    venue = Venue()
    venue.flags = flags
    store = fix.FileStoreFactory(settings)
    kind = fix.SSLSocketAcceptor if tls else fix.SocketAcceptor
    acceptor = kind(venue, store, settings, fix.ScreenLogFactory(False, False, False))
    acceptor.start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        print(act(venue, command, rest), flush=True)
    acceptor.stop(True)


if __name__ == "__main__":
    main()
