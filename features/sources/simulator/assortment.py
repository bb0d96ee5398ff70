"""What the simulated shop sells: items in a space of tastes, category by category, and how that changes."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from features.interaction import ShopItem
from features.sources.simulator.parameters import Parameters
from features.spec import CONTENT_DIM

CATEGORIES = {
    "coffee": ("Espresso Beans", 14.0),
    "tea": ("Loose Leaf Tea", 9.0),
    "mugs": ("Stoneware Mug", 12.0),
    "kettles": ("Gooseneck Kettle", 64.0),
    "knives": ("Chef's Knife", 79.0),
    "pans": ("Iron Pan", 48.0),
    "spices": ("Spice Blend", 6.0),
    "chocolate": ("Dark Chocolate", 5.0),
    "lamps": ("Desk Lamp", 49.0),
    "chairs": ("Oak Chair", 129.0),
    "tables": ("Side Table", 159.0),
    "rugs": ("Wool Rug", 189.0),
    "cushions": ("Cushion", 27.0),
    "blankets": ("Throw Blanket", 44.0),
    "candles": ("Beeswax Candle", 13.0),
    "plants": ("Potted Fern", 17.0),
    "tools": ("Hand Plane", 58.0),
    "seeds": ("Flower Seeds", 4.0),
    "shirts": ("Linen Shirt", 39.0),
    "trousers": ("Chino Trousers", 54.0),
    "dresses": ("Summer Dress", 69.0),
    "jackets": ("Rain Jacket", 119.0),
    "shoes": ("Trail Shoe", 89.0),
    "socks": ("Wool Socks", 11.0),
    "hats": ("Felt Hat", 35.0),
    "bags": ("Canvas Bag", 59.0),
    "watches": ("Field Watch", 145.0),
    "glasses": ("Sunglasses", 75.0),
    "toys": ("Wooden Train", 24.0),
    "puzzles": ("Puzzle", 19.0),
    "games": ("Board Game", 34.0),
    "books": ("Pocket Atlas", 19.0),
    "notebooks": ("Notebook", 8.0),
    "pens": ("Fountain Pen", 42.0),
    "headphones": ("Headphones", 99.0),
    "speakers": ("Bookshelf Speaker", 149.0),
    "tents": ("Trekking Tent", 229.0),
    "bottles": ("Steel Bottle", 22.0),
    "bikes": ("City Bike", 420.0),
    "helmets": ("Bike Helmet", 65.0),
}
ADJECTIVES = ("Amber", "Coastal", "Quiet", "Bright", "Rustic", "Nordic", "Velvet", "Little", "Grand", "Misty")
NAMES = tuple(CATEGORIES)


@dataclass(frozen=True)
class Shelf:
    """The items of one category, as arrays: what a page is made of."""

    item_index: NDArray[np.int64]  # (N,)
    related: dict[int, NDArray[np.int64]]  # by item: itself left out, nearest first


class Assortment:
    """All items, with what only the simulation knows of them. Row n of every array is item n."""

    def __init__(self, seed: int, parameters: Parameters) -> None:
        self._parameters = parameters
        self._rng, self._chance = np.random.default_rng(seed), random.Random(seed)
        self.centres = _unit(self._rng.normal(size=(len(NAMES), CONTENT_DIM)))  # (C, D)
        self._brand_quality = self._rng.normal(size=parameters.brand_count)
        self.items: list[ShopItem] = []
        self.index_of: dict[str, int] = {}
        self.place: NDArray[np.float64] = np.zeros((0, CONTENT_DIM))  # (V, D) of length 1: where its taste lies
        self.category: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # (V,)
        self.dearness: NDArray[np.float64] = np.zeros(0)  # (V,) log of price over its category's base price
        self.appeal: NDArray[np.float64] = np.zeros(0)  # (V,) quality; minus infinity while out of stock
        self._quality: list[float] = []
        self._ran_out: dict[int, int] = {}  # item -> interaction at which it did
        self._changed: dict[str, ShopItem] = {}
        per_category = parameters.item_count // len(NAMES)
        for category in range(len(NAMES)):
            self._add([category] * per_category)
        self.shelves = [self._shelf(category) for category in range(len(NAMES))]
        self._changed.clear()

    def pass_by(self, now: int) -> None:
        """Let the shop's own doings happen that are due at interaction `now`: a new item, a delivery."""
        if now % self._parameters.new_item_every == self._parameters.new_item_every - 1:
            category = self._chance.randrange(len(NAMES))
            self._add([category])
            self.shelves[category] = self._shelf(category)
        due = next(iter(self._ran_out), None)
        if due is not None and now - self._ran_out[due] >= self._parameters.restock_after:
            del self._ran_out[due]
            self._stock(due, self._some())

    def sell(self, number: int, now: int) -> None:
        left = self.items[number].stock - 1
        if left == 0:
            self._ran_out[number] = now
        self._stock(number, left)

    def reprice(self, item_index: Iterable[int], factor: float) -> None:
        """Multiply the prices of items by `factor`."""
        for number in item_index:
            item = self.items[number]
            price = round((item.price or 0.0) * factor, 2)
            self.items[number] = replace(item, price=price)
            self.dearness[number] += log(factor)
            self._changed[item.item_id] = self.items[number]

    def stock_out(self, item_index: Iterable[int], now: int) -> None:
        """Take items out of stock until they are delivered again."""
        for number in item_index:
            if self.items[number].stock:
                self._ran_out[number] = now
                self._stock(number, 0)

    def shift_preferences(self) -> None:
        """Draw the quality of all brands and items anew."""
        self._brand_quality = self._rng.normal(size=self._parameters.brand_count)
        for number, item in enumerate(self.items):
            self._quality[number] = self._some_quality(int((item.brand or "").removeprefix("brand-")))
            if item.stock:
                self.appeal[number] = self._quality[number]

    def _some_quality(self, brand: int) -> float:
        return float(self._parameters.quality * (0.6 * self._brand_quality[brand] + 0.8 * self._rng.normal()))

    def changes(self) -> list[ShopItem]:
        """Return the items that are new or have another stock than when this was asked last."""
        changed = list(self._changed.values())
        self._changed.clear()
        return changed

    def _stock(self, number: int, stock: int) -> None:
        item = self.items[number] = replace(self.items[number], stock=stock)
        self.appeal[number] = self._quality[number] if stock else -np.inf
        self._changed[item.item_id] = item

    def _some(self) -> int:
        return 1 + int(self._chance.expovariate(1.0 / self._parameters.stock_mean))

    def _add(self, categories: list[int]) -> None:
        p, count, first = self._parameters, len(categories), len(self.items)
        places = _unit(
            self.centres[categories] + p.category_spread * _unit(self._rng.normal(size=(count, CONTENT_DIM)))
        )
        content = _unit(places + p.content_noise * _unit(self._rng.normal(size=(count, CONTENT_DIM))))
        dearness = self._rng.normal(scale=p.price_spread, size=count)
        quality = np.zeros(count)
        for n, category in enumerate(categories):
            noun, base_price = CATEGORIES[NAMES[category]]
            number, brand = first + n, self._chance.randrange(p.brand_count)
            quality[n] = self._some_quality(brand)
            is_there = (first > 0 and count == 1) or self._chance.random() >= p.out_of_stock
            item = ShopItem(
                item_id=f"i{number:03d}",
                name=f"{ADJECTIVES[number % len(ADJECTIVES)]} {noun} No. {number + 1}",
                category=NAMES[category],
                brand=f"brand-{brand}",
                merchant=f"merchant-{self._chance.randrange(p.merchant_count)}",
                price=round(base_price * exp(dearness[n]), 2),
                margin=round(self._chance.betavariate(4, 8), 3),
                stock=self._some() if is_there else 0,
                content=tuple(content[n].round(5).tolist()),
            )
            self.items.append(item)
            self.index_of[item.item_id] = number
            self._changed[item.item_id] = item
            dearness[n] = log((item.price or base_price) / base_price)
            if not is_there:
                self._ran_out[number] = 0
        self._quality += quality.tolist()
        in_stock = np.array([self.items[first + n].stock > 0 for n in range(count)])
        self.place = np.concatenate([self.place, places])
        self.category = np.concatenate([self.category, np.array(categories)])
        self.dearness = np.concatenate([self.dearness, dearness])
        self.appeal = np.concatenate([self.appeal, np.where(in_stock, quality, -np.inf)])

    def _directions(self, count: int) -> NDArray[np.float64]:
        return _unit(self._rng.normal(size=(count, CONTENT_DIM)))

    def _shelf(self, category: int) -> Shelf:
        item_index = np.flatnonzero(self.category == category)
        closeness = self.place[item_index] @ self.place[item_index].T
        nearest = np.argsort(-closeness, axis=1, kind="stable")[:, 1 : self._parameters.related_count + 1]
        return Shelf(item_index, dict(zip(item_index.tolist(), item_index[nearest], strict=True)))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit
