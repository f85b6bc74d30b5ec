"""Proofs that stand by themselves: an event is in the log, an older log is the beginning of a newer one.

A proof is JSON. Whoever has it and the log's public key needs nothing of ours: the formats are RFC 6962, section
2.1, and c2sp.org/signed-note with c2sp.org/tlog-checkpoint; docs/audit.md has the bytes of an entry.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

import msgspec

from ledger.db.audit_entries import AuditRow, read_entry
from operations.audit.reading import AuditError
from trust.errors import ProofError
from trust.merkle import (
    HASH_BYTES,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from trust.notes import NoteKey, open_note, parse_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operations.audit.reading import Log
    from trust.merkle import Node
    from trust.notes import Checkpoint


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """One proof. Hashes are hex, ``entry`` is base64; ``key`` is the signer's, as its maker knew it."""

    kind: Literal["inclusion", "consistency"]
    checkpoint: str
    path: list[str]
    key: str
    entry: str = ""
    leaf: int = -1
    older: str = ""


def prove_event(log: Log, row: AuditRow, size: int | None, keys: Sequence[NoteKey]) -> Proof:
    """Prove that a row is in the log. Raises ``AuditError``, ``TrustError``: nothing unproven is given away."""
    leaf = log.leaf_of(row)
    if leaf is None and (row.xid, row.position) <= log.grown().last:
        raise AuditError(f"event {row.event_id.hex()} is not in its tile: the row is not what was logged")
    signed = None if leaf is None else log.covering(leaf, size)
    if leaf is None or signed is None:
        raise AuditError(f"event {row.event_id.hex()} is under no checkpoint yet: wait for the next")
    log.load(_nodes(lambda node: inclusion_proof(leaf, signed["tree_size"], node)))
    path = inclusion_proof(leaf, signed["tree_size"], log.node)
    proof = Proof(
        "inclusion",
        signed["note"],
        [node.hex() for node in path],
        str(keys[0]),
        base64.b64encode(row.entry()).decode(),
        leaf,
    )
    check(proof, keys)
    return proof


def prove_growth(log: Log, old: int, new: int, keys: Sequence[NoteKey]) -> Proof:
    """Prove that the log of ``old`` events is the beginning of that of ``new``. Raises as ``prove_event``."""
    path = [node.hex() for node in consistency_proof(old, new, log.node)]
    proof = Proof("consistency", log.note(new), path, str(keys[0]), older=log.note(old))
    check(proof, keys)
    return proof


def check(proof: Proof, keys: Sequence[NoteKey]) -> str:
    """Check a proof by nothing but itself and the keys; say what it proves. Raises ``TrustError``."""
    newer = parse_checkpoint(open_note(proof.checkpoint, keys))
    try:
        path = [bytes.fromhex(node) for node in proof.path]
        entry = base64.b64decode(proof.entry, validate=True)
    except ValueError as error:
        raise ProofError(f"the proof cannot be read: {error}") from error
    if proof.kind == "consistency":
        older = parse_checkpoint(open_note(proof.older, keys))
        _same_log(older, newer)
        verify_consistency(older.size, newer.size, older.root, newer.root, path)
        return f"the {older.size} events of {newer.origin} are the first of its {newer.size}"
    verify_inclusion(leaf_hash(entry), proof.leaf, newer.size, path, newer.root)
    try:
        row = read_entry(entry)
    except ValueError as error:
        raise ProofError(str(error)) from error
    return (
        f"event {row.event_id.hex()} ({row.event_type}, recorded on {row.recorded_on} "
        f"by {row.recorded_by or '?'}) "
        f"is entry {proof.leaf} of the {newer.size} of {newer.origin}"
    )


def read(content: bytes) -> Proof:
    """Read a proof. Raises ``AuditError``."""
    try:
        return msgspec.json.decode(content, type=Proof)
    except msgspec.MsgspecError as error:
        raise AuditError(f"--proof: this is no proof: {error}") from error


def _nodes(prove: Callable[[Node], object]) -> set[tuple[int, int]]:
    """Ask which nodes a proof is made of."""
    wanted: set[tuple[int, int]] = set()

    def node(height: int, index: int) -> bytes:
        wanted.add((height, index))
        return bytes(HASH_BYTES)

    prove(node)
    return wanted


def _same_log(one: Checkpoint, other: Checkpoint) -> None:
    if one.origin != other.origin:
        raise ProofError(f"the checkpoints are of two logs: {one.origin} and {other.origin}")
