"""`rheostat bench shop`: what the simulated shop takes on one core, and what its shoppers click."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console

from features.interaction import Interaction
from features.sources.simulator.shop import Shop
from streaming.schemas import SLATE_SIZE

SEED, ROUNDS = 17, 5
Slates = Callable[[Shop, Interaction], list[str]]


def measure(interactions: int, console: Console) -> dict[str, Any]:
    """Return interactions a second, median and extremes of ROUNDS, and the click-through of three kinds of slates.

    Rounds without and with slates take turns.
    """
    rates: dict[str, list[float]] = {"without_slates": [], "with_slates": []}
    for turn in range(ROUNDS):
        for name, of_kind in rates.items():
            of_kind.append(_rate(SEED + turn, interactions, name == "with_slates"))
    figures: dict[str, Any] = {"interactions": interactions}
    for name, of_kind in rates.items():
        figures[name] = {
            "per_second": round(statistics.median(of_kind)),
            "least": round(min(of_kind)),
            "most": round(max(of_kind)),
        }
        console.print(f"{name.replace('_', ' ')}: {statistics.median(of_kind):,.0f} interactions/s", highlight=False)
    figures["click_through"] = {
        name: round(_click_through(interactions, slates), 4)
        for name, slates in (("random", _random()), ("popular", _popular(interactions)), ("related", _related))
    }
    for name, share in figures["click_through"].items():
        console.print(f"click-through of {name} items: {share:.1%}", highlight=False)
    return figures


def _rate(seed: int, interactions: int, has_slates: bool) -> float:
    shop = Shop(seed)
    slate = [item.item_id for item in shop.items()[:: len(shop.items()) // SLATE_SIZE]][:SLATE_SIZE]
    began = time.perf_counter()
    for number in range(interactions):
        act = shop.act(number)
        if has_slates:
            shop.show(act.interaction.shopper_id, "slate", slate)
    return interactions / (time.perf_counter() - began)


def _click_through(interactions: int, slates: Slates) -> float:
    shop = Shop(SEED)
    looks = clicks = 0
    for number in range(interactions):
        act = shop.act(number)
        looks, clicks = looks + (act.looked_at is not None), clicks + act.clicked
        shop.show(act.interaction.shopper_id, "slate", slates(shop, act.interaction))
    return clicks / looks


def _random() -> Slates:
    chance = random.Random(SEED)
    return lambda shop, did: [item.item_id for item in chance.sample(shop.assortment.items, SLATE_SIZE)]


def _popular(interactions: int) -> Slates:
    """Return what shoppers whom nobody shows slates touch most."""
    shop = Shop(SEED + 1)
    touched = Counter(shop.act(number).interaction.item_id for number in range(interactions))
    popular = [item for item, _ in touched.most_common(SLATE_SIZE)]
    return lambda shop, did: popular


def _related(shop: Shop, did: Interaction) -> list[str]:
    """Return the items that lie nearest to the one that was touched."""
    number = shop.assortment.index_of[did.item_id]
    related = shop.assortment.shelves[int(shop.assortment.category[number])].related[number]
    return [shop.assortment.items[item_index].item_id for item_index in related.tolist()]
