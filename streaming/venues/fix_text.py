"""FIX as people keep it, in logs and mails: ``|`` or ``^A`` where the wire has SOH."""

from __future__ import annotations

import re

# what stands after BeginString's value separates the fields; a value further on may hold the other sign
_SEPARATOR = re.compile(rb"8=FIXT?\.[0-9]\.[0-9](\||\^A)")


def normalise(raw: bytes) -> bytes:
    """Give one message as it was on the wire, for ``streaming.venues.fix.decode``.

    Only where it holds no SOH: with SOH, a ``|`` belongs to a value and stays. The end of the line goes, and the
    last field gets its SOH if the text has lost it. What is not a message in this form comes back as it is.
    """
    if b"\x01" in raw:
        return raw
    line = raw.strip()
    match = _SEPARATOR.match(line)
    if match is None:
        return raw
    separator = match[1]
    whole = line if line.endswith(separator) else line + separator
    return whole.replace(separator, b"\x01")
