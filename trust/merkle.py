"""The Merkle tree of RFC 6962, section 2.1 (unchanged in RFC 9162, section 2.1): roots, proofs, verification.

Nothing here reads or stores: nodes come from a function. A node is named by its height and its index at that
height, ``(0, i)`` is leaf i; only complete subtrees have a node of their own, everything else is worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

from trust.errors import ProofError

Node = Callable[[int, int], bytes]
"""Height, index -> hash of the complete subtree over leaves ``index << height`` to ``(index + 1) << height``."""

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
_LEAF, _INNER = b"\x00", b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry; the prefix keeps a leaf from being taken for an inner node."""
    return sha256(_LEAF + entry).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """Hash two children."""
    return sha256(_INNER + left + right).digest()


class Range:
    """The roots of the complete subtrees from leaf 0 on, largest first: all that is needed to append."""

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        """Go on from ``size`` leaves, whose ``roots`` are those of ``peaks(size)``."""
        self.size = size
        self._roots = list(roots)
        if len(self._roots) != size.bit_count():
            raise ProofError(f"{size} leaves have {size.bit_count()} complete subtrees, was {len(self._roots)}")

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Append a leaf's hash; give each node that is now complete as (height, index, hash), lowest first.

        The range has the leaf when the iterator has ended.
        """
        index, node, height = self.size, leaf, 0
        yield 0, index, node
        while index & 1:
            node = inner_hash(self._roots.pop(), node)
            index >>= 1
            height += 1
            yield height, index, node
        self._roots.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaves' hashes."""
        for leaf in leaves:
            for _ in self.append(leaf):
                pass

    def root(self) -> bytes:
        """Give the root over all leaves."""
        return _fold(self._roots) if self._roots else EMPTY_ROOT


def peaks(size: int) -> list[tuple[int, int]]:
    """Name the nodes of the complete subtrees that ``size`` leaves consist of, from the left."""
    return _pieces(0, size)


def root_of(size: int, node: Node) -> bytes:
    """Work out the root over the first ``size`` leaves."""
    return _subtree(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Give the audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962, section 2.1.1).

    Raises ``ProofError`` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _largest_power_below(high - low)
        if index < middle:
            path.append(_subtree(middle, high, node))
            high = middle
        else:
            path.append(_subtree(low, middle, node))
            low = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """Prove that the first ``old`` of ``new`` leaves are those of the old tree (RFC 6962, section 2.1.2).

    Raises ``ProofError`` unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves has no older state of {old}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    low, high, whole = 0, new, True
    while old != high:
        middle = low + _largest_power_below(high - low)
        if old <= middle:
            path.append(_subtree(middle, high, node))
            high = middle
        else:
            path.append(_subtree(low, middle, node))
            low, whole = middle, False
    if not whole:  # the old root itself is known to whoever asks
        path.append(_subtree(low, high, node))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise ``ProofError`` unless ``path`` leads from the leaf's hash to the root (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of {size} leaves")
    reached = leaf
    for sibling, is_left in zip(path, _sides(index, size - 1, len(path)), strict=True):
        reached = inner_hash(sibling, reached) if is_left else inner_hash(reached, sibling)
    if reached != root:
        raise ProofError(f"leaf {index} is not what the root over {size} leaves was made of")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raise ``ProofError`` unless ``path`` leads from both to their roots (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= new:
        raise ProofError(f"a tree of {new} leaves has no older state of {old}")
    if old in {0, new}:
        _check_trivial(old, new, old_root, new_root, path)
        return
    nodes = list(path)
    if not old & (old - 1):  # a power of two: the old root is a node of the new tree
        nodes.insert(0, old_root)
    if not nodes:
        raise ProofError("the proof is empty")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    was = now = nodes[0]
    for sibling, is_left in zip(nodes[1:], _sides(place, last, len(nodes) - 1), strict=True):
        if is_left:
            was, now = inner_hash(sibling, was), inner_hash(sibling, now)
        else:
            now = inner_hash(now, sibling)
    if was != old_root:
        raise ProofError(f"the first {old} of {new} leaves are not those of the old root")
    if now != new_root:
        raise ProofError(f"the proof does not lead to the root over {new} leaves")


def _sides(place: int, last: int, length: int) -> Iterator[bool]:
    """Say of each node of a path from ``place`` up whether it is a left one; ``last`` is the last at that height.

    Raises ``ProofError`` where a path of this length does not end at the root.
    """
    for _ in range(length):
        if last == 0:
            raise ProofError("the path is longer than the tree is high")
        is_left = bool(place & 1) or place == last
        yield is_left
        while is_left and place and not place & 1:
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    if last:
        raise ProofError("the path ends below the root")


def _check_trivial(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    if path:
        raise ProofError(f"there is nothing to prove from {old} to {new} leaves, and the proof is not empty")
    if old == 0 and old_root != EMPTY_ROOT:
        raise ProofError("the old root is not that of an empty tree")
    if old == new and old_root != new_root:
        raise ProofError(f"two roots over {new} leaves: one of them was made of other entries")


def _subtree(low: int, high: int, node: Node) -> bytes:
    return _fold([node(height, index) for height, index in _pieces(low, high)])


def _pieces(low: int, high: int) -> list[tuple[int, int]]:
    """Cut a range that starts where a subtree of its size may start into complete subtrees, largest first."""
    pieces: list[tuple[int, int]] = []
    while low < high:
        height = (high - low).bit_length() - 1
        pieces.append((height, low >> height))
        low += 1 << height
    return pieces


def _fold(roots: Sequence[bytes]) -> bytes:
    reached = roots[-1]
    for left in reversed(roots[:-1]):
        reached = inner_hash(left, reached)
    return reached


def _largest_power_below(number: int) -> int:
    return 1 << ((number - 1).bit_length() - 1)
