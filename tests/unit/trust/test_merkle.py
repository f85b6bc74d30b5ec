"""Against the vectors of RFC 6962's reference implementation, pymerkle, and every wrong byte."""

from __future__ import annotations

from functools import cache

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from tests import rfc6962
from trust.errors import ProofError
from trust.merkle import (
    EMPTY_ROOT,
    Node,
    Range,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    peaks,
    root_of,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [  # of certificate-transparency's merkletree tests, by number of entries
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MOST = 70


def entry(number: int) -> bytes:
    return b"entry %d" % number


@cache
def tree() -> tuple[dict[tuple[int, int], bytes], list[bytes]]:
    """All complete nodes over MOST leaves, and the root after each leaf."""
    nodes: dict[tuple[int, int], bytes] = {}
    grown, roots = Range(), [EMPTY_ROOT]
    for number in range(MOST):
        for height, index, node in grown.append(leaf_hash(entry(number))):
            nodes[height, index] = node
        roots.append(grown.root())
    return nodes, roots


def node() -> Node:
    nodes, _ = tree()
    return lambda height, index: nodes[height, index]


@cache
def other() -> InmemoryTree:
    return InmemoryTree.init_from_entries([entry(n) for n in range(MOST)], algorithm="sha256")


def test_roots_of_the_reference_implementation() -> None:
    grown = Range()
    assert grown.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for data, root in zip(ENTRIES, ROOTS, strict=True):
        grown.extend([leaf_hash(data)])
        assert grown.root().hex() == root


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_pymerkle_has_the_same_roots_and_paths(size: int) -> None:
    """Node for node; each of us believes what the other one has proven."""
    root = tree()[1][size]
    assert root == other().get_root(size) == root_of(size, node())
    for index in range(size):
        leaf = leaf_hash(entry(index))
        path = inclusion_proof(index, size, node())
        theirs = other().prove_inclusion(index + 1, size)
        assert path == rfc6962.inclusion(theirs)
        verify_inclusion(leaf, index, size, rfc6962.inclusion(theirs), other().get_root(size))
        ours = rfc6962.their_inclusion(other(), leaf, index, size, path)
        pymerkle.verify_inclusion(leaf, root, ours, index=index + 1, size=size, algorithm="sha256")


@pytest.mark.parametrize("new", range(MOST + 1))
def test_every_older_state_is_consistent(new: int) -> None:
    roots = tree()[1]
    for old in range(new + 1):
        verify_consistency(old, new, roots[old], roots[new], consistency_proof(old, new, node()))


@pytest.mark.parametrize("new", range(1, MOST + 1))
def test_pymerkle_proves_every_older_state_as_we_do(new: int) -> None:
    """All pairs: its proofs are ours node for node, we believe its, and it gets both roots out of ours."""
    roots = tree()[1]
    for old in range(1, new + 1):
        path = consistency_proof(old, new, node())
        theirs = other().prove_consistency(old, new)
        pymerkle.verify_consistency(roots[old], roots[new], theirs, old, new, "sha256")
        assert path == rfc6962.consistency(theirs)
        verify_consistency(old, new, other().get_root(old), other().get_root(new), rfc6962.consistency(theirs))
        if old < new:
            ours = rfc6962.their_consistency(other(), old, new, roots[old], path)
            assert (ours.retrieve_prior_state(), ours.compute_root()) == (roots[old], roots[new])


def test_neither_believes_a_path_whose_nodes_changed_places() -> None:
    """What made a comparison of sorted paths worthless."""
    for size in range(3, MOST + 1):
        path = inclusion_proof(0, size, node())
        if len(path) < 2:
            continue
        leaf, root = leaf_hash(entry(0)), tree()[1][size]
        wrong = [path[1], path[0], *path[2:]]
        with pytest.raises(ProofError):
            verify_inclusion(leaf, 0, size, wrong, root)
        with pytest.raises(pymerkle.InvalidProof):
            pymerkle.verify_inclusion(leaf, root, rfc6962.their_inclusion(other(), leaf, 0, size, wrong))


@given(st.data())
def test_a_wrong_bit_anywhere_is_found(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, MOST))
    index = data.draw(st.integers(0, size - 1))
    nodes = [leaf_hash(entry(index)), tree()[1][size], *inclusion_proof(index, size, node())]
    wrong = data.draw(st.integers(0, len(nodes) - 1))
    nodes[wrong] = flipped(nodes[wrong], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError):
        verify_inclusion(nodes[0], index, size, nodes[2:], nodes[1])


@given(st.data())
def test_a_wrong_bit_in_a_history_is_found(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    roots = tree()[1]
    nodes = [roots[old], roots[new], *consistency_proof(old, new, node())]
    wrong = data.draw(st.integers(0, len(nodes) - 1))
    nodes[wrong] = flipped(nodes[wrong], data.draw(st.integers(0, 255)))
    with pytest.raises(ProofError):
        verify_consistency(old, new, nodes[0], nodes[1], nodes[2:])


@given(st.data())
def test_a_path_of_another_length_or_leaf_is_found(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, MOST))
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, node())
    leaf, root = leaf_hash(entry(index)), tree()[1][size]
    elsewhere = data.draw(st.integers(0, size - 1).filter(lambda place: place != index))
    for place, wrong in ((index, path[:-1]), (index, [*path, root]), (elsewhere, path)):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, place, size, wrong, root)


@given(st.integers(0, MOST), st.integers(0, MOST))
def test_a_range_goes_on_from_its_subtrees(size: int, more: int) -> None:
    end = min(MOST, size + more)
    nodes, roots = tree()
    grown = Range(size, [nodes[place] for place in peaks(size)])
    assert grown.root() == roots[size]
    grown.extend(leaf_hash(entry(number)) for number in range(size, end))
    assert (grown.size, grown.root()) == (end, roots[end])


def test_what_cannot_be_proven_is_refused() -> None:
    with pytest.raises(ProofError, match="leaf 3 is not in a tree of 3 leaves"):
        inclusion_proof(3, 3, node())
    with pytest.raises(ProofError, match="no older state of 4"):
        consistency_proof(4, 3, node())
    with pytest.raises(ProofError, match="7 leaves have 3 complete subtrees, was 1"):
        Range(7, [EMPTY_ROOT])
    with pytest.raises(ProofError, match="two roots over 3 leaves"):
        verify_consistency(3, 3, tree()[1][3], tree()[1][4], [])


def flipped(node: bytes, bit: int) -> bytes:
    return (int.from_bytes(node, "big") ^ 1 << bit).to_bytes(len(node), "big")
