"""Sequences: the contiguous end against a plain set, in any order of arrival."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.feeds.sequence import MAX_ISLANDS, Hole, Sequences


def test_in_order_is_contiguous() -> None:
    sequences = Sequences(5)
    assert sequences.add(6)
    assert sequences.contiguous == sequences.highest == 6
    assert sequences.holes() == []


def test_a_jump_leaves_a_hole_and_filling_it_moves_to_the_end() -> None:
    sequences = Sequences(11)
    assert not sequences.add(15)
    assert sequences.holes() == [Hole(12, 14)]
    assert sequences.add(12)
    assert not sequences.add(14)
    assert sequences.holes() == [Hole(13, 13)]
    assert sequences.add(13)
    assert sequences.contiguous == 15


def test_what_the_venue_announced_and_did_not_send_is_a_hole() -> None:
    sequences = Sequences(3)
    sequences.announce(5)
    assert sequences.holes() == [Hole(4, 5)]


def test_an_absurd_jump_costs_no_memory() -> None:
    sequences = Sequences(0)
    assert not sequences.add(2**62)
    assert sequences.holes() == [Hole(1, 2**62 - 1)]
    assert sequences.add(1)


def test_too_many_islands() -> None:
    sequences = Sequences(0)
    for sequence in range(2, 2 * MAX_ISLANDS + 4, 2):
        sequences.add(sequence)
    assert sequences.is_overgrown


@given(st.integers(0, 20), st.lists(st.integers(1, 40), max_size=60), st.integers(0, 45))
def test_any_order_against_a_set(start: int, arrivals: list[int], announced: int) -> None:
    sequences = Sequences(start)
    seen = set(range(1, start + 1))
    for sequence in arrivals:
        before = sequences.contiguous
        moved = sequences.add(sequence)
        seen.add(sequence)
        assert moved == (sequences.contiguous > before)
        assert set(range(1, sequences.contiguous + 1)) <= seen
        assert sequences.contiguous + 1 not in seen
        assert sequences.highest == max(seen, default=0)
    sequences.announce(announced)
    missing = {n for hole in sequences.holes() for n in range(hole.first, hole.last + 1)}
    assert missing == set(range(1, max([*seen, announced], default=0) + 1)) - seen
