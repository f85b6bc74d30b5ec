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
