"""The symbols of the open orders follow the orders as they come, go and are forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from streaming import open_orders
from streaming.open_orders import OpenOrders
from tests.unit.domain.facts import intent, report

if TYPE_CHECKING:
    import pytest


class World:
    def __init__(self) -> None:
        self.book = Book()
        self.orders = OpenOrders()
        self.orders.begin()

    def land(self, *facts: Fact) -> None:
        decision = decide(self.book, facts, Policy())
        self.book.apply(decision)
        self.orders.offer(decision)
        self.orders.settle()


def test_a_symbol_is_there_while_an_order_of_it_is_open() -> None:
    world = World()
    world.land(
        intent("C1", "M1", qty="1"), intent("C2", "M2", qty="1"), intent("C3", "M3", qty="1", symbol="ETHUSDT")
    )
    assert world.orders.symbols() == {"BTCUSDT", "ETHUSDT"}
    world.land(report("E1", cl_ord_id="M1", qty="1"), report("E3", cl_ord_id="M3", qty="1", symbol="ETHUSDT"))
    assert world.orders.symbols() == {"BTCUSDT"}
    world.land(report("E2", cl_ord_id="M2", qty="1"))
    assert world.orders.symbols() == set()


def test_what_the_ledger_says_adds_to_what_has_landed_since() -> None:
    world = World()
    world.land(intent("C1", "M1", qty="1"))
    world.orders.load([("ALPHA", "C0", "SOLUSDT", 5), ("ALPHA", "C1", "BTCUSDT", 6)])
    assert world.orders.symbols() == {"BTCUSDT", "SOLUSDT"}
    world.land(report("E1", cl_ord_id="M1", qty="1"))
    assert world.orders.symbols() == {"SOLUSDT"}
    world.orders.begin()
    assert world.orders.symbols() == set()


def test_an_order_that_is_forgotten_takes_its_symbol_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_orders, "_LIMIT", 2)
    world = World()
    world.land(intent("C1", "M1", symbol="ETHUSDT"))
    world.land(intent("C2", "M2"), intent("C3", "M3"))
    assert world.orders.symbols() == {"BTCUSDT"}
