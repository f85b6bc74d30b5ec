"""Seeds that found something, each with what it was: they are run again for ever.

A seed draws the same run only as long as nothing changes in what it draws; what it found has a planted twin in
``simulation.planted`` where it was a bug of the program, so that the find itself cannot get lost.
"""

from __future__ import annotations

FOUND = {  # of the scale middle
    38: "a commit without an answer: the next session's fill of the same order was published before its event",
    88: "the same",
    251: "the same, when Kafka's feed read by other steps",
    268: "the same, with another session's end",
}

FOUND_LONG = {  # of the scale long
    21326: "a client that asked for the lease of an ended session, not knowing: our own server's mistake",
}
