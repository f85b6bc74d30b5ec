"""Reads archives back and says what is not as their manifests have it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from execution_assets.archives.digest import RowsDigest
from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.holds import orders
from execution_assets.archives.ledger import connect
from execution_assets.archives.manifest import OBJECTS, Manifest
from execution_assets.archives.records import SQL, parts_of, prepare
from trust.errors import StoreError, TrustError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date

    from execution_assets.archives.library import Doubt, Library
    from execution_assets.archives.manifest import ArchivedObject, Listed
    from trust.locked_store import Stored


class Verified(msgspec.Struct, frozen=True):
    """One file or manifest, what was looked at, and what was wrong (nothing is ``()``), or that it is missing."""

    what: str
    table: str
    rows: int
    retain_until: datetime | None
    legal_hold: bool
    wrong: tuple[str, ...]
    is_missing: bool = False


class Verification(msgspec.Struct):
    """A range: its lines, notes that are no fault, and its manifests."""

    lines: list[Verified]
    notes: list[str]
    manifests: list[Manifest]

    @property
    def wrong(self) -> int:
        """How many lines have something wrong, the missing ones among them."""
        return sum(bool(line.wrong) for line in self.lines)

    @property
    def missing(self) -> int:
        """How many archives should be there and are not."""
        return sum(line.is_missing for line in self.lines)


def verify(
    library: Library,
    record_class: str,
    first: date,
    last: date,
    *,
    url: str | None = None,
    venues: Sequence[str] = (),
    deep: bool = True,
    log: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Check all revisions of a range: signatures, chain, bytes, keys, rows, locks, holds; that none is missing.

    ``venues``: only these, and what lies there and is none of ours, wherever; empty is all of them.

    What should be there is what Postgres (``url``) has records of; without it, what the signed manifests say of
    the calendar. ``deep=False`` leaves out reading the files. Raises ``StoreError`` where the store is away.
    """
    library.store.check()
    found = Verification([], [], [])
    ordered = orders(library, record_class)
    found.lines += [
        Verified(key, "hold", 0, None, legal_hold=False, wrong=(why,)) for key, why in ordered.doubtful.items()
    ]
    there = library.manifests(record_class, first, last)
    found.lines += [
        Verified(key, "manifest", 0, None, legal_hold=False, wrong=(doubt.why,))
        for key, doubt in there.doubtful.items()
    ]
    listed = [o for o in there.listed if not venues or o.manifest.venue in venues]
    known = {o.manifest.key: o for o in listed}
    found.manifests = [o.manifest for o in listed]
    for opened in listed:
        manifest = opened.manifest
        wrong = [
            *_chain(opened, known, there.doubtful),
            *_lock(library, opened.stored.key, opened.stored.version, manifest),
        ]
        held = library.store.lock(opened.stored.key, opened.stored.version)
        if _is_early(manifest, listed):
            wrong.append("it was archived before the day was over, and not again since")
        # what is doubtful is a line of its own, not one for all that was archived before it was there
        if ordered.is_ordered(manifest.trade_date, manifest.venue) and not held.legal_hold:
            wrong.append("the day is under a legal hold, and this is not")
        found.lines.append(
            Verified(manifest.name, "manifest", manifest.rows, held.retain_until, held.legal_hold, tuple(wrong))
        )
        found.lines += [verify_object(library, manifest, archived, deep=deep) for archived in manifest.objects]
        log(f"{manifest.name} looked at")
    found.notes += _strays(library, record_class, first, last, listed, venues)
    if url is not None:
        found.lines += _compare_ledger(url, record_class, first, last, listed, venues)
    found.lines += [
        line
        for venue, line in _missing(record_class, first, last, there.listed, url)
        if not venues or venue in venues
    ]
    found.notes += library.notes
    return found


def _is_early(manifest: Manifest, listed: list[Listed]) -> bool:
    """Whether what is kept of a day that is over is what there was of it before it was."""
    newer = any(
        (o.manifest.trade_date, o.manifest.venue) == (manifest.trade_date, manifest.venue)
        and o.manifest.revision > manifest.revision
        for o in listed
    )
    over = datetime.combine(manifest.trade_date + timedelta(days=1), time(), UTC)
    return not newer and manifest.created_at < over <= datetime.now(UTC)


def _missing(
    record_class: str, first: date, last: date, listed: list[Listed], url: str | None
) -> list[tuple[str, Verified]]:
    """Name the days and venues that should have an archive and have none; days that are not over need none yet."""
    manifests = [o.manifest for o in listed]
    there = {(manifest.trade_date, manifest.venue) for manifest in manifests}
    wanted = {
        (manifest.trade_date, venue): f"the manifest of {manifest.venue} names it"
        for manifest in manifests
        for venue in manifest.venues
    }
    if url is not None:
        wanted |= dict.fromkeys(_in_ledger(url, record_class, first, last), "Postgres has records of it")
    days = {day for day, _ in (*there, *wanted)}
    for manifest in manifests:
        if manifest.before is not None and first <= manifest.before and manifest.before not in days:
            wanted[manifest.before, "-"] = f"the manifest of {manifest.trade_date} names it as the day before"
    return [
        (
            venue,
            Verified(
                f"{record_class} {day} {venue}", "manifest", 0, None, legal_hold=False,
                wrong=(f"it was never archived: {wanted[day, venue]}",), is_missing=True,
            ),
        )
        for day, venue in sorted(wanted.keys() - there)
    ]  # fmt: skip


def _in_ledger(url: str, record_class: str, first: date, last: date) -> set[tuple[date, str]]:
    """Give the days that are over and their venues of which Postgres has records."""
    found = set()
    day, end = first, min(last, datetime.now(UTC).date() - timedelta(days=1))
    with connect(url) as connection:
        prepare(connection)
        while day <= end:
            found |= {(part.day, part.venue) for part in parts_of(connection, record_class, day)}
            day += timedelta(days=1)
    return found


def verify_object(library: Library, manifest: Manifest, held: ArchivedObject, *, deep: bool = True) -> Verified:
    """Check one file: its bytes, its lock, that its key opens it, and that its rows have the digest."""
    wrong = _lock(library, held.key, held.version, manifest)
    try:
        lock = library.store.lock(held.key, held.version)
        until, hold = lock.retain_until, lock.legal_hold
    except StoreError:
        until, hold = None, False
    if deep and not wrong:
        try:
            wrong += _content(library, held)
        except (ArchiveError, TrustError) as error:
            wrong.append(str(error))
    return Verified(manifest.name, held.table, held.rows, until, hold, tuple(wrong))


def _content(library: Library, held: ArchivedObject) -> list[str]:
    sha256, size = library.store.digest(held.key, held.version)
    if (sha256, size) != (held.sha256, held.size):
        return [f"SHA-256 {held.sha256} of {held.size} bytes is required, was {sha256} of {size}"]
    rows = RowsDigest()
    for table in library.tables(held):
        rows.update(table)
    if (rows.hexdigest(), rows.rows) != (held.digest, held.rows) and (rows.rows or held.rows):
        return [f"{held.rows} rows of digest {held.digest} are required, was {rows.rows} of {rows.hexdigest()}"]
    return []


def _lock(library: Library, key: str, version: str, manifest: Manifest) -> list[str]:
    try:
        lock = library.store.lock(key, version)
    except StoreError as error:
        return [str(error)]
    if lock.retain_until is None:
        return ["it has no COMPLIANCE lock"]
    if lock.retain_until < manifest.retain_until.astimezone(UTC).replace(microsecond=0):
        return [f"locked until {manifest.retain_until:%Y-%m-%d} is required, was {lock.retain_until:%Y-%m-%d}"]
    return []


def _chain(opened: Listed, known: Mapping[str, Listed], doubtful: Mapping[str, Doubt]) -> list[str]:
    """Say what is wrong with what a revision follows: the last one before it that it did not pass over."""
    manifest = opened.manifest
    for revision in range(manifest.revision - 1, 0, -1):
        earlier = msgspec.structs.replace(manifest, revision=revision).key
        there = known.get(earlier) or doubtful.get(earlier)
        stored = None if there is None else there.stored
        if _is_passed_over(manifest, earlier, stored, is_doubtful=earlier in doubtful):
            continue
        if stored is None:
            return [f"revision {revision} is not there ({earlier})"]
        if stored.sha256 != manifest.previous:
            return [f"revision {revision} is not the one that this follows"]
        return []
    return [] if manifest.previous is None else ["a first revision follows none"]


def _is_passed_over(manifest: Manifest, key: str, stored: Stored | None, *, is_doubtful: bool) -> bool:
    """Whether a revision passed over what lies, or lay, under a key. What is doubtful has a line of its own."""
    if manifest.passed_over is None:  # of before it was written down: all that was none of ours then
        return is_doubtful and stored is not None and stored.sha256 != manifest.previous
    passed = next((passed for passed in manifest.passed_over if passed.key == key), None)
    if passed is None:
        return False
    return stored is None or is_doubtful or (stored.version, stored.sha256) == (
        passed.version, passed.sha256 or stored.sha256,
    )  # fmt: skip


def _strays(
    library: Library, record_class: str, first: date, last: date, listed: list[Listed], venues: Sequence[str]
) -> list[str]:
    """Name what no manifest knows: a writer that was killed leaves its files, and begins anew."""
    known = {(held.key, held.version) for o in listed for held in o.manifest.objects}
    notes, named = [], {quote(venue, safe="") for venue in venues}
    for day in sorted({str(o.manifest.trade_date) for o in listed} | {str(first), str(last)}):
        for key, version, size in library.store.versions(f"{OBJECTS}/{record_class}/{day}/"):
            if (key, version) not in known and (not venues or key.split("/")[3] in named):
                notes.append(f"{key} version {version} ({size} bytes) is in no manifest")
    return notes


def _compare_ledger(
    url: str, record_class: str, first: date, last: date, listed: list[Listed], venues: Sequence[str]
) -> list[Verified]:
    """Say what Postgres has otherwise than the store, and what is in one of them alone."""
    with connect(url) as connection:
        asked = {"first": first, "last": last, "record_class": record_class, "venues": list(venues)}
        rows: dict[Any, Any] = {
            (key, version): tuple(values)
            for key, version, *values in connection.execute(SQL["recorded"].encode(), asked)
        }
    wrong = []
    for o in listed:
        for held in o.manifest.objects:
            row = rows.pop((held.key, held.version), None)
            if row != (held.sha256, held.digest, held.rows):
                said = "no row of it" if row is None else "SHA-256 {}, digest {}, {} rows".format(*row)
                wrong.append(_differs(o.manifest.name, held.table, f"execution.archives has {said}"))
    wrong += [_differs(key, "-", "execution.archives has it, no manifest does") for key, _ in rows]
    return wrong


def _differs(what: str, table: str, said: str) -> Verified:
    return Verified(what, table, 0, None, legal_hold=False, wrong=(said,))
