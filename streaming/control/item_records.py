"""The newest record of every item that the shop sells, and what follows from all of them together."""

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from contextlib import AbstractContextManager
from itertools import chain, islice

from sortedcontainers import SortedList

from streaming.control.price_histogram import SUSPICIOUS_TIMES, PriceHistogram
from streaming.control.shared_lock import SharedLock
from streaming.policy.estimates import UNKNOWN_LEVEL, ItemFacts
from streaming.records import decode
from streaming.schemas import PRICE_LEVELS, Item, Origin

NAMED_AT_MOST = 20  # suspicious prices, in the log; a metric counts them all
_LOG = logging.getLogger(__name__)


def newest_items(records: Iterable[tuple[Origin, bytes, bytes | None]]) -> tuple[dict[str, Item], int]:
    """Return the items that records of their topic leave, by id, and the offset of the last record, -1 without any."""
    items, offset = dict[str, Item](), -1
    for origin, raw_key, raw in records:
        key, offset = raw_key.decode(errors="replace"), origin.offset
        message = decode(key, raw, origin)
        items.pop(key, None)
        if isinstance(message, Item):
            items[key] = message
    return items, offset


class ItemRecords:
    """Latest record of every item.

    Records come in the order of their topic, which has one partition; those up to `offset` are known, and ignored.
    A suspicious price (`PriceHistogram.limit`) is worth nothing: it neither leads a slate nor is any other item's unit.
    """

    def __init__(self) -> None:
        self.offset = -1  # of the newest record that is taken over
        self._items: dict[str, Item] = {}
        self.on_sale = 0  # items in stock
        self._prices: dict[str, SortedList] = {}  # of a category
        self._histogram = PriceHistogram()  # of all prices
        self._merchants: Counter[str] = Counter()  # items of each
        self._lock = threading.RLock()  # of what is derived
        self._use = SharedLock()

    def unchanged(self) -> AbstractContextManager[None]:
        """Keep the items as they are while rows and slates are made. Not to be entered again by the same thread."""
        return self._use.reading()

    def put(self, item_id: str, item: Item | None, offset: int) -> None:
        """Take over the record at `offset`; None removes the item."""
        if offset <= self.offset:
            return  # without waiting: two operators bring each record
        with self._use.writing(), self._lock:
            if offset <= self.offset:
                return
            self.offset = offset
            before = self._items.pop(item_id, None)
            if item is not None:
                self._items[item_id] = item
            self.on_sale += _is_in_stock(item) - _is_in_stock(before)
            self._put_price(before, item)
            self._put_merchant(before, item)
            self._changed(item_id, before, item)

    def put_all(self, items: dict[str, Item], offset: int) -> None:
        """Take over what the topic says up to `offset`, at the start: what `put` makes of it, at once."""
        assert self.offset == -1, "items are known already"
        with self._use.writing(), self._lock:
            self.offset, self._items = offset, items
            self.on_sale = sum(map(_is_in_stock, items.values()))
            prices: defaultdict[str, list[float]] = defaultdict(list)
            for item in items.values():
                if item.price is not None:
                    prices[item.category].append(item.price)
            self._prices = {category: SortedList(of) for category, of in prices.items()}
            self._histogram.add_all(chain.from_iterable(prices.values()))
            suspicious = (item for item in items.values() if (item.price or 0.0) >= self._histogram.limit)
            for item in islice(suspicious, min(self.suspicious_prices, NAMED_AT_MOST)):
                self._name_suspicious(item)
            self._merchants = Counter([item.merchant for item in items.values() if item.merchant])
            self._changed_all()

    def item(self, item_id: str) -> Item | None:
        """Return the newest record of the item, None if it is not known or gone."""
        return self._items.get(item_id)

    def price_quantile(self, item_id: str) -> float | None:
        """Return where the item's price lies among those of its category: the share below it, ties half."""
        item = self._items.get(item_id)
        if item is None or item.price is None:
            return None
        prices = self._prices[item.category]
        return float((prices.bisect_left(item.price) + prices.bisect_right(item.price)) / (2 * len(prices)))

    def credible_price(self, item: Item) -> float:
        """Return the item's price; 0 where it has none, and for a suspicious one."""
        return item.price if item.price is not None and item.price < self._histogram.limit else 0.0

    @property
    def suspicious_prices(self) -> int:
        """How many items have a price that is worth nothing."""
        return self._histogram.suspicious

    def facts(self, item_id: str) -> ItemFacts:
        """Return what outcomes of the item are learnt by."""
        item = self._items.get(item_id)
        if item is None:
            return ItemFacts()
        quantile = self.price_quantile(item_id)
        level = UNKNOWN_LEVEL if quantile is None else min(int(quantile * PRICE_LEVELS), PRICE_LEVELS - 1)
        value = self.credible_price(item) * (1.0 if item.margin is None else item.margin)
        return ItemFacts(item.merchant or "", value, level, item.brand or "")

    @property
    def merchants(self) -> Container[str]:
        """Those whose items the shop has."""
        return self._merchants

    def _changed(self, item_id: str, before: Item | None, item: Item | None) -> None:
        """Take over what has changed into what is derived of the records; called with the lock."""

    def _changed_all(self) -> None:
        """Do so with all that `put_all` has brought."""

    def _put_price(self, before: Item | None, item: Item | None) -> None:
        if (before and (before.price, before.category)) == (item and (item.price, item.category)):
            return
        if before is not None and before.price is not None:
            prices = self._prices[before.category]
            prices.remove(before.price)
            if not prices:
                del self._prices[before.category]
            self._histogram.remove(before.price)
        if item is not None and item.price is not None:
            self._prices.setdefault(item.category, SortedList()).add(item.price)
            self._histogram.add(item.price)
            if item.price >= self._histogram.limit and self.suspicious_prices <= NAMED_AT_MOST:
                self._name_suspicious(item)

    def _name_suspicious(self, item: Item) -> None:
        _LOG.warning(
            "items: %s has the price %g, %g or more being %g times what three quarters of the items cost; "
            "its revenue counts as 0 until the price is mended",
            item.item_id,
            item.price,
            self._histogram.limit,
            SUSPICIOUS_TIMES,
        )

    def _put_merchant(self, before: Item | None, item: Item | None) -> None:
        if before is not None and before.merchant:
            self._merchants[before.merchant] -= 1
            if not self._merchants[before.merchant]:
                del self._merchants[before.merchant]
        if item is not None and item.merchant:
            self._merchants[item.merchant] += 1


def _is_in_stock(item: Item | None) -> bool:
    return item is not None and item.stock > 0
