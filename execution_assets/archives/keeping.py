"""Legal holds, and key rotation: what is done to archives without touching their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execution_assets.archives.errors import ArchiveError
from execution_assets.archives.ledger import connect
from execution_assets.archives.records import SQL
from trust.envelope import read_material, rewrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execution_assets.archives.library import Library
    from execution_assets.archives.manifest import Listed

_CONNECT_SECONDS = 5


def hold(library: Library, listed: Sequence[Listed], *, on: bool) -> int:
    """Place or lift a legal hold on manifests and files; give how many objects. Their days: see ``holds``."""
    places = [place for o in listed for place in (o.stored, *(held.stored for held in o.manifest.objects))]
    for stored in places:
        library.store.hold(stored.key, stored.version, on=on)
    return len(places)


def rotate(
    library: Library, listed: Sequence[Listed], *, forget: bool, log: Callable[[str], None] = lambda _: None
) -> int:
    """Wrap the data keys of files under the newest key; give how many were not wrapped so before.

    The files stay as they are. ``forget`` deletes the older wrappings for good, once the new one is read back and
    unwraps to the same data key.
    """
    changed = 0
    for held in (held for o in listed for held in o.manifest.objects):
        before = library.material(held)
        fresh = rewrapped(library.keys, before)
        library.store.put_unlocked(held.material_key, fresh.json())
        stored = read_material(library.store.get(held.material_key))
        if library.keys.unwrap(stored.wrapped_key) != library.keys.unwrap(before.wrapped_key):
            library.store.put_unlocked(held.material_key, before.json())
            raise ArchiveError(f"{held.key}: the new wrapping does not give the same key: the old one is back")
        if forget:
            versions = [version for key, version, _ in library.store.versions(held.material_key)]
            for version in versions[1:]:
                library.store.delete_unlocked(held.material_key, version)
        changed += 1
        log(f"{held.key}: wrapped under {stored.key_id}")
    return changed


def note_held(url: str, listed: Sequence[Listed], *, on: bool) -> None:
    """Tell Postgres's manifest of a hold. Raises ``psycopg.Error``."""
    _each(url, "held", listed, on=on)


def note_rotated(url: str, listed: Sequence[Listed], key_id: str) -> None:
    """Tell Postgres's manifest which key wraps. Raises ``psycopg.Error``."""
    _each(url, "rewrapped", listed, key_id=key_id)


def note_verified(url: str, listed: Sequence[Listed]) -> None:
    """Tell Postgres's manifest what was read back and found well. Raises ``psycopg.Error``."""
    _each(url, "verified", listed)


def _each(url: str, query: str, listed: Sequence[Listed], **more: Any) -> None:
    with connect(url, _CONNECT_SECONDS) as connection:
        for held in (held for o in listed for held in o.manifest.objects):
            connection.execute(SQL[query].encode(), {"key": held.key, "version": held.version, **more})
