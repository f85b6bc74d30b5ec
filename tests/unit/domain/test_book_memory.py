"""What the book forgets when it holds too much: the orders that are over first, then the oldest."""

from __future__ import annotations

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from tests.unit.domain.facts import intent, report


def land(book: Book, *facts: Fact) -> None:
    book.apply(decide(book, facts, Policy()))


def test_filled_orders_are_forgotten_first_then_the_oldest_open_ones() -> None:
    book = Book(report_limit=4)
    land(book, *(intent(f"C{n}", f"M{n}", qty="1") for n in range(3)))
    land(book, report("E1", cl_ord_id="M1", qty="1"))
    assert list(book.orders) == ["C0", "C2", "C1"]
    land(book, intent("C3", "M3", qty="1"))  # five facts: the filled one goes
    assert list(book.orders) == ["C0", "C2", "C3"]
    land(book, *(intent(f"C{n}", f"M{n}", qty="1") for n in range(4, 7)))
    assert list(book.orders) == ["C3", "C4", "C5", "C6"]
    assert set(book.by_reference.values()) == set(book.orders)


def test_the_last_order_stays_however_large_it_is() -> None:
    book = Book(report_limit=2)
    land(book, intent("C0", "M0", qty="1"))
    land(book, intent("C1", "M1", qty="9"), *(report(f"E{n}", cl_ord_id="M1", qty="1") for n in range(5)))
    assert list(book.orders) == ["C1"]


def test_the_largest_open_order_stays_beside_as_many_others_as_ever() -> None:
    book = Book(report_limit=4, large=3)
    land(book, intent("BIG", "B", qty="99"), *(report(f"B{n}", cl_ord_id="B", qty="1") for n in range(5)))
    land(book, *(intent(f"C{n}", f"M{n}", qty="9") for n in range(6)))
    assert book.has_large
    assert list(book.orders) == ["BIG", "C2", "C3", "C4", "C5"]
    land(book, report("B9", cl_ord_id="B", qty="94"))  # filled: it goes like others, and first
    land(book, intent("C6", "M6", qty="9"))
    assert "BIG" not in book.orders
    assert not book.has_large


def test_of_two_large_orders_the_larger_stays() -> None:
    book = Book(report_limit=4, large=3)
    for name, number in (("BIG", 6), ("LESS", 5)):
        land(book, intent(name, name, qty="99"), *(report(f"{name}{n}", cl_ord_id=name) for n in range(number)))
    land(book, *(intent(f"C{n}", f"M{n}", qty="9") for n in range(2)))
    assert list(book.orders) == ["BIG", "C0", "C1"]
