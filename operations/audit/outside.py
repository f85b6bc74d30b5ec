"""What the locked bucket says of the log: read before the ledger is, so that a log that grows raises no alarm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trust.bucket_log import BucketLog
    from trust.notes import Checkpoint


@dataclass(frozen=True)
class Outside:
    """Checkpoints by their size, and what is wrong with them."""

    bucket: BucketLog | None
    place: str
    checkpoints: dict[int, Checkpoint]
    problems: list[str]

    @classmethod
    def of_none(cls) -> Outside:
        """Give what is known without a bucket."""
        return cls(None, "not asked", {}, [])


def look(bucket: BucketLog, known: int, sample: int, since: int = 0, scan: int | None = None) -> Outside:
    """Read the newest checkpoint, that over ``since`` events, and ``sample`` between them; 0 is all.

    ``known``: the size of one that should be there. ``scan``: the names of those over more events are looked
    through for what should not be there, a thousand a request; None does it where all are read. Raises
    ``StoreError``.
    """
    found = Outside(bucket, bucket.place, {}, [])
    newest = bucket.newest(max(known, since))
    if newest is None:
        found.problems.append(f"{bucket.place} has no checkpoint: nothing says what the ledger once was")
        return found
    span = newest.size - since
    if sample and span > 0:
        sizes = {s for n in range(sample) for s in bucket.sizes(since + n * span // sample - 1, 1)}
    else:
        sizes = set(bucket.sizes(since - 1))
        scan = since if scan is None else scan
    if scan is not None:
        bucket.look(scan - 1, newest.size)
    for size in sorted(size for size in sizes | {newest.size} if size <= newest.size):
        checkpoint = bucket.checkpoint(size)
        if checkpoint is not None:
            found.checkpoints[size] = checkpoint
    if since and since not in found.checkpoints:
        checkpoint = bucket.checkpoint(since)
        if checkpoint is None:
            found.problems.append(
                f"{bucket.place} has no checkpoint over {since} events, and one was verified: verify the whole log"
            )
        else:
            found.checkpoints[since] = checkpoint
    return found
