"""Proofs of pymerkle, an implementation that is not ours, in the form of RFC 6962, and ours in its form.

An inclusion path is the same but for the leaf itself, with which pymerkle begins. Its consistency proofs go down
to the first new leaf: RFC 6962 (section 2.1.2) has one hash for that part, and leaves the old root out where it is
a node of the new tree, for whoever checks has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymerkle.proof import ConsistencyProof, InclusionProof

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymerkle import BaseMerkleTree

ALGORITHM = "sha256"


def inclusion(theirs: InclusionProof) -> list[bytes]:
    """Give pymerkle's path as RFC 6962 has it."""
    return list(theirs.path[1:])


def their_inclusion(
    tree: BaseMerkleTree, leaf: bytes, index: int, size: int, path: Sequence[bytes]
) -> InclusionProof:
    """Give our path as a proof that pymerkle can check. ``tree`` says which side each node is on."""
    rule = tree.prove_inclusion(index + 1, size).rule
    return InclusionProof(ALGORITHM, True, size, index + 1, rule, [leaf, *path])


def consistency(theirs: ConsistencyProof) -> list[bytes]:
    """Give pymerkle's proof as RFC 6962 has it."""
    if theirs.prior_size == theirs.size:
        return []
    shared = theirs.subset.index(1)  # the lowest node that both trees have
    new = InclusionProof(ALGORITHM, True, 0, 0, theirs.rule[:shared], theirs.path[:shared]).compute_root()
    kept = [] if _is_node(theirs.prior_size) else [theirs.path[shared]]
    return [*kept, new, *theirs.path[shared + 1 :]]


def their_consistency(
    tree: BaseMerkleTree, old: int, new: int, old_root: bytes, path: Sequence[bytes]
) -> ConsistencyProof:
    """Give our proof with 0 < old < new as one that pymerkle resolves to both roots, over the nodes that we named.

    ``retrieve_prior_state`` and ``compute_root`` give the roots. Its ``verify`` wants the part below our one hash.
    """
    theirs = tree.prove_consistency(old, new)
    shared, added, *rest = [old_root, *path] if _is_node(old) else path
    low = theirs.subset.index(1)
    return ConsistencyProof(
        ALGORITHM, True, new, old, theirs.rule[low - 1 :], theirs.subset[low - 1 :], [added, shared, *rest]
    )


def _is_node(size: int) -> bool:
    """Whether a tree of so many leaves is one complete subtree."""
    return not size & (size - 1)
