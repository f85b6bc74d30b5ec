# ruff: noqa: INP001  no package: a folder on the path
"""On the path of a process, it lets that process's clock be set: the nanoseconds in a file are added to the time.

For Python's own ``time.time`` and ``time.time_ns``, before anything has imported them; what asks the kernel from C
(librdkafka, the FIX engine's timers) is told the true time.
"""

import mmap
import os
import struct
import time

_PATH = os.environ.get("CHAOS_CLOCK")
if _PATH:
    with open(_PATH, "rb") as _file:  # noqa: PTH123  imported before anything else: the less the better
        _added = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
    _time, _time_ns, _read = time.time, time.time_ns, struct.Struct("q").unpack_from
    time.time = lambda: _time() + _read(_added)[0] / 1e9
    time.time_ns = lambda: _time_ns() + int(_read(_added)[0])
