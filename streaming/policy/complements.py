"""What is bought together, counted by order as its lines come, and what that says of a cart. Pure.

    P(bought | a lies in the cart) = orders(a, b) / (orders(a) + PRIOR_ORDERS)

which is association's confidence (Agrawal, Imieliński & Swami 1993, "Mining association rules between sets of items in
large databases"), shrunk so that one order of something new says little. Of several items in a cart each may be why:
1 - Π(1 - P). Substitutes are seen together and seldom bought together, so orders tell what sessions do not.

A shopper moves little: of each an item, and two together, count once a day, and of an order its first LINES_AT_MOST
lines. A return takes nothing back: what was bought together was.
"""

from collections.abc import Iterator, Mapping

import msgspec

from features.shopper import event_hash
from features.spec import DAY_MS
from streaming.policy.objectives import PRIOR_BUY_RATE, PRIOR_CLICK_RATE
from streaming.schemas import Complements, Purchase

HALF_LIFE_MS = 30 * DAY_MS
LINES_TTL_MS = DAY_MS
TALLY_TTL_MS = 6 * HALF_LIFE_MS  # by then less than 2 % of it is left
LINES_AT_MOST = 20  # of an order: of all that a firm buys for its store room, every two would be a pair
KEPT_AT_MOST = 64  # lines of a shopper
TOGETHER_AT_MOST = 50  # items of an item
PRIOR_ORDERS = 5.0  # of an item, with nothing else in them
AVERAGE = PRIOR_CLICK_RATE * PRIOR_BUY_RATE  # P(bought) of an average item that is looked at
DIGITS = 4


class OrderLine(msgspec.Struct, frozen=True, array_like=True):
    """What was bought in an order."""

    order: int  # hash of its id
    item_id: str


class OrderTally(msgspec.Struct, frozen=True, array_like=True):
    """In how many orders an item was, as of `time_ms`."""

    time_ms: int = 0  # of the newest of them
    orders: float = 0.0
    together: dict[str, float] = {}  # by the other item

    def add(self, time_ms: int, orders: float, together: Mapping[str, float]) -> "OrderTally":
        """Return it with orders of one time, which may be before the newest."""
        newest_ms = max(self.time_ms, time_ms)
        old, new = _left(newest_ms - self.time_ms) if self.time_ms else 0.0, _left(newest_ms - time_ms)
        counts = {item: old * count for item, count in self.together.items()}
        for item, count in together.items():
            counts[item] = counts.get(item, 0.0) + new * count
        while len(counts) > TOGETHER_AT_MOST:
            others = counts.keys() - together.keys() or counts.keys()  # what has just come gets its chance
            del counts[min(others, key=lambda item: (counts[item], item))]
        return OrderTally(newest_ms, old * self.orders + new * orders, counts)


class OrderDelta(msgspec.Struct, frozen=True):
    """What a line of an order adds."""

    item_id: str
    time_ms: int
    orders: float
    together: dict[str, float]  # by the other item


def add_line(lines: tuple[OrderLine, ...], purchase: Purchase) -> tuple[tuple[OrderLine, ...], list[OrderDelta]]:
    """Return a shopper's newest lines with this one, and what it adds to the tallies: nothing if it has come before."""
    line = OrderLine(event_hash(purchase.order_id), purchase.item_id)
    of_order = [other.item_id for other in lines if other.order == line.order]
    if line in lines or len(of_order) >= LINES_AT_MOST:
        return lines, []
    kept = (*lines, line)[-KEPT_AT_MOST:]
    orders_of = _orders_by_item(lines)
    before = orders_of.get(line.item_id, set())
    others = [item for item in of_order if not before & orders_of[item]]
    if before and not others:
        return kept, []
    news = [OrderDelta(line.item_id, purchase.event_time_ms, 0.0 if before else 1.0, dict.fromkeys(others, 1.0))]
    news += [OrderDelta(item, purchase.event_time_ms, 0.0, {line.item_id: 1.0}) for item in others]
    return kept, news


def complements_of(item_id: str, tally: OrderTally) -> Complements:
    """Return what is said of an item on the topic."""
    together = {item: round(count, DIGITS) for item, count in tally.together.items()}
    return Complements(item_id=item_id, time_ms=tally.time_ms, orders=round(tally.orders, DIGITS), together=together)


def chances(complements: Complements) -> Iterator[tuple[str, float]]:
    """Yield how likely each other item is bought with this one; it may have been counted where this one was not."""
    for item, together in complements.together.items():
        yield item, min(together / (complements.orders + PRIOR_ORDERS), 1.0)


def _orders_by_item(lines: tuple[OrderLine, ...]) -> dict[str, set[int]]:
    orders_of = dict[str, set[int]]()
    for line in lines:
        orders_of.setdefault(line.item_id, set()).add(line.order)
    return orders_of


def _left(age_ms: int) -> float:
    return float(2.0 ** (-age_ms / HALF_LIFE_MS))
