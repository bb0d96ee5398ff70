"""What is bought together, without a JVM: what the two operators emit and what they keep."""

import msgspec
import pytest
from support.harness import KeyedHarness
from support.records import order_line

from streaming.operators.pair_lines import PairLines
from streaming.operators.tally_orders import TallyOrders
from streaming.policy.complements import LINES_TTL_MS, TALLY_TTL_MS
from streaming.records import decode, encode
from streaming.schemas import Complements, Origin, Topic

INTERVAL_MS = 1_000


class Orders:
    def __init__(self) -> None:
        self.pair, self.tally = KeyedHarness(PairLines()), KeyedHarness(TallyOrders(INTERVAL_MS))

    def line(self, order: str, item: str, *, consent: bool = True, shopper: str = "s") -> None:
        self.raw(shopper, encode(order_line(order, item, shopper, consent=consent)))

    def raw(self, shopper: str, raw: bytes) -> None:
        for topic, item_id, bought in self.pair.record(Topic.PURCHASES, shopper, raw):
            assert topic == Topic.COMPLEMENTS
            assert self.tally.record(Topic.COMPLEMENTS, item_id, bought) == []

    def said(self) -> dict[str, Complements]:
        said = dict[str, Complements]()
        for topic, key, raw in self.tally.fire():
            message = decode(key, raw, Origin(topic, 0, 0))
            assert isinstance(message, Complements)
            said[key] = message
        return said


@pytest.fixture
def orders() -> Orders:
    return Orders()


def test_what_is_bought_together_is_said_once_an_interval(orders: Orders) -> None:
    for item in "abc":
        orders.line("1", item)
    assert {*orders.tally.timers.values()} == {INTERVAL_MS}
    said = orders.said()
    assert {item: of.together for item, of in said.items()} == {
        "a": {"b": 1.0, "c": 1.0},
        "b": {"a": 1.0, "c": 1.0},
        "c": {"a": 1.0, "b": 1.0},
    }
    assert orders.said() == {}
    orders.line("2", "a", shopper="t")
    assert {item: (of.orders, of.together) for item, of in orders.said().items()} == {"a": (2.0, {"b": 1.0, "c": 1.0})}


def test_nothing_is_said_of_what_is_bought_alone(orders: Orders) -> None:
    orders.line("1", "a")
    assert orders.said() == {}
    assert orders.tally.state.keys() == {("a", "tally")}


def test_nothing_is_kept_of_what_cannot_be_read_or_has_no_consent(orders: Orders) -> None:
    for item in "ab":
        orders.line("1", item, consent=False)
    for raw in (b"", b"{", msgspec.json.encode({"event_id": "e"})):
        orders.raw("s", raw)
    assert orders.pair.state == {}
    assert orders.tally.state == {}


def test_all_state_is_forgotten_in_the_end(orders: Orders) -> None:
    assert orders.pair.ttl["lines"].get_ttl().to_milliseconds() == LINES_TTL_MS
    assert orders.tally.ttl["tally"].get_ttl().to_milliseconds() == TALLY_TTL_MS
