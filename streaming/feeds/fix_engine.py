"""The FIX engine in a process of its own: ``python -m streaming.feeds.fix_engine``, settings as JSON on stdin.

QuickFIX (C++) keeps the session: logon, heartbeats, sequence numbers, resends, TLS. It calls back into Python
under the interpreter's lock; a busy thread beside it cut it to 240 messages/s (measured), hence the process.
Every application message goes to the parent, whole, over the inherited pipe; a full pipe blocks the engine's
thread and with it the socket. Only what this needs is imported: it is logged on after half a second.

The engine counts a message as received when ``fromApp`` returns, long before our commit. So the number that it
goes on from is not its own store's but the parent's, who knows what has been committed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import quickfix as fix

from ledger import clocks
from ledger.faultpoints import at, is_armed
from streaming.feeds.fix_dictionary import write_relaxed
from streaming.feeds.fix_frames import REFUSED, Frame, pack
from streaming.feeds.fix_resends import Resends
from streaming.feeds.fix_schedule import Schedule

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_RESETS_LIMIT = 5
_STOP = {signal.SIGTERM, signal.SIGINT}
_LOGOUT_SECONDS = 1.5  # the parent kills after 2 s
_LOOK_SECONDS = 0.5
PARENT_SECONDS = 2.0  # without a sign of life; the writer's lease runs for 2.5 s
_LOGON, _LOGOUT, _REJECT = "\x0135=A\x01", "\x0135=5\x01", "\x0135=3\x01"
_RESEND, _SEQUENCE_RESET = "\x0135=2\x01", "\x0135=4\x01"
_IN_TURN = ("\x0135=0\x01", "\x0135=1\x01")  # Heartbeat, TestRequest: given to us in the order of their numbers
_AGAIN = "\x0143=Y\x01"  # PossDupFlag

_SETTINGS = """\
[DEFAULT]
ConnectionType=initiator
# the C++ engine has no NonStopSession (QuickFIX/J has): see fix_schedule, which keeps these hours from ending
StartTime=00:00:00.000000001
EndTime=00:00:00
ResetOnLogon=N
ResetOnLogout=N
ResetOnDisconnect=N
SendRedundantResendRequests=N
SocketNodelay=Y
LogonTimeout=10
LogoutTimeout=2
# a Reject consumes the message it refuses: nothing in an application message is to be refused
UseDataDictionary=Y
ValidateUserDefinedFields=N
ValidateFieldsHaveValues=N
ValidateFieldsOutOfOrder=N
AllowUnknownMsgFields=Y
# nor for its SendingTime: a late fill is a fill
CheckLatency=N
"""


class Pipe:
    """The write end. Once the parent has closed its end, frames go nowhere and the process stops."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closed = False

    def send(self, kind: Frame, sequence: int, received_ns: int, content: bytes) -> None:
        """Write one frame, blocking while the pipe is full."""
        view = memoryview(pack(kind, sequence, received_ns, content))
        if is_armed("engine.in_frame"):
            view = view[os.write(self._descriptor, view[: len(view) // 2]) :]
            at("engine.in_frame")
        while view and not self._closed:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                # what is dropped now is sent again: the next engine goes on from the parent's number
                self._closed = True
                os.kill(os.getpid(), signal.SIGTERM)


class Application(fix.Application):  # type: ignore[misc]  # the wheel has no types
    """QuickFIX's callbacks. Nothing may raise here: an exception ends the engine's thread without a word."""

    def __init__(
        self,
        pipe: Pipe,
        session_id: Any,
        next_sequence: int,
        resend_limit: int,
        logon: dict[int, str] | None = None,
    ) -> None:
        super().__init__()
        self._logon = logon or {}  # fields that each of our Logons shows
        self._pipe = pipe
        self._session_id = session_id
        self._session: Any = None
        self._next = next_sequence
        self._resets = 0
        self._is_blocked = False
        self.heard_at = time.monotonic()  # a sign of life of the parent
        self.resends = Resends(resend_limit, self._ask_again, self._tell_missing)
        self.was_reset = False
        """The store's creation time is of now: the schedule has to be postponed again."""

    def onCreate(self, session_id: Any) -> None:  # noqa: N802
        """Set the number that the parent knows, before anything is received."""
        at("engine.start")
        try:
            self._session = fix.Session.lookupSession(session_id)
            self._session.setNextTargetMsgSeqNum(self._next)
        except BaseException as error:  # noqa: BLE001
            # with the store's own number uncommitted fills would be skipped: rather no engine
            self._failed("onCreate", error)
            os._exit(1)

    def onLogon(self, _session_id: Any) -> None:  # noqa: N802
        """Logged on."""
        self._pipe.send(Frame.LOGON, 0, clocks.time_ns(), b"")
        at("engine.logon")

    def onLogout(self, _session_id: Any) -> None:  # noqa: N802
        """Logged out or disconnected."""
        self._resets = 0
        self.resends.ended()
        self._pipe.send(Frame.LOGOUT, 0, clocks.time_ns(), b"")

    def fromApp(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Hand an application message over."""
        received_ns = clocks.time_ns()
        try:
            text = message.toString()
            number = _number(text, "\x0134=")
            at("engine.before_send")
            self._is_blocked = True
            self._pipe.send(Frame.MESSAGE, number, received_ns, _encoded(text))
            self._is_blocked = False
            at("engine.after_send")
            if self.resends.is_open:
                self.resends.took(number, time.monotonic(), is_again=_AGAIN in text)
        except BaseException as error:  # noqa: BLE001
            # it counts as received all the same: the parent shall know that there was one
            self._pipe.send(Frame.REJECT, 0, received_ns, f"58=fromApp: {error!r}\x01".encode(errors="replace"))

    def fromAdmin(self, message: Any, _session_id: Any) -> None:  # noqa: N802
        """Notice that the numbers start over, and which of them are passed over."""
        received_ns = clocks.time_ns()
        try:
            text = message.toString()
            if _SEQUENCE_RESET in text:
                self._passed_over(text, received_ns)
            elif _REJECT in text:
                print(f"{REFUSED} {text.replace(chr(1), '|')}", flush=True)  # noqa: T201  an event like the engine's
            elif any(kind in text for kind in _IN_TURN):
                self.resends.ended(_number(text, "\x0134="))
            elif _LOGON in text and "\x01141=Y\x01" in text:
                self.was_reset = True
                self._resets += 1
                if self._resets > _RESETS_LIMIT:
                    # two QuickFIX engines answered each other's ResetSeqNumFlag with another, hundreds of times a
                    # second, for good (seen with an acceptor that sets it on every Logon): hang up
                    os.kill(os.getpid(), signal.SIGTERM)
                self._pipe.send(Frame.RESET, 0, received_ns, _encoded(text))
        except BaseException as error:  # noqa: BLE001
            self._failed("fromAdmin", error)

    def toAdmin(self, message: Any, session_id: Any) -> None:  # noqa: N802
        """Notice that the engine refuses a message, which is the last of it, or the venue's numbers."""
        try:
            text = message.toString()
            if _RESEND in text:
                self._session.setSendRedundantResendRequests(False)
                end = self.resends.asked(_number(text, "\x017="), time.monotonic())
                if end:
                    message.setField(fix.EndSeqNo(end))
            elif _REJECT in text:
                self._pipe.send(Frame.REJECT, _number(text, "\x0145="), clocks.time_ns(), _encoded(text))
            elif _LOGON in text:
                for tag, value in self._logon.items():
                    message.setField(fix.StringField(tag, value))
                if "\x01141=Y\x01" not in text:
                    return
                # never asked for by us (ResetOn…=N): the engine takes the flag in the venue's answer for a request
                # and answers with a flag of its own, which another QuickFIX takes for a request …
                message.removeField(141)
            elif _LOGOUT in text and "\x0158=MsgSeqNum too low" in text:
                self._too_low(text, fix.Session.lookupSession(session_id))
        except BaseException as error:  # noqa: BLE001
            self._failed("toAdmin", error)

    def toApp(self, _message: Any, _session_id: Any) -> None:  # noqa: N802
        """Only ``send`` sends application messages."""

    def send(self, fields: list[tuple[int, str]]) -> None:
        """Send an application message; what cannot be sent now is dropped. ``fields`` begin with MsgType(35)."""
        try:
            if self._session is not None and self._session.isLoggedOn():
                self._say(fields)
        except BaseException as error:  # noqa: BLE001
            self._failed("send", error)

    def look(self) -> None:
        """Ask again for what does not come; called every second. What is held back by us is not waited for."""
        if not self._is_blocked:
            self.resends.tick(time.monotonic())

    def _say(self, fields: list[tuple[int, str]]) -> None:
        message = fix.Message()
        (_, kind), *body = fields
        message.getHeader().setField(fix.MsgType(kind))
        for tag, value in body:
            message.setField(fix.StringField(tag, value))
        fix.Session.sendToTarget(message, self._session_id)

    def _ask_again(self) -> None:
        # the answer's number is beyond what is missing, and this time the engine asks though it has asked before
        self._session.setSendRedundantResendRequests(True)
        self._say([(35, "1"), (112, "gap")])

    def _tell_missing(self, is_missing: bool, number: int) -> None:
        self._pipe.send(Frame.MISSING if is_missing else Frame.WHOLE, number, clocks.time_ns(), b"")

    def _passed_over(self, text: str, received_ns: int) -> None:
        # verified, so a gap fill stands where it is expected. What it passes over does not come any more
        following = _number(text, "\x0136=")
        is_fill = "\x01123=Y\x01" in text
        first = _number(text, "\x0134=") if is_fill else self._session.getExpectedTargetNum()
        if following > first:
            self._pipe.send(Frame.GAP_FILL, following - 1, received_ns, str(following - first).encode())
        self.resends.took(following - 1, time.monotonic(), is_again=True)

    def _too_low(self, text: str, session: Any) -> None:
        # a Logon below what we expect: the venue has started its numbers over without a flag, as at its agreed
        # hour. The engine would refuse it for good. In session it is an error, and a new Logon mends it
        if not session.receivedLogon():
            self._pipe.send(Frame.RESET, 0, clocks.time_ns(), _encoded(text))
            os.kill(os.getpid(), signal.SIGTERM)  # the next engine begins at 1

    def _failed(self, callback: str, error: BaseException) -> None:
        self._pipe.send(Frame.ERROR, 0, clocks.time_ns(), f"{callback}: {error!r}".encode(errors="replace"))


def _listen(application: Application) -> None:
    """Send what the parent hands over, a line of JSON each: the fields of a message. None is a sign of life."""
    for line in sys.stdin:
        application.heard_at = time.monotonic()
        fields = json.loads(line)
        if fields:
            application.send(fields)


def _encoded(text: str) -> bytes:
    # how the wheel's bytes became text (SWIG: UTF-8, surrogateescape), backwards
    return text.encode("utf-8", "surrogateescape")


def _number(text: str, tag: str) -> int:
    start = text.find(tag)
    if start < 0:
        return 0
    digits = text[start + len(tag) : start + len(tag) + 20].partition("\x01")[0]
    return int(digits) if digits.isdecimal() else 0


def in_memory(pem: dict[str, str]) -> dict[str, str]:
    """Put contents into files that are in no file system; give their paths by setting."""
    paths = {}
    for name, content in pem.items():
        descriptor = os.memfd_create(name)
        os.write(descriptor, content.encode())
        paths[name] = f"/proc/self/fd/{descriptor}"
    return paths


def session_text(settings: dict[str, Any], dictionaries: dict[str, Path], *, is_secret: bool = False) -> str:
    """Settings as QuickFIX reads them; ``is_secret``: our Logon is to be in no file."""
    lines = [
        _SETTINGS + "\n".join(f"{name}={path}" for name, path in dictionaries.items()),
        f"FileStorePath={settings['store']}",
        f"HeartBtInt={settings['heartbeat_seconds']}",
        f"ReconnectInterval={settings['reconnect_seconds']}",
        f"SocketConnectHost={settings['host']}",
        f"SocketConnectPort={settings['port']}",
    ]
    if settings["tls"]:
        lines.append("SSLProtocol=+TLSv1_2 +TLSv1_3")
        lines.append("CertificateVerifyLevel=1")
        for name, key in (
            ("CertificationAuthoritiesFile", "tls_ca"),
            ("ClientCertificateFile", "tls_certificate"),
            ("ClientCertificateKeyFile", "tls_key"),
        ):
            if settings[key]:
                lines.append(f"{name}={settings[key]}")
    lines += [
        # the store would keep our Logon with its password. Without it a ResendRequest is answered with a gap fill:
        # what we say beside session messages are questions, which may be lost
        f"PersistMessages={'N' if is_secret else 'Y'}",
        "[SESSION]",
        f"BeginString={settings['begin_string']}",
        f"DefaultApplVerID={settings['appl_ver_id']}",
        f"SenderCompID={settings['sender_comp_id']}",
        f"TargetCompID={settings['target_comp_id']}",
    ]
    return "\n".join(lines) + "\n"


def _lock(store: Path) -> int:
    # never two engines for one session: wait for one that is still logging out
    descriptor = os.open(store / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _end_stopped(descriptor)
            if signal.sigtimedwait(_STOP, 0.1) is not None:
                sys.exit(0)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor


def _end_stopped(descriptor: int) -> None:
    """End the engine that has the lock where it is stopped (SIGSTOP): its writer has lost the lease."""
    holder = os.pread(descriptor, 20, 0)
    if not holder.isdigit():
        return
    process = Path(f"/proc/{int(holder)}")
    with contextlib.suppress(OSError):
        is_engine = __file__.rpartition("/")[2].removesuffix(".py").encode() in (process / "cmdline").read_bytes()
        if is_engine and (process / "stat").read_text().rpartition(")")[2].split()[0] == "T":
            os.kill(int(holder), signal.SIGKILL)


def main() -> None:
    """Run the session until SIGTERM, or until the parent is gone."""
    # blocked before the engine starts its threads, so that only the wait below gets them
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    handed = json.loads(sys.stdin.readline())
    anchor = handed["clock_anchor_ns"]
    clocks.time_ns = lambda: anchor + time.clock_gettime_ns(time.CLOCK_BOOTTIME)  # the parent's clock
    shown = handed["shown"]
    settings, store = {**handed["settings"], **in_memory(shown["pem"])}, Path(handed["settings"]["store"])
    logon = {tag: value for tag, value in ((553, settings["username"]), (554, shown["password"])) if value}
    store.mkdir(parents=True, exist_ok=True)
    lock = _lock(store)
    names = settings["begin_string"], settings["sender_comp_id"], settings["target_comp_id"]
    schedule = Schedule(store / ("-".join(names) + ".session"))
    schedule.postpone()
    configuration = store / "engine.cfg"
    dictionaries = write_relaxed(store, settings["begin_string"])
    configuration.write_text(session_text(settings, dictionaries, is_secret=bool(logon)))
    session_settings = fix.SessionSettings(str(configuration))
    session_id = fix.SessionID(*names)
    pipe = Pipe(handed["pipe"])
    application = Application(pipe, session_id, handed["next_sequence"], settings["resend_limit"], logon)
    initiator = (fix.SSLSocketInitiator if settings["tls"] else fix.SocketInitiator)(
        application,
        fix.FileStoreFactory(session_settings),
        session_settings,
        fix.ScreenLogFactory(False, False, True),  # the engine's events on stdout: the parent logs them
    )
    session = fix.Session.lookupSession(session_id)
    schedule.postpone()
    session.refresh()
    initiator.start()
    threading.Thread(target=_listen, args=(application,), name="commands", daemon=True).start()
    while signal.sigtimedwait(_STOP, _LOOK_SECONDS) is None and os.getppid() == handed["parent"]:
        if time.monotonic() - application.heard_at > PARENT_SECONDS:
            break  # it is stopped, and another process may be the writer by now: the session is that one's
        if application.was_reset or schedule.is_due():
            application.was_reset = False
            schedule.postpone()
            session.refresh()
        application.look()
    _log_out(session)
    os.close(lock)
    os._exit(0)  # the store is written through; stop() would sleep in whole seconds under the interpreter's lock


def _log_out(session: Any) -> None:
    # some venues block the CompID for two heartbeats when a client goes without a Logout
    if not session.isLoggedOn():
        return
    session.logout()
    until = time.monotonic() + _LOGOUT_SECONDS
    while session.isLoggedOn() and time.monotonic() < until:
        time.sleep(0.02)


if __name__ == "__main__":
    main()
